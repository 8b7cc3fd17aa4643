"""Builds the replica in the background: one builder per host, one segment at a time, each swapped in whole."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic, perf_counter, time, time_ns

import duckdb

from serving.errors import PublicationError
from serving.load.threads import HEAVY, lower_priority
from serving.query import segment_queries
from serving.query.failures import is_disk_full
from serving.replica.replica import SUFFIX, Replica
from serving.replica.segments import Segment
from serving.settings import Settings
from serving.state.database import open_database
from serving.state.files import files_of

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 30.0
"""How long the builder waits after a failure before it tries the same segments again."""

_MARK_SECONDS = 60.0
_UNWANTED_SECONDS = 600.0
"""How often a builder marks the files that it wants, and how old the mark of a file is that nobody wants.

Two services on a host may want different files of one lake: an old and a new one during an upgrade, or those with other settings.
"""

_SPILL = "spill-"
"""How the folders of what does not fit into the memory of a builder are called."""


class Unmade(Exception):
    """Segments that could not be made; all others are there."""

    def __init__(self, failures: Mapping[Segment, Exception]) -> None:
        """They, and what was in the way of each."""
        segment, error = next(iter(failures.items()))
        days = " to ".join(sorted({str(day) for day in segment.days}))
        more = f" (and {len(failures) - 1} others)" if len(failures) > 1 else ""
        self.what = f"{segment.rollup} of {days}{more}"
        """The first of them, and how many others, fit for clients."""
        super().__init__(f"{self.what}: {error}")


class Builder:
    """A thread that makes the files that are missing. Where another process on the host builds, it waits and looks."""

    def __init__(self, settings: Settings, replica: Replica) -> None:
        self._settings = settings
        self._replica = replica
        self._wanted: tuple[Segment, ...] = ()
        self._known: frozenset[str] = frozenset()
        """Names of the files that the last round wanted."""
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._thread = threading.Thread(target=self._run, name="replica-builder", daemon=True)
        self.failure: Exception | None = None
        """Why the last round did not end well; ``None`` again after one that did."""
        self.seconds = 0.0
        """How long the last round that made something took."""

    def want(self, segments: tuple[Segment, ...]) -> None:
        """Make these segments, and delete the files of those that nobody wants. To be called again until none is missing."""
        same = segments == self._wanted
        self._wanted = segments  # also for their versions: those of an older publication may be gone at the next try
        if same and (self.failure is not None or not self._replica.missing(segments)):
            return
        self._changed.set()
        if not self._thread.is_alive() and not self._ended.is_set():
            self._thread.start()

    def close(self, seconds: float = math.inf) -> None:
        """Stop, also in the middle of a segment, and wait for that, so long at most: the disk of the lake may hang."""
        self._ended.set()
        self._changed.set()
        end = monotonic() + seconds
        while self._thread.is_alive() and monotonic() < end:
            connection = self._connection
            if connection is not None:
                with contextlib.suppress(duckdb.Error):  # it may have been closed in between
                    connection.interrupt()
            self._thread.join(0.05)

    def _run(self) -> None:
        lower_priority(HEAVY)
        while not self._ended.is_set():
            self._changed.clear()
            if self._ended.is_set():  # since the loop looked: what wakes it was just cleared
                return
            try:
                if self.build():
                    self.failure = None
            except Exception as error:  # disk, lake: whatever it is, Delta still answers
                self.failure = error
                if not self._ended.is_set():
                    logger.error("the replica could not be built, Delta answers meanwhile: %s", error)
            self._changed.wait(_RETRY_SECONDS if self.failure is not None else _MARK_SECONDS)

    def build(self) -> bool:
        """Make what is missing and delete what is no longer wanted. False: another process is at it.

        Raises:
            OSError: the folder cannot be written.
            duckdb.Error: likewise, its disk is full.
            Unmade: some segments could not be made, as the lake cannot be read there or they do not fit into the memory.
        """
        wanted = self._wanted
        self._mark(wanted)  # also while another process builds, however long that takes
        try:
            self._replica.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self._replica.folder / "lock") as mine:
                if mine:
                    self._make(wanted)
                return mine
        except OSError:
            if self._replica.missing(wanted):
                raise
            return True  # a folder that can be written no more has all that is wanted

    def _make(self, wanted: tuple[Segment, ...]) -> None:
        self._clean(wanted)
        missing = self._replica.missing(wanted)
        if not missing:
            return
        began = marked = perf_counter()
        with tempfile.TemporaryDirectory(prefix=_SPILL, dir=self._replica.folder) as spill:
            folders = (self._settings.lake, str(self._replica.folder))
            self._connection = open_database(
                1, self._settings.replica_memory, spill, folders, self._settings.query_spill
            )
            failures: dict[Segment, Exception] = {}
            try:
                for segment in missing:
                    if self._ended.is_set() or self._wanted != wanted:
                        return
                    try:
                        self._make_one(self._connection, segment)
                    except (duckdb.Error, PublicationError) as error:
                        if is_disk_full(error):
                            raise
                        failures[segment] = error  # of this one: a lost data file must not cost the others
                    if perf_counter() - marked > _MARK_SECONDS:  # not after each: a long history has thousands
                        self._mark(wanted)
                        marked = perf_counter()
            finally:
                connection, self._connection = self._connection, None
                connection.close()
        made = len(missing) - len(failures)
        if made:
            self.seconds = perf_counter() - began
            logger.info("replica: made %d of %d segments in %.1f s", made, len(wanted), self.seconds)
        if failures:
            raise Unmade(failures)

    def _make_one(self, connection: duckdb.DuckDBPyConnection, segment: Segment) -> None:
        """One file under a temporary name, flushed to the disk, then renamed: it is there whole or not at all."""
        final = self._replica.path(segment)
        half = final.with_suffix(".half")
        _delete_half(half)
        files = files_of(self._settings.lake, segment.rollup, segment.version)
        first, last = segment.days
        try:
            for statement in segment_queries.make_segment(files, str(half), segment.name, first, last):
                connection.execute(statement.sql, statement.values)
            with half.open("rb") as file:
                os.fsync(file.fileno())
            half.rename(final)
        except BaseException:
            with contextlib.suppress(duckdb.Error):  # it writes once more, for which there may be no room
                connection.execute(segment_queries.unmake_segment())
            _delete_half(half)  # its room is wanted, most of all where that was the reason
            raise
        _flush_folder(final.parent)

    def _mark(self, wanted: tuple[Segment, ...]) -> None:
        """Say of the files of these segments that somebody wants them: the mark is the time of their last access."""
        for segment in wanted:
            with contextlib.suppress(
                OSError
            ):  # it is not there (yet), or not to be written: then nobody deletes it either
                _set_mark(self._replica.path(segment))

    def _clean(self, wanted: tuple[Segment, ...]) -> None:
        """Delete what a killed builder left, the files whose place one of a new publication takes, and those that nobody wants.

        Who has such a file open reads it to the end all the same.
        """
        kept = frozenset(self._replica.path(segment).name for segment in wanted)
        spans = {_span(name) for name in kept}
        replaced = {name for name in self._known - kept if _span(name) in spans}
        self._known = kept
        for path in self._replica.folder.iterdir():
            if path.is_dir() and path.name.startswith(_SPILL):
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_file() and path.name not in kept | {"lock"}:
                with contextlib.suppress(FileNotFoundError):  # a worker threw a broken one away
                    if path.suffix != SUFFIX or path.name in replaced or _is_unwanted(path):
                        path.unlink()


def _delete_half(half: Path) -> None:
    """Delete a half-made file, and what DuckDB had still to write into it."""
    for path in (half, half.with_name(f"{half.name}.wal")):
        path.unlink(missing_ok=True)


def _span(name: str) -> str:
    """The rollup and the span in the name of a segment's file, without the digest of what it holds."""
    return name.rpartition("_")[0]


def _set_mark(path: Path) -> None:
    os.utime(path, ns=(time_ns(), path.stat().st_mtime_ns))


def _is_unwanted(path: Path) -> bool:
    """Whether the mark of a file is old."""
    age = time() - path.stat().st_atime
    if age < 0:  # the clock was set back: nobody should wait until it is there again
        _set_mark(path)
    return age > _UNWANTED_SECONDS


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[bool]:
    """Whether this process is the builder of the host until the block ends; the system frees the lock of a dead one."""
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
