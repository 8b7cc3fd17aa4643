"""The Delta tables of one lake: opened at a version, and changed by one commit to one table at a time.

Files are written by Spark's workers (``jobs.datafiles``); here the driver makes them part of a table. delta-rs commits: that costs
milliseconds, where Delta's Spark writer needs seconds. One run at a time writes (``jobs.lock``), so no commit meets another.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, write_deltalake
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from jobs.datafiles import DataFile, columns_with_statistics
from jobs.errors import JobError
from jobs.schemas import PUBLISHED, TABLES, Table

Partition = tuple[date, str]
"""The UTC day and the platform."""

_ACTION = ["path", "size_bytes", "num_records", "partition.date", "partition.platform"]
"""What a data file is known by in the log of a table partitioned by date and platform."""

MOST_FILES = 50
"""Data files of a control table. Every run reads all of them, a millisecond each, and every run adds one or two."""

CHECKPOINT_COMMITS = 10
"""Commits after which a new checkpoint is worth its file: readers then read it instead of the commits before."""

_KEEP_LOGS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
"""Delta would drop logs after 30 days, those of the newest publication among them; ``maintain`` knows which are needed."""


@dataclass(frozen=True)
class Lake:
    """The tables under one root folder."""

    root: str
    opened: dict[str, DeltaTable] | None = field(default=None, compare=False, repr=False)
    """By name the tables that are kept open, for as long as this process alone changes the lake (``jobs.change``): bringing one
    up to date takes a millisecond, opening it ten where a year of nights is in its log. ``None``: each is opened anew."""

    def uri(self, table: Table) -> str:
        """Where the table's folder is."""
        return f"{self.root.rstrip('/')}/{table.name}"

    def exists(self) -> bool:
        """Whether the lake has all its tables."""
        return all(DeltaTable.is_deltatable(self.uri(table)) for table in TABLES)

    def create(self) -> None:
        """Makes the tables that are missing, each empty at version 0."""
        for table in TABLES:
            if not DeltaTable.is_deltatable(self.uri(table)):
                partitions = list(table.partition_by) or None
                try:
                    DeltaTable.create(
                        self.uri(table),
                        table.schema,
                        "ignore",
                        partition_by=partitions,
                        configuration=_table_properties(table),
                    )
                except OSError as error:
                    raise JobError(
                        f"cannot make the lake {self.root}: {error}; set CTR_LAKE to a writable path"
                    ) from error

    def open(self, table: Table, version: int | None = None) -> DeltaTable:
        """The table at a version (default: its newest). Where tables are kept open, a later call moves the same object on.

        Raises:
            JobError: there is no such table or version.
        """
        if self.opened is None or version is not None:
            return self._anew(table, version)
        if table.name in self.opened:
            self.opened[table.name].update_incremental()
        else:
            self.opened[table.name] = self._anew(table)
        return self.opened[table.name]

    def _anew(self, table: Table, version: int | None = None) -> DeltaTable:
        try:
            return DeltaTable(self.uri(table), version=version)
        except TableNotFoundError as error:
            raise JobError(
                f"no table {table.name} in the lake {self.root}; run ./spark-submit.sh daily first"
            ) from error

    def versions(self) -> dict[str, int]:
        """The newest version of each published table, by name."""
        return {table.name: self.open(table).version() for table in PUBLISHED}

    def read(self, table: Table, columns: list[str] | None = None, version: int | None = None) -> pa.Table:
        """Rows of a control table (``coverage``, ``files``, ``publications``): small, so they fit in the driver.

        Every night adds a data file or two. Their statistics help nobody who reads all of them, so they are left out.
        """
        delta = self.open(table, version)
        if table.partition_by:
            return delta.to_pyarrow_table(columns=columns)
        # In what delta-rs calls these files the folder of the table is written as in a URL, what follows it is not.
        folder = delta.table_uri.removeprefix("file://")
        paths = [f"{self.uri(table)}/{name.removeprefix(folder)}" for name in delta.file_uris()]
        from pyarrow.dataset import dataset  # here: it brings pandas along, which a start would wait for

        return dataset(paths, schema=table.schema, format="parquet").to_table(columns)

    def files(
        self, table: Table, partitions: Iterable[Partition] | None = None, version: int | None = None
    ) -> list[DataFile]:
        """The data files of a version of the table (default: its newest), of these partitions or of all."""
        actions = self.add_actions(table, version).select(_ACTION)
        wanted = None if partitions is None else set(partitions)
        if wanted is not None:  # before rows become objects: a long history has many files
            days = pa.array({day for day, _ in wanted}, actions["partition.date"].type)
            actions = actions.filter(pc.is_in(actions["partition.date"], value_set=days))
        found = [_data_file(action) for action in actions.to_pylist()]
        return [file for file in found if wanted is None or (file.date, file.platform) in wanted]

    def add_actions(self, table: Table, version: int | None = None) -> pa.Table:
        """What the log of the table says of each data file of a version (default: its newest), as delta-rs names the columns."""
        actions = self.open(table, version).get_add_actions(flatten=True)
        # Not ``pa.table``, which would import pandas to find out what it is given.
        return pa.RecordBatchReader.from_stream(actions).read_all()

    def commit(self, table: Table, batch: int, adds: Iterable[DataFile] = (), removes: Iterable[DataFile] = ()) -> None:
        """Adds and removes data files of a table in one commit; none at all makes no commit."""
        now = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            AddAction(
                path=file.path,
                size=file.size,
                partition_values=file.partition_values,
                modification_time=now,
                data_change=True,
                stats=file.stats,
            )
            for file in adds
        ]
        actions += [RemoveAction(file.path, True, now, file.size, file.partition_values) for file in removes]
        if actions:
            self.open(table).create_write_transaction(
                actions,
                "append",
                table.schema,
                list(table.partition_by),
                commit_properties=_properties(batch),
                post_commithook_properties=_KEEP_LOGS,
            )

    def append(self, table: Table, rows: pa.Table, batch: int) -> None:
        """Adds rows to a control table in one commit, which also makes one file of all its rows when they are in too many."""
        if len(self.open(table).file_uris()) < MOST_FILES:
            self._write(table, rows, "append", batch)
        else:
            self._write(table, pa.concat_tables([self.read(table), rows]), "overwrite", batch)

    def overwrite(self, table: Table, rows: pa.Table, batch: int) -> None:
        """Replaces all rows of a control table in one commit."""
        self._write(table, rows, "overwrite", batch)

    def _write(self, table: Table, rows: pa.Table, mode: Literal["append", "overwrite"], batch: int) -> None:
        properties = _properties(batch)
        delta = self.open(table)
        write_deltalake(delta, rows, mode=mode, commit_properties=properties, post_commithook_properties=_KEEP_LOGS)

    def take_back(self, table: Table, version: int) -> bool:
        """Puts the table back to the content of a version; whether there was anything to take back."""
        delta = self.open(table)
        if delta.version() == version or _is_restored(delta, version):
            return False
        delta.restore(version, post_commithook_properties=_KEEP_LOGS)
        return True


