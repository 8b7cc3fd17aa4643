"""Taking rows out of a table: the data files that hold some are written again without them. Nothing is committed."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.datafiles import DataFile, DataFileWriter, file_schema
from jobs.lake import Lake
from jobs.ledger import Statement
from jobs.schemas import PURCHASES, Table


def rewrite_without(lake: Lake, table: Table, replaced: Iterable[Statement]) -> tuple[list[DataFile], list[DataFile]]:
    """Data files to add and data files to remove, so that no row of these event files is left.

    Only partitions that can hold rows of one are looked into, so that the work does not grow with the history.
    """
    spans = [(known, min(days), max(days)) for known in replaced if (days := known.days(table))]

    def file_ids(held: DataFile) -> list[str]:
        return [
            known.file_id
            for known, first, last in spans
            if known.platform == held.platform and first <= held.date <= last
        ]

    files = lake.files(table) if spans else []
    return _rewrite(lake, table, "file_id", ((held, pa.array(file_ids(held), pa.string())) for held in files))


def rewrite_without_items(
    lake: Lake, files: Iterable[DataFile], items: pa.Array
) -> tuple[list[DataFile], list[DataFile]]:
    """Likewise of these data files of ``purchases``, so that none of these order items, given by their ids, is left in them."""
    return _rewrite(lake, PURCHASES, "item_id", ((held, items) for held in files))


def _rewrite(
    lake: Lake, table: Table, column: str, files: Iterable[tuple[DataFile, pa.Array]]
) -> tuple[list[DataFile], list[DataFile]]:
    """Data files, each with the values of a column that must not be left in it: what to add, what to remove."""
    adds: list[DataFile] = []
    removes: list[DataFile] = []
    for held, values in files:
        kept = _without(lake, table, held, column, values) if len(values) else None
        if kept is not None:
            adds += kept
            removes.append(held)
    return adds, removes


def _without(lake: Lake, table: Table, held: DataFile, column: str, values: pa.Array) -> list[DataFile] | None:
    """What is left of one data file, or None when it holds no row with one of the values."""
    path = f"{lake.uri(table)}/{held.path}"
    found = pq.read_table(path, columns=[column], partitioning=None)[column]
    if not pc.any(pc.is_in(found, value_set=values)).as_py():
        return None
    writer = DataFileWriter(lake.root, table, held.date, held.platform)
    source = pq.ParquetFile(path)
    for group in range(source.num_row_groups):
        rows = source.read_row_group(group).select(file_schema(table).names)
        writer.write(rows.filter(pc.invert(pc.is_in(rows[column], value_set=values))))
    return writer.close()
