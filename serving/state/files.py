"""The data files of a table at one version, as its Delta log names them. DuckDB is given the files, never the table.

DuckDB's own reader of Delta tables keeps a part of the log in memory for good at each scan that has a condition: 130 kB where
there are 300 data files, 400 kB where there are 3,000 (issue 279 of duckdb-delta). A service that asks it grows without end. Named
files are also found faster, in a millisecond instead of ten.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from serving.contract import PARTITION, TABLES
from serving.errors import PublicationError

_READER_VERSION = 1
"""What a table may want of its readers: its rows are those of its data files, no more and no less (``docs/lake.md``)."""

_BYTES_A_ROW = 8
"""For data files whose log does not say how many rows they have."""


@dataclass(frozen=True)
class TableFiles:
    """The data files of one table at one version; data files never change."""

    table: str
    root: str
    names: Mapping[tuple[date, str] | None, tuple[str, ...]]
    """By date and platform, in this order; ``None`` stands for both where the table has no partitions."""
    rows: Mapping[tuple[date, str], int] = field(default_factory=dict)
    """How many rows they have together, where the table has partitions."""
    counted: bool = True
    """Whether the log says so of each of them; else some rows are guessed from bytes."""

    @property
    def by_partition(self) -> dict[tuple[date, str], tuple[str, ...]]:
        """The names of those that lie in a partition."""
        return {key: names for key, names in self.names.items() if key is not None}

    @property
    def all(self) -> list[str]:
        """The paths of all of them."""
        return [self._path(name) for names in self.names.values() for name in names]

    def within(self, first: date, last: date, platforms: Collection[str] = ()) -> list[str]:
        """The paths of those of some days, both included, and platforms (none: every one), of a table that has partitions."""
        return [
            self._path(name)
            for key, names in self.names.items()
            if key is not None and first <= key[0] <= last and (not platforms or key[1] in platforms)
            for name in names
        ]

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"


def files_of(lake: str, table: str, version: int, known: TableFiles | None = None) -> TableFiles:
    """The data files of a table at a version. Reads the log only, and opens no data file.

    Args:
        lake: root of the lake.
        table: its name.
        version: of the table.
        known: data files that need no look, all others have to be there; ``None``: none is looked for.

    Raises:
        PublicationError: the table is not there at that version, lacks columns or a data file, or is not of the lake's kind
            (``docs/lake.md``).
    """
    root = str(Path(lake) / table)
    try:
        delta = DeltaTable(root, version=version)
        reader = delta.protocol().min_reader_version
        columns = {column.name for column in delta.schema().fields}
        # Not ``pa.table``, which would import pandas, where that is installed, to find out what it is given.
        actions = pa.RecordBatchReader.from_stream(delta.get_add_actions(flatten=True)).read_all()
    except Exception as error:  # deltalake has no class for all of this
        raise PublicationError(f"table {table} cannot be read at version {version}.") from error
    if reader > _READER_VERSION:
        raise PublicationError(
            f"table {table} wants reader version {reader} at version {version}; the service reads {_READER_VERSION}."
        )
    missing = [column for column in TABLES[table].names if column not in columns]
    if missing:
        raise PublicationError(f"table {table} lacks the columns {', '.join(missing)} at version {version}.")
    if actions.num_rows == 0:  # then there are no columns either
        return TableFiles(table, root, {})
    # Publications have most of their files in common.
    names = [sys.intern(name) for name in actions["path"].to_pylist()]
    if known is not None:
        _look_for(dict(zip(names, actions["size_bytes"].to_pylist(), strict=True)), known, version)
    if not is_partitioned(table):
        return TableFiles(table, root, {None: tuple(sorted(names))})
    found: dict[tuple[date, str], list[str]] = {}
    rows: dict[tuple[date, str], int] = {}
    told = ("num_records", "size_bytes", *(f"partition.{column}" for column in PARTITION))
    for name, records, size, day, platform in zip(names, *(actions[one].to_pylist() for one in told), strict=True):
        if not name.startswith(f"date={day}/platform={platform}/"):
            raise PublicationError(f"table {table} has a data file outside its partition at version {version}.")
        found.setdefault((day, platform), []).append(name)
        rows[day, platform] = rows.get((day, platform), 0) + (size // _BYTES_A_ROW if records is None else records)
    in_order: dict[tuple[date, str] | None, tuple[str, ...]] = {key: tuple(sorted(found[key])) for key in sorted(found)}
    return TableFiles(table, root, in_order, rows, actions["num_records"].null_count == 0)


def _look_for(sizes: Mapping[str, int], known: TableFiles, version: int) -> None:
    """Look for data files, by name and size, that are not among the known ones of their table.

    Raises:
        PublicationError: one is not there, or not as long as the log says: it is still being copied, or was cut.
    """
    seen = {name for names in known.names.values() for name in names}
    for name in sorted(sizes.keys() - seen):
        try:
            size = os.stat(f"{known.root}/{name}").st_size  # noqa: PTH116  # a Path for each would take four times as long
        except OSError as error:
            raise PublicationError(f"table {known.table} lacks the data file {name} at version {version}.") from error
        if size != sizes[name]:
            raise PublicationError(
                f"table {known.table} has {size} bytes of the data file {name} at version {version}, of {sizes[name]}."
            )


def is_partitioned(table: str) -> bool:
    """Whether a table has partitions, whose values stand in the paths of its data files alone."""
    return table != "coverage"
