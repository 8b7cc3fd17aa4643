"""The local replica: segments of the rollups as sorted DuckDB files, attached read-only by every worker on the host.

Which file serves which publication is decided by its name alone (``segments``), so there is nothing to keep in step: a segment
whose file is not there yet is answered from Delta, and a new publication goes on with every segment that it left unchanged.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import duckdb

from serving.load import handles
from serving.query import segment_queries
from serving.query.failures import is_out_of_room
from serving.replica.segments import Segment, product_id
from serving.settings import Settings

logger = logging.getLogger(__name__)

SUFFIX = ".duckdb"

Cursors = Sequence[duckdb.DuckDBPyConnection]
"""A cursor of each of the process's databases, which have the same segments attached."""

_WRONG_CHECKSUM = "Corrupt database file"
"""What DuckDB says of a block that is not what was written."""


class Replica:
    """The files of one lake's replica, and which of them this process has attached."""

    def __init__(self, settings: Settings) -> None:
        self._minute_days = settings.replica_minute_days
        self._connections = settings.connections
        self.folder = replica_folder(settings)
        self._users: Counter[str] = Counter()
        self._names: dict[int, str | None] = {}
        """The products of every segment of days that was ever attached here, by number; ``None``: several names share it."""
        self._suspects: set[str] = set()
        """Names of segments that failed while they were read: not attached again before their file was read whole."""
        self._lock = threading.Lock()
        self.stopped: Exception | None = None
        """What ended the last ``attach`` before its end."""
        self.discarded = 0
        """How many files turned out broken in this process."""

    def wanted(self, segments: Iterable[Segment]) -> tuple[Segment, ...]:
        """The segments that are to be built: all, but of minutes only the newest days (``replica_minute_days``)."""
        minutes = [segment for segment in segments if segment.rollup == "ctr_minute"]
        left_out = set(minutes[self._minute_days :]) if self._minute_days is not None else set()
        return tuple(segment for segment in segments if segment not in left_out)

    def path(self, segment: Segment) -> Path:
        """Where the segment's file is, or will be."""
        return self.folder / (segment.name + SUFFIX)

    def missing(self, segments: Iterable[Segment]) -> list[Segment]:
        """The segments without a file."""
        return [segment for segment in segments if not self.path(segment).exists()]

    def made_at(self, segments: Iterable[Segment]) -> float | None:
        """When the newest of the segments' files was made, in seconds since 1970; ``None``: there are none."""
        times = []
        for segment in segments:
            with contextlib.suppress(OSError):  # an attached file may have been deleted, or its folder be out of reach
                times.append(self.path(segment).stat().st_mtime)
        return max(times, default=None)

    def attach(self, cursors: Cursors, segments: Iterable[Segment]) -> frozenset[Segment]:
        """Attach the segments that have a file; each has to be given back by ``release``. A broken file is deleted.

        Where the folder cannot be looked at, or file handles or memory lack, it goes no further: ``stopped`` says why, and
        the next call tries again.
        """
        held = set()
        with self._lock:
            self.stopped = None
            try:
                for segment in segments:
                    if self._shared(segment) or self._opened(cursors, segment):
                        self._users[segment.name] += 1
                        held.add(segment)
            except (OSError, duckdb.Error) as error:
                self.stopped = error
        return frozenset(held)

    def numbers(self, names: Iterable[str]) -> dict[int, str] | None:
        """The number of each product that the replica knows; ``None`` if one has to be told from another by its name.

        Every product is in the segments of days, as a finer table has no other; without all of them this says too little.
        """
        found = {}
        for name in names:
            number = product_id(name)
            known = self._names.get(number, "")
            if known is None:
                return None
            if known == name:
                found[number] = name
        return found

    def release(self, cursors: Cursors, segments: Iterable[Segment]) -> None:
        """Give segments back; those that nobody holds any more are detached."""
        with self._lock:
            for segment in segments:
                self._users[segment.name] -= 1
                if not self._users[segment.name]:
                    del self._users[segment.name]
                    _detach(cursors, segment)

    def suspects(self, segments: Collection[Segment], error: BaseException) -> frozenset[Segment]:
        """Those of the segments a read of which may have failed with this error; none if it was something else."""
        text = str(error)
        named = frozenset(segment for segment in segments if str(self.path(segment)) in text)
        # DuckDB names the file that is too short, and not the one with a wrong checksum.
        found = named or (frozenset(segments) if _WRONG_CHECKSUM in text else frozenset())
        with self._lock:
            self._suspects.update(segment.name for segment in found)
        return found

    def discard(self, segment: Segment, reason: object) -> None:
        """Delete a file that turned out broken, so that the builder makes it anew."""
        logger.error("replica: %s is broken and was thrown away (%s)", self.path(segment), reason)
        self.path(segment).unlink(missing_ok=True)
        self.discarded += 1

    def _shared(self, segment: Segment) -> bool:
        """Whether the segment is attached already, and nothing is against its use."""
        return bool(self._users[segment.name]) and segment.name not in self._suspects

    def _opened(self, cursors: Cursors, segment: Segment) -> bool:
        if self._users[segment.name] or not self.path(segment).exists():
            return False  # a suspect that an older publication still holds stays out until it is given back
        self._check_handles(len(cursors))
        try:
            products = self._looked_through(cursors, segment)
        except duckdb.Error as error:
            _detach(cursors, segment)
            if is_out_of_room(error):
                raise
            self._suspects.discard(segment.name)
            if self.path(segment).exists():
                self.discard(segment, error)
            return False
        self._suspects.discard(segment.name)
        for number, name in products:
            if self._names.setdefault(number, name) != name:
                self._names[number] = None
        return True

    def _looked_through(self, cursors: Cursors, segment: Segment) -> list[tuple[int, str]]:
        """Attach a segment and read what has to be known of it: its products, if it is of days.

        Raises:
            duckdb.Error: the file is broken, or of another segment, or cannot be read now.
        """
        cursor = cursors[0]
        for one in cursors:
            one.execute(segment_queries.attach_segment(str(self.path(segment)), segment.name))
        found = cursor.execute(segment_queries.name_in_segment(segment.name)).fetchall()
        if found != [(segment.name,)]:
            raise duckdb.Error(f"it holds {found}")
        if segment.name in self._suspects:
            cursor.execute(segment_queries.read_segment(segment.name)).fetchall()
        if segment.rollup != "ctr_day":
            return []
        return cursor.execute(segment_queries.products_of_segment(segment.name)).fetchall()

    def _check_handles(self, databases: int) -> None:
        """Raises ``OSError`` where one segment more would leave too few file handles for connections and the lake."""
        taken, most = len(self._users) * databases, handles.for_replica(self._connections)
        if taken + databases > most:
            raise OSError(errno.EMFILE, f"{taken} file handles of {handles.limit():.0f} are taken: {handles.ADVICE}")


def _detach(cursors: Cursors, segment: Segment) -> None:
    for cursor in cursors:
        cursor.execute(segment_queries.detach(segment.name))


def replica_folder(settings: Settings) -> Path:
    """The folder of the replica of one lake: below the configured one, named after the lake's path."""
    return Path(settings.replica_folder) / hashlib.sha256(settings.lake.encode()).hexdigest()[:16]
