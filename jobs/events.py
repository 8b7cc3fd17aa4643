"""From event files to rows of ``views`` and ``quarantine``: what runs inside a Spark task, and how the driver gathers it.

A task reads its pieces by itself, decodes them, writes sorted Parquet files, and gives back only what it did: the files it wrote
and the account of each piece. No row crosses to the JVM.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs.checksum import HashingReader, combine
from jobs.datafiles import DataFile, write_partitions
from jobs.decoding.decode import decode
from jobs.decoding.records import Account, Reject, Views
from jobs.discover import EventFile, open_file
from jobs.errors import UnreadableFile
from jobs.schemas import QUARANTINE, VIEWS
from jobs.tasks import Piece
from jobs.workers import run_tasks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FLUSH_ROWS = 1_000_000
"""Rows that a task holds before it writes them: bounds its memory whatever the size of a file."""

FLUSH_BYTES = 256 << 20
"""The same in bytes, for rows with long texts: ordinary rows take half as much."""

FLUSH_RAW_BYTES = 64 << 20
"""The same for the raw text of rejects."""

_BUFFER = 1 << 20


@dataclass(frozen=True)
class Reading:
    """What a task needs to know besides its pieces."""

    events: str
    lake: str
    record_bytes: int
    batch: int
    day: date
    """The UTC day of the run: partition of its quarantine."""


@dataclass
class FileResult:
    """What came of one file: its account and checksum, or the reason why it could not be read."""

    account: Account
    checksum: str | None = None
    failure: str | None = None


@dataclass
class Read:
    """What came of a batch: data files to commit, and the result of each file by ``file_id``."""

    views: list[DataFile] = field(default_factory=list)
    quarantine: list[DataFile] = field(default_factory=list)
    files: dict[str, FileResult] = field(default_factory=dict)

    @property
    def unread(self) -> set[str]:
        """``file_id`` of the files that could not be read."""
        return {file_id for file_id, result in self.files.items() if result.failure is not None}


def read_events(spark: SparkSession, tasks: list[list[Piece]], reading: Reading) -> Read:
    """Runs the tasks and gathers their results; rows of files that failed are left out.

    Raises:
        AccountError: the counts of a file do not add up.
    """
    return gather(run_tasks(spark, partial(read_task, reading=reading), tasks))


def read_task(pieces: list[Piece], reading: Reading) -> Iterator[tuple[str, dict[str, Any]]]:
    """Reads pieces in order; yields ("account", ...) a piece and ("views" | "quarantine", ...) a data file written."""
    shared = _Rows(reading)
    for piece in pieces:
        own = _Rows(reading, piece)
        result = _read_piece(piece, reading, own)
        yield "account", result
        if result["failure"] is None:
            if own.stands_alone:
                yield from own.write()
            else:
                shared.take(own)
        yield from own.written
        if shared.full:
            yield from shared.write()
    yield from shared.write()


def gather(results: list[tuple[str, dict[str, Any]]]) -> Read:
    """The results of all tasks as one; pieces of a file are added up, their leaves combined into its checksum."""
    read = Read()
    pieces: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for kind, body in results:
        if kind == "account":
            pieces[body["file_id"]].append(body)
    for file_id, parts in pieces.items():
        read.files[file_id] = _whole(file_id, sorted(parts, key=lambda part: part["start"]))
    for kind, body in results:
        if kind != "account" and (body["file_id"] is None or read.files[body["file_id"]].failure is None):
            (read.views if kind == VIEWS.name else read.quarantine).append(DataFile.from_json(body["file"]))
    return read


def _whole(file_id: str, parts: list[dict[str, Any]]) -> FileResult:
    account = Account(**parts[0]["account"])
    for part in parts[1:]:
        account = account + Account(**part["account"])
    failures = [part["failure"] for part in parts if part["failure"] is not None]
    if failures:
        return FileResult(account, failure=failures[0])
    account.check(parts[0]["path"])
    return FileResult(account, checksum=combine([leaf for part in parts for leaf in part["leaves"]]))


def _read_piece(piece: Piece, reading: Reading, rows: _Rows) -> dict[str, Any]:
    """Decodes one piece into ``rows``; its account as JSON values."""
    account = Account()
    failure = None
    leaves: list[str] = []
    bounds = {} if piece.whole else {"start": piece.start, "end": piece.end}
    try:
        with open_file(reading.events, piece.file) as stream:
            hashing = HashingReader(stream, piece.start, None if piece.whole else piece.end)
            buffered = io.BufferedReader(hashing, _BUFFER)
            for views, rejects in decode(buffered, account, record_bytes=reading.record_bytes, **bounds):
                rows.add(views, rejects)
            hashing.drain()
            leaves = hashing.leaves()
    except UnreadableFile as error:
        failure = str(error)
    return {
        "file_id": piece.file.file_id,
        "path": piece.file.path,
        "start": piece.start,
        "account": asdict(account),
        "failure": failure,
        "leaves": leaves,
    }


class _Rows:
    """Rows on their way to Parquet: those of one piece until it is read to its end, then those of many small files.

    Rows of a file that is read in several pieces, or that had to be written before its end, go to data files of their own, which
    carry its ``file_id``: should the file fail, they are left out of the commit.
    """

    def __init__(self, reading: Reading, piece: Piece | None = None) -> None:
        self._reading = reading
        self._piece = piece
        self._views: list[pa.Table] = []
        self._rejects: list[pa.Table] = []
        self._count = self._bytes = self._raw_bytes = 0
        self.written: list[tuple[str, dict[str, Any]]] = []

    @property
    def stands_alone(self) -> bool:
        return self._piece is not None and (not self._piece.whole or bool(self.written))

    @property
    def full(self) -> bool:
        return self._count >= FLUSH_ROWS or self._bytes >= FLUSH_BYTES or self._raw_bytes >= FLUSH_RAW_BYTES

    def add(self, views: Views, rejects: list[Reject]) -> None:
        assert self._piece is not None  # only a piece's rows come from the decoder
        file = self._piece.file
        if views.time_ms:
            self._views.append(view_rows(views, file))
            self._bytes += self._views[-1].nbytes
        if rejects:
            self._rejects.append(reject_rows(rejects, file, self._reading))
        self._count += len(views.time_ms) + len(rejects)
        self._raw_bytes += sum(len(reject.raw) for reject in rejects)
        if self.full:
            self.written += self.write()

    def take(self, other: _Rows) -> None:
        self._views += other._views
        self._rejects += other._rejects
        self._count += other._count
        self._bytes += other._bytes
        self._raw_bytes += other._raw_bytes

    def write(self) -> list[tuple[str, dict[str, Any]]]:
        """Writes what is held: one result a data file."""
        file_id = self._piece.file.file_id if self._piece else None
        results = []
        for table, held, sort in ((VIEWS, self._views, ["product", "time"]), (QUARANTINE, self._rejects, ["offset"])):
            if held:
                files = write_partitions(self._reading.lake, table, pa.concat_tables(held), sort)
                results += [(table.name, {"file_id": file_id, "file": file.to_json()}) for file in files]
        self._views, self._rejects = [], []
        self._count = self._bytes = self._raw_bytes = 0
        return results


def view_rows(views: Views, file: EventFile) -> pa.Table:
    """Rows of the ``views`` table from decoded columns."""
    count = len(views.time_ms)
    time = pa.array(views.time_ms, pa.int64()).cast(pa.timestamp("ms")).cast(pa.timestamp("us"))
    return pa.table(
        {
            "date": time.cast(pa.date32()),
            "platform": pa.repeat(pa.scalar(file.platform, pa.string()), count),
            "product": pa.array(views.product, pa.string()),
            "time": time.cast(pa.timestamp("us", tz="UTC")),
            "message_id": pa.array(views.message_id, pa.string()),
            "position": pa.array(views.position, pa.int32()),
            "file_id": pa.repeat(file.file_id, count),
            "offset": pa.array(views.offset, pa.int64()),
        },
        schema=VIEWS.schema,
    )


def reject_rows(rejects: list[Reject], file: EventFile, reading: Reading) -> pa.Table:
    """Rows of the ``quarantine`` table from rejects."""
    return pa.Table.from_pylist(
        [
            {
                "date": reading.day,
                "platform": file.platform,
                "source": "events",
                "reason": reject.reason.value,
                "detail": reject.detail,
                "file_id": file.file_id,
                "offset": reject.offset,
                "position": reject.position,
                "raw": reject.raw,
                "raw_bytes": reject.raw_bytes,
                "batch": reading.batch,
            }
            for reject in rejects
        ],
        schema=QUARANTINE.schema,
    )
