"""The ledger of event files: what is known of each, from the statements in the ``files`` table; the newest one holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date, datetime, timedelta, timezone
from functools import cached_property
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from jobs.decoding.records import Account
from jobs.discover import EventFile
from jobs.lake import Lake
from jobs.paths import archive_of, member_of
from jobs.schemas import FILES, QUARANTINE, Table

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

PLANNED = "planned"
LOADED = "loaded"
DUPLICATE = "duplicate"
FAILED = "failed"
REPLACED = "replaced"
GONE = "gone"
UNKNOWN_PLATFORM = "unknown_platform"
ARCHIVE = "archive"

STATES = {
    PLANNED: "a run is reading it, or died while it did",
    LOADED: "its rows are in the tables",
    DUPLICATE: "same content as another loaded file of its platform; adds nothing",
    FAILED: "could not be read to its end; tried again by every run",
    REPLACED: "was loaded; its path holds another content now, and no other path holds its own",
    GONE: "could not be read, and is not at the source any more; what came in its place has a statement of its own",
    UNKNOWN_PLATFORM: "lies in no folder of a platform; not read",
    ARCHIVE: "a ZIP; its members have statements of their own",
}
"""Every state of a file and what it means."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What the ledger says of one file."""

    file_id: str
    path: str
    platform: str | None
    size: int
    state: str
    checksum: str | None
    duplicate_of: str | None
    first_time: datetime | None
    last_time: datetime | None
    recorded_at: datetime
    detail: str | None = None

    def days(self, table: Table) -> list[date]:
        """First and last date of the partitions in which the file's rows can lie; none where it has none."""
        if table is QUARANTINE:  # by the day of the run, which may have passed midnight before it recorded this
            return [self.recorded_at.date() - timedelta(days=1), self.recorded_at.date()]
        return [time.date() for time in (self.first_time, self.last_time) if time]


@dataclass
class Ledger:
    """The newest statement about each file, and the questions that a plan asks."""

    statements: dict[str, Statement] = field(default_factory=dict)
    tried: Mapping[str, str] = field(default_factory=dict)
    """By ``file_id`` the paths of the files that this run could not read: it tries neither twice, though a file goes on growing."""

    @classmethod
    def read(cls, lake: Lake, tried: Mapping[str, str] | None = None) -> Ledger:
        """The ledger as the lake's newest version has it."""
        columns = list(Statement.__dataclass_fields__)
        rows = newest_statements(lake.read(FILES, [*columns, "batch"])).select(columns)
        values = [_values(column) for column in rows.columns]
        return cls({found.file_id: found for found in map(Statement, *values)}, dict(tried or {}))

    def is_done(self, file: EventFile) -> bool:
        """Whether a plan may pass the file over."""
        return file.file_id in self.tried or file.path in self.tried_paths or self.is_settled(file)

    def is_settled(self, file: EventFile) -> bool:
        """Whether nothing has to be read of the file any more: what it holds is in the tables, or belongs in none."""
        found = self.statements.get(file.file_id)
        if found is None or found.state in (PLANNED, FAILED):
            return False
        if found.state in (REPLACED, GONE):  # and yet it is listed: what was there before has come back
            return False
        if found.state == DUPLICATE and found.duplicate_of in self.tried:
            return True
        if found.state == ARCHIVE and file.path in self._open_archives:
            return False
        return found.state == UNKNOWN_PLATFORM or self._is_newest(file.path, found)

    @cached_property
    def tried_paths(self) -> frozenset[str]:
        """Where this run could not read what stood there when it listed the files."""
        return frozenset(self.tried.values())

    def has_failed(self, file: EventFile) -> bool:
        """Whether the file could not be read before; it is open already, so that a run reads it is no news."""
        found = self.statements.get(file.file_id)
        return found is not None and found.state == FAILED

    def is_news(self, row: dict[str, Any]) -> bool:
        """Whether a row says something else of its file or its path than what is known.

        To fail again for the same reason is no news; that a path holds again what it held before is.
        """
        found = self.statements.get(row["file_id"])
        if found is None or row["state"] in (LOADED, REPLACED):
            return True
        if any(row.get(name) != getattr(found, name) for name in ("state", "detail", "duplicate_of")):
            return True
        return (found.state == ARCHIVE or self._is_in_tables(found)) and not self._is_newest(row["path"], found)

    def loaded(self) -> Iterable[Statement]:
        """Statements about the files whose rows are in the tables."""
        return (statement for statement in self.statements.values() if statement.state == LOADED)

    @cached_property
    def contents(self) -> dict[tuple[str | None, int], dict[str, str]]:
        """By platform and size, and then by checksum, the ``file_id`` of the rows of each loaded content."""
        found: dict[tuple[str | None, int], dict[str, str]] = defaultdict(dict)
        for known in self.loaded():
            if known.checksum:
                found[known.platform, known.size][known.checksum] = known.file_id
        return dict(found)

    def loaded_content(self, file_id: str) -> str | None:
        """The ``file_id`` of the rows that a known file stands for; None where there are none, or nobody knows it."""
        known = self.statements.get(file_id)
        return _content(known) if known is not None and self._is_in_tables(known) else None

    def content_at(self, path: str) -> str | None:
        """The loaded content that a path held last, as the ``file_id`` of its rows; None where it held none."""
        known = self._held.get(path)
        return None if known is None else _content(known)

    @cached_property
    def holders(self) -> dict[str, list[Statement]]:
        """By the ``file_id`` of loaded contents, the files that are the last of their paths and hold it."""
        found: dict[str, list[Statement]] = defaultdict(list)
        for known in self._held.values():
            found[_content(known)].append(known)
        return found

    def held(self) -> Iterable[Statement]:
        """Of each path the file that was loaded last, or that is a copy of a loaded one; whether it still stands there or not."""
        return self._held.values()

    @cached_property
    def _held(self) -> dict[str, Statement]:
        return {known.path: known for known in self.statements.values() if self._is_in_tables(known)}

    def _is_in_tables(self, known: Statement) -> bool:
        """Whether a file's content has rows, its own or those of the file that it is a copy of."""
        if known.state == DUPLICATE:
            original = self.statements.get(known.duplicate_of or "")
            return original is not None and original.state == LOADED
        return known.state == LOADED

    def _is_newest(self, path: str, known: Statement) -> bool:
        """Whether a path holds nothing newer than this: an older file that is put back with its old time is news."""
        newest = self._newest.get(path)
        return newest is not None and _content(newest) == _content(known)

    @cached_property
    def _newest(self) -> dict[str, Statement]:
        known_ones = self.statements.values()
        return {known.path: known for known in known_ones if known.state == ARCHIVE or self._is_in_tables(known)}

    def _lacks_original(self, copy: Statement) -> bool:
        """Whether the content of a copy is in no table, and may be read by this run."""
        original = self.statements.get(copy.duplicate_of or "")
        return copy.duplicate_of not in self.tried and (original is None or original.state != LOADED)

    @cached_property
    def _open_archives(self) -> set[str]:
        """Archives with a member that has to be looked at again."""
        return {
            archive_of(statement.path)
            for statement in self.statements.values()
            if member_of(statement.path) is not None
            and statement.file_id not in self.tried
            and (
                statement.state in (PLANNED, FAILED)
                or (statement.state == DUPLICATE and self._lacks_original(statement))
            )
        }


