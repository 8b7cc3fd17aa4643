"""Parquet files of the large tables, written by Spark's workers; ``jobs.lake`` makes them part of a table.

A file that no commit names is garbage that no reader sees: a task that dies or runs twice does no harm.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.schemas import Table

ROW_GROUP = 128 * 1024
"""Rows in a row group: DuckDB reads row groups in parallel and skips them by their statistics."""


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a table partitioned by date and platform; ``path`` is relative to the table's folder."""

    path: str
    size: int
    rows: int
    date: date
    platform: str
    stats: str = ""

    @property
    def partition_values(self) -> dict[str, str | None]:
        """Partition columns as the Delta protocol writes them."""
        return {"date": self.date.isoformat(), "platform": self.platform}

    def to_json(self) -> dict[str, Any]:
        """The file as JSON values, for the way from a worker to the driver."""
        return {**self.__dict__, "date": self.date.isoformat()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> DataFile:
        """The reverse of ``to_json``."""
        return cls(**{**values, "date": date.fromisoformat(values["date"])})


_KEYS = 2**63 - 1
"""So many values a key may have: the largest signed integer of 64 bits."""


class DataFileWriter:
    """Writes one data file of one partition in pieces; nothing is there until the first rows came.

    Rows must have the table's columns without ``date`` and ``platform``, in schema order, sorted as the table wants them.
    """

    def __init__(self, root: str, table: Table, day: date, platform: str) -> None:
        self._root = Path(root) / table.name
        self._schema = file_schema(table)
        self._day, self._platform = day, platform
        self._path = f"date={day.isoformat()}/platform={platform}/{uuid.uuid4().hex}.parquet"
        self._writer: pq.ParquetWriter | None = None
        self._stats = _Stats(columns_with_statistics(table))
        self._rows = 0

    def write(self, rows: pa.Table) -> None:
        """Adds rows to the file."""
        if rows.num_rows == 0:
            return
        if self._writer is None:
            target = self._root / self._path
            target.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(target, self._schema, compression="zstd", use_dictionary=_DICTIONARY)
        self._writer.write_table(rows.cast(self._schema), row_group_size=ROW_GROUP)
        self._stats.add(rows)
        self._rows += rows.num_rows

    def close(self) -> list[DataFile]:
        """Ends the file: the file, or nothing when no row came."""
        if self._writer is None:
            return []
        self._writer.close()
        size = (self._root / self._path).stat().st_size
        return [DataFile(self._path, size, self._rows, self._day, self._platform, self._stats.to_json())]


_DICTIONARY = ["product", "file_id", "device", "status", "source", "reason"]
"""Columns with few values; ids and offsets would only fill a dictionary page."""


def file_schema(table: Table) -> pa.Schema:
    """The columns that stand in a table's files: all but the partition columns."""
    return pa.schema([field for field in table.schema if field.name not in table.partition_by])


def columns_with_statistics(table: Table) -> list[str]:
    """The columns of a partitioned table that readers pass over files by: its log has their bounds in each file."""
    return [name for name in file_schema(table).names if name in ("product", "time", "file_id")]


def write_partitions(root: str, table: Table, rows: pa.Table, sort: list[str]) -> list[DataFile]:
    """Writes rows that have all columns of the table: one file a (date, platform), sorted."""
    files: list[DataFile] = []
    ordered = sort_rows(rows, ["date", "platform", *sort])
    for day, platform, part in partition_runs(ordered):
        writer = DataFileWriter(root, table, day, platform)
        writer.write(part.select(file_schema(table).names))
        files += writer.close()
    return files


def sort_rows(rows: pa.Table, names: list[str]) -> pa.Table:
    """The rows in ascending order of these columns.

    Where they hold text, numbers and times, and 63 bits hold the values of all of them, as is mostly so, they become one integer
    key: five times as fast as ``Table.sort_by``.
    """
    columns = {name: _plain(rows[name]) for name in names}
    key, size = np.zeros(rows.num_rows, np.int64), 1
    for column in columns.values():
        ranks = _ranks(column)
        if ranks is None or (size := size * ranks[1]) > _KEYS:
            order = pc.sort_indices(pa.table(columns), sort_keys=[(name, "ascending") for name in names])
            return rows.take(order)
        key = key * ranks[1] + ranks[0]
    return rows.combine_chunks().take(pa.array(np.argsort(key)))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _ranks(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], int] | None:
    """For each value a number that sorts as the value does, from 0 on, and how many such numbers there may be."""
    if column.null_count or not len(column):
        return None
    if pa.types.is_string(column.type):
        encoded = column.combine_chunks().dictionary_encode()
        order = pc.array_sort_indices(encoded.dictionary).to_numpy()
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        return ranks[encoded.indices.to_numpy()], len(order)
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    elif not (pa.types.is_timestamp(column.type) or pa.types.is_signed_integer(column.type)):
        return None
    values = column.cast(pa.int64()).to_numpy()
    low = int(values.min())
    return values - low, int(values.max()) - low + 1


def partition_runs(rows: pa.Table) -> Iterable[tuple[date, str, pa.Table]]:
    """Cuts rows sorted by (date, platform) into one table a partition, in order."""
    if rows.num_rows == 0:
        return
    keys = rows.select(["date", "platform"]).combine_chunks()
    changed = pc.or_(
        pc.not_equal(keys["date"].slice(1), keys["date"].slice(0, rows.num_rows - 1)),
        pc.not_equal(keys["platform"].slice(1), keys["platform"].slice(0, rows.num_rows - 1)),
    )
    starts = [0, *(index.as_py() + 1 for index in pc.indices_nonzero(changed)), rows.num_rows]
    for start, end in pairwise(starts):
        yield keys["date"][start].as_py(), keys["platform"][start].as_py(), rows.slice(start, end - start)


class _Stats:
    """Smallest, largest and NULL count of columns, as Delta's ``stats`` text."""

    def __init__(self, names: list[str]) -> None:
        self._low: dict[str, Any] = dict.fromkeys(names)
        self._high: dict[str, Any] = dict.fromkeys(names)
        self._nulls = dict.fromkeys(names, 0)
        self._rows = 0

    def add(self, rows: pa.Table) -> None:
        self._rows += rows.num_rows
        for name in self._low:
            ends = pc.min_max(rows[name]).as_py()
            self._nulls[name] += rows[name].null_count
            if ends["min"] is not None:
                self._low[name] = ends["min"] if self._low[name] is None else min(self._low[name], ends["min"])
                self._high[name] = ends["max"] if self._high[name] is None else max(self._high[name], ends["max"])

    def to_json(self) -> str:
        return json.dumps(
            {
                "numRecords": self._rows,
                "minValues": {name: _low_text(value) for name, value in self._low.items() if value is not None},
                "maxValues": {name: _high_text(value) for name, value in self._high.items() if value is not None},
                "nullCount": self._nulls,
            }
        )


def _low_text(value: object) -> object:
    """Times in Delta's statistics have milliseconds only: the smallest is cut downwards, the largest upwards."""
    if isinstance(value, datetime):
        return _text(value - timedelta(microseconds=value.microsecond % 1000))
    return value


def _high_text(value: object) -> object:
    if isinstance(value, datetime):
        return _text(value + timedelta(microseconds=-value.microsecond % 1000))
    return value


def _text(value: datetime) -> str:
    return value.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