def existing_lake(root: str) -> Lake:
    """The lake under a root folder.

    Raises:
        JobError: there is none.
    """
    lake = Lake(root)
    if not lake.exists():
        raise JobError(f"no lake at {root}: run ./spark-submit.sh daily first, or set CTR_LAKE")
    return lake


def rows_of(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of a table from dictionaries by column name; a missing key is NULL."""
    return pa.Table.from_pylist(rows, schema=table.schema)


def _table_properties(table: Table) -> dict[str, str | None]:
    """Delta's settings of a table.

    The columns that have statistics are named: to a reader that expects them of every column, as delta-rs, a column without them
    has no value in any row, and a filter on it finds nothing.
    """
    properties: dict[str, str | None] = {"delta.checkpointInterval": str(CHECKPOINT_COMMITS)}
    if table.partition_by:
        properties["delta.dataSkippingStatsColumns"] = ",".join(columns_with_statistics(table))
    return properties


def _properties(batch: int) -> CommitProperties:
    return CommitProperties(custom_metadata={"ctr.batch": str(batch)})


def _is_restored(delta: DeltaTable, version: int) -> bool:
    last = delta.history(1)[0]
    return bool(last["operation"] == "RESTORE" and last["operationParameters"].get("version") == str(version))


def _data_file(action: dict[str, Any]) -> DataFile:
    return DataFile(
        path=action["path"],
        size=action["size_bytes"],
        rows=action["num_records"],
        date=action["partition.date"],
        platform=action["partition.platform"],
    )