def _content(known: Statement) -> str:
    """The ``file_id`` of the rows that a file stands for."""
    return known.file_id if known.duplicate_of is None else known.duplicate_of


def _values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column; times by way of NumPy, which makes them ten times as fast as Arrow."""
    if not pa.types.is_timestamp(column.type):
        return cast("list[Any]", column.to_pylist())
    naive = column.to_numpy().astype(object)  # UTC, as all times of the lake
    return [time and time.replace(tzinfo=timezone.utc) for time in naive]


def newest_statements(rows: pa.Table) -> pa.Table:
    """Of rows of ``files`` the newest of each ``file_id``, oldest first: all that the ledger goes by, in its order.

    Batches tell what is newest, for clocks may go back; of one batch, what it concluded comes after its plan.
    """
    ranked = rows.append_column("concluded", pc.not_equal(rows["state"], PLANNED))
    ranked = ranked.sort_by([(name, "ascending") for name in ("batch", "concluded", "recorded_at")])
    ordered = ranked.drop_columns("concluded")
    places = pa.table({"file_id": ordered["file_id"], "place": pa.array(range(ordered.num_rows), pa.int64())})
    newest = places.group_by("file_id").aggregate([("place", "max")])["place_max"]
    return ordered.take(newest.take(pc.sort_indices(newest)))


def statement(file: EventFile, batch: int, state: str, **facts: Any) -> dict[str, Any]:
    """One row of the ``files`` table, made now; ``facts`` are further columns."""
    return {
        "file_id": file.file_id,
        "path": file.path,
        "platform": file.platform,
        "size": file.size,
        "modified": file.modified,
        "etag": file.etag,
        "batch": batch,
        "state": state,
        "recorded_at": datetime.now(timezone.utc),
        **facts,
    }


def event_file(row: dict[str, Any]) -> EventFile:
    """The file of a row of ``files`` as it was listed; it keeps the row's ``file_id``, also where the row passed to a copy."""
    modified_us = (row["modified"] - _EPOCH) // timedelta(microseconds=1)
    return EventFile(row["path"], row["platform"], row["size"], modified_us, row["etag"], loaded_as=row["file_id"])


def account_columns(account: Account) -> dict[str, Any]:
    """The account of a file as columns of the ``files`` table."""
    columns = asdict(account)
    for name in ("first", "last"):
        value = columns.pop(f"{name}_ms")
        columns[f"{name}_time"] = None if value is None else datetime.fromtimestamp(value / 1000, timezone.utc)
    return columns


def account_of(row: dict[str, Any]) -> Account:
    """The account in a row of ``files``: the reverse of ``account_columns``."""
    times = {name: row[f"{name}_time"] for name in ("first", "last")}
    ends = {f"{name}_ms": time and (time - _EPOCH) // timedelta(milliseconds=1) for name, time in times.items()}
    names = [item.name for item in fields(Account) if item.name not in ends]
    return Account(**{name: row[name] for name in names}, **ends)


def record(lake: Lake, rows: list[dict[str, Any]], batch: int) -> None:
    """Adds statements to the ledger in one commit; none makes no commit."""
    if rows:
        lake.append(FILES, pa.Table.from_pylist(rows, schema=FILES.schema), batch)
