"""Tries rows of the quarantine again: which leave, which have another reason now, and what that does to the counts of their files.

A row is decided by its own raw text where that says all. A record whose text was cut, and an event, whose message it takes to know
the message's id, are read from the event file again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import pyarrow as pa

from jobs.config import Config
from jobs.datafiles import DataFile
from jobs.decoding.records import Account, Fault, Reason, Reject, Views
from jobs.discover import EventFile
from jobs.errors import JobError, UnreadableFile
from jobs.lake import Lake
from jobs.quarantine import Asked, row_groups
from jobs.replay.original import CHANGED, Original, open_original
from jobs.replay.redecode import decode_events, decode_record

NOT_LOADED = "the ledger does not say that its event file is loaded"
UNUSABLE_MESSAGE = "its message cannot be used as a whole"

_COLUMNS = ["source", "reason", "file_id", "offset", "position", "raw", "raw_bytes", "batch"]


@dataclass(frozen=True)
class Row:
    """One row of the quarantine that is asked for; ``number`` counts the rows of its data file from 0."""

    number: int
    held: DataFile
    reason: str
    file_id: str
    offset: int
    position: int | None
    raw_bytes: int
    batch: int


@dataclass(frozen=True)
class Source:
    """An event file with rows in the quarantine, and what the ledger says of it (a row of ``files``)."""

    file: EventFile
    statement: dict[str, Any]


@dataclass
class Tally:
    """What became of the rows of one reason: ``tried`` is the sum of ``views``, ``ignored`` and ``quarantined``."""

    tried: int = 0
    views: int = 0
    ignored: int = 0
    quarantined: int = 0
    added: int = 0
    """Views that were found; a record may hold several."""
    unread: Counter[str] = field(default_factory=Counter)
    """Rows among ``quarantined`` that could not be tried, by why."""

    def add(self, other: Tally) -> None:
        """Adds the rows of another reason."""
        for name in ("tried", "views", "ignored", "quarantined", "added"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.unread.update(other.unread)


@dataclass
class Changes:
    """What to change in one data file of the quarantine."""

    gone: set[int] = field(default_factory=set)
    """Numbers of rows that leave."""
    renamed: dict[int, tuple[str, str]] = field(default_factory=dict)
    """By number, the reason and detail that a row has now."""

    def __bool__(self) -> bool:
        return bool(self.gone or self.renamed)


@dataclass
class Retry:
    """Tries rows again and keeps the books; ``keep`` takes views and new rejects that take the place of a row."""

    config: Config
    sources: dict[str, Source | None]
    """By ``file_id``, those asked for; None where the ledger does not say that the file is loaded."""
    keep: Callable[[Views, list[Reject], EventFile, Row], None]
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    accounts: dict[str, Account] = field(default_factory=lambda: defaultdict(Account))
    """By ``file_id``: what to add to the account of the file."""

    def data_file(self, lake: Lake, held: DataFile, asked: Asked) -> Changes:
        """Tries all rows of a data file that are asked for.

        Raises:
            JobError: an event file changed while it was read.
        """
        changes = Changes()
        unread: dict[str, list[Row]] = defaultdict(list)
        for first, rows in row_groups(lake, held, _COLUMNS):
            for index, row in self._rows(held, first, rows, asked):
                raw: bytes = rows["raw"][index].as_py()
                if self.sources[row.file_id] is None:
                    self._stays(changes, row, unread=NOT_LOADED)
                elif row.position is None and row.raw_bytes > self.config.record_bytes:
                    self._stays(changes, row, Fault(Reason.TOO_LONG, f"found {row.raw_bytes} bytes"))
                elif row.position is not None or row.raw_bytes > len(raw):
                    unread[row.file_id].append(row)
                else:
                    self._record(changes, row, raw)
        for file_id, waiting in unread.items():
            self._read(changes, self.source(file_id), waiting)
        return changes

    def source(self, file_id: str) -> Source:
        """The event file of rows that are tried."""
        source = self.sources[file_id]
        assert source is not None  # rows without one are not tried
        return source

    def _rows(self, held: DataFile, first: int, rows: pa.Table, asked: Asked) -> list[tuple[int, Row]]:
        """The rows asked for, each with its index in ``rows``; a row whose file is no source is none of them."""
        names = ["reason", "file_id", "offset", "position", "raw_bytes", "batch"]
        numbered = rows.select(names).append_column("index", pa.array(range(rows.num_rows)))
        found = []
        for values in numbered.filter(asked.mask(rows)).to_pylist():
            index = values.pop("index")
            if values["file_id"] in self.sources:
                found.append((index, Row(number=first + index, held=held, **values)))
        return found

    def _read(self, changes: Changes, source: Source, rows: list[Row]) -> None:
        """Tries rows by their event file, which is read once from its beginning to its end."""
        rows = sorted(rows, key=lambda row: row.offset)
        done = 0
        try:
            with open_original(self.config.events, source.file) as original:
                for offset, group in groupby(rows, key=lambda row: row.offset):
                    together = list(group)
                    self._place(changes, original, offset, together)
                    done += len(together)
        except UnreadableFile as error:
            if done and str(error) == CHANGED:
                raise JobError(f"{source.file.path} changed while it was read again: run replay again") from error
            for row in rows[done:]:
                self._stays(changes, row, unread=str(error))

    def _place(self, changes: Changes, original: Original, offset: int, rows: list[Row]) -> None:
        """Tries the rows of one record of an event file: itself, or some events of its message."""
        records = [(row, original.read(offset, row.raw_bytes)) for row in rows if row.position is None]
        events = [row for row in rows if row.position is not None]
        message = original.message(offset, self.config.record_bytes) if events else b""
        for row, raw in records:  # all is read before anything is decided
            self._record(changes, row, raw)
        if events:
            self._events(changes, events, message)

    def _record(self, changes: Changes, row: Row, raw: bytes) -> None:
        layout = self.source(row.file_id).statement["layout"]
        found = decode_record(raw, row.offset, layout, self.config.record_bytes)
        if found.usable:
            self._leaves(changes, row, found.views, found.rejects)
            mine = Account(records=-1, quarantined_records=-1)
            self.accounts[row.file_id] += mine + replace(found.account, bytes=0, lines=0, layout="empty")
        else:  # what is stray text is a matter of what stands around it
            self._stays(changes, row, None if row.reason == Reason.STRAY_TEXT else found.fault)

    def _events(self, changes: Changes, rows: list[Row], message: bytes) -> None:
        try:
            message_id, events = decode_events(message, rows[0].offset)
        except Fault:
            for row in rows:
                self._stays(changes, row, unread=UNUSABLE_MESSAGE)
            return
        for row in rows:
            assert row.position is not None  # these rows are events
            if row.position >= len(events):
                self._stays(changes, row, unread=UNUSABLE_MESSAGE)
                continue
            found = events[row.position]
            if isinstance(found, Reject):
                self._stays(changes, row, found)
                continue
            views, account = Views(), Account(ignored=1)
            if found is not None:
                views = Views([found.product], [found.time_ms], [message_id], [found.position], [row.offset])
                account = Account(views=1, first_ms=found.time_ms, last_ms=found.time_ms)
            self._leaves(changes, row, views, [])
            self.accounts[row.file_id] += account + Account(quarantined_events=-1)

    def _leaves(self, changes: Changes, row: Row, views: Views, rejects: list[Reject]) -> None:
        changes.gone.add(row.number)
        tally = self.tallies[row.reason]
        tally.tried += 1
        tally.added += len(views)
        if views:
            tally.views += 1
        elif rejects:
            tally.quarantined += 1
        else:
            tally.ignored += 1
        self.keep(views, rejects, self.source(row.file_id).file, row)

    def _stays(
        self, changes: Changes, row: Row, now: Fault | Reject | None = None, *, unread: str | None = None
    ) -> None:
        """Counts a row that stays, for the reason ``now`` if it is known, or not decided because of ``unread``."""
        tally = self.tallies[row.reason]
        tally.tried += 1
        tally.quarantined += 1
        if unread is not None:
            tally.unread[unread] += 1
        if now is not None and now.reason.value != row.reason:
            changes.renamed[row.number] = (now.reason.value, now.detail)
