"""The newest publication that can be served, and cursors to read it with. The only module that opens DuckDB."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic
from types import TracebackType

import duckdb
from typing_extensions import Self

from serving.contract import TABLES
from serving.errors import Broken, Loading, NotReady, PublicationError, PublicationGone, PublicationUnknown
from serving.load.handles import shortage
from serving.query.catalog_queries import coverage
from serving.replica.builder import Builder, Unmade
from serving.replica.replica import Replica
from serving.replica.segments import Segment, segments_of
from serving.settings import Settings
from serving.state.cache import AnswerCache
from serving.state.cost import sizes_of
from serving.state.database import Databases
from serving.state.files import TableFiles, files_of
from serving.state.history import Kept
from serving.state.lending import Lending, Opened
from serving.state.publications import Publication, PublicationLog
from serving.state.snapshot import CoverageRow, Snapshot, platform_facts

logger = logging.getLogger(__name__)

_CANDIDATES = 5
"""How many publications, from the newest back, are tried before the service gives up until the next look."""

_HANG_SECONDS = 30.0
"""How long the lake may take to answer; then whatever it is on hangs."""

_CLOSE_SECONDS = 2.0
"""How long a closing store waits for a look at the lake that has begun."""

_HANGS = f"The lake does not answer for more than {_HANG_SECONDS:g} s: what is its disk doing?"
_NONE_YET = "The lake has no publication yet. Load data first: ./spark-submit.sh daily"
_NO_MORE = "The lake has no publications any more: is its disk mounted?"
_NOT_USED = "The local copy cannot be used as a whole."
_NOT_BUILT = "The local copy cannot be built"


@dataclass(frozen=True)
class ReplicaState:
    """The replica of one publication, as operations see it."""

    wanted: int
    held: int
    """Segments: those that a whole replica has, and those that are attached."""
    made_at: float | None
    """When the newest of them was made, in seconds since 1970."""
    build_seconds: float
    """How long this process took for its last round of building; 0 where it has built none."""


class Lease:
    """One request's hold on one publication: the snapshot and a cursor of its own, until ``close``."""

    def __init__(self, store: Store, opened: Opened) -> None:
        self._store = store
        self._opened: Opened | None = opened
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self.snapshot = opened.snapshot
        self.filter_products = store.filter_products

    @property
    def cursor(self) -> duckdb.DuckDBPyConnection:
        """The cursor, made when it is first asked for."""
        if self._cursor is None:
            self._cursor = self._store.cursor()
        return self._cursor

    def close(self) -> None:
        """Give the hold back; a second call does nothing."""
        opened, self._opened = self._opened, None
        if opened is not None:
            if self._cursor is not None:
                self._cursor.close()
            self._store.lending.take_back(opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Store:
    """DuckDB over the lake. ``poll`` follows the publications, ``lease`` lends the newest good one."""

    def __init__(self, settings: Settings, worker: bool = True) -> None:
        """Opens DuckDB, and no publication yet; a worker also makes the replica where it is missing, and answers at once."""
        self.lake = settings.lake
        self.lending = Lending(settings.older_publications, self._close)
        """The publications that are open."""
        self._unused: SimpleQueue[frozenset[Segment]] = SimpleQueue()
        """Segments to be given back, of publications that nobody reads any more."""
        self._connections = settings.connections if worker else 0
        self._opening = threading.Lock()
        self.cache = AnswerCache(settings.cache_bytes)
        """Finished answers by their entity tag."""
        self._log = PublicationLog(settings.lake)
        self.replica = Replica(settings) if settings.replica else None
        self.builder = Builder(settings, self.replica) if self.replica and worker else None
        folders = (settings.lake, str(self.replica.folder)) if self.replica else (settings.lake,)
        self._databases = Databases(settings, folders, quick=self.replica is not None and worker)
        self.quick_cursor = self._databases.quick_cursor
        self.memory, self.spill = self._databases.memory, settings.query_spill
        """Bytes that statements of any size may take together, in memory and on disk."""
        self.filter_products = settings.filter_products
        """Most products that a request may name."""
        self._polling = threading.Lock()
        self.history: list[Publication] = []
        """Every publication of the lake, newest first, as of the last change; those of before where it has none any more."""
        self.kept = Kept(settings.lake, self.history)
        """Which of them are still there."""
        self.looked = False
        """Whether the first look at the lake has ended, however it did."""
        self.closed = False
        """Whether DuckDB is closed: whatever still runs fails."""
        self._problem: str | None = None
        self._asked: dict[int, float] = {}
        """Since when each thread waits for the lake."""
        self.replica_problem: str | None = None
        """Why the replica is not made, or not all of it used; Delta answers for the rest meanwhile."""

    @property
    def problem(self) -> str | None:
        """Why the newest publication is not the one that is served; ``None`` while it is."""
        return _HANGS if self._hangs else self._problem

    @property
    def _hangs(self) -> bool:
        return monotonic() - min(list(self._asked.values()), default=math.inf) > _HANG_SECONDS

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """While something is read from the lake: what it raises is its own, but it may also never come."""
        self._asked[threading.get_ident()] = monotonic()
        try:
            yield
        finally:
            del self._asked[threading.get_ident()]

    @property
    def snapshot(self) -> Snapshot | None:
        """The publication that is served; ``None`` while there is none."""
        opened = self.lending.current
        return opened.snapshot if opened is not None else None

    def lease(self, as_of: int | None = None) -> Lease:
        """A hold on the newest good publication, or on the one of that number.

        Raises:
            NotReady: there is none; the text says what to do.
            PublicationUnknown: there never was one of that number.
            PublicationGone: its data files have been deleted.
        """
        lease = self.lease_open(as_of)
        if lease is not None:
            return lease
        assert as_of is not None, "the newest is open"
        publication = self.publication("asOf", as_of)
        return self.lease_open(as_of) or Lease(self, self._older(publication))

    def lease_open(self, as_of: int | None = None) -> Lease | None:
        """The same without waiting: ``None`` where a publication would have to be opened.

        Raises:
            NotReady: there is none; the text says what to do.
        """
        opened = self.lending.lend(as_of)
        if opened is None and (as_of is None or self.lending.current is None):
            raise self.unready()
        return Lease(self, opened) if opened is not None else None

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A new cursor, for the one thread that asks."""
        return self._databases.cursor()

    def unready(self) -> NotReady:
        """The error that says why there is no publication to answer from."""
        problem = self.problem
        if problem is None or not (self.looked or self._hangs):
            return Loading()
        return Broken(problem) if self.history else NotReady(problem)

    def numbers(self, snapshot: Snapshot, products: Iterable[str]) -> dict[int, str] | None:
        """The numbers of products in the replica of a publication; ``None`` where it cannot tell them."""
        if self.replica is None or not snapshot.knows_products:
            return None
        return self.replica.numbers(products)

    def publication(self, parameter: str, number: int) -> Publication:
        """The row of the publication of that number, which a parameter of a request named.

        One that is not known yet is looked for in the lake: another worker may have answered from it already.

        Raises:
            NotReady: there is no publication.
            PublicationUnknown: there is none of that number.
        """
        if not self.history:
            raise self.unready()
        self.catch_up(number)
        history = self.history
        for publication in history:
            if publication.number == number:
                return publication
        raise PublicationUnknown(parameter, number, history[0].number) if history else self.unready()

    def gone(self, parameter: str, number: int) -> PublicationGone:
        """The error that says which publications are still there."""
        return PublicationGone(parameter, number, self.kept.oldest())

    def _older(self, publication: Publication) -> Opened:
        """An older publication with one lease more on it, opened where it is not: one at a time, and nobody else waits."""
        opened = self.lending.lend_older(publication)
        if opened is not None:
            return opened
        if self.kept.is_gone(publication):
            raise self.gone("asOf", publication.number)
        with self._opening:
            return self.lending.lend_older(publication) or self._open(publication)

    def _open(self, publication: Publication) -> Opened:
        """An older publication, newly opened, with one lease on it.

        Raises:
            NotReady: it cannot be read.
        """
        try:
            opened = Opened(self._load(publication), leases=1)
        except PublicationError as error:
            raise NotReady(str(error)) from error
        self.lending.keep(opened)
        self._give_back()
        return opened

    def poll(self) -> None:
        """Look for a new publication and serve it from now on.

        Never raises: what is wrong stands in ``problem`` and ``replica_problem``.
        """
        self._catch_up()
        with self._polling:
            if self.closed:
                return
            if not self.looked:
                self._check_handles()
            self.looked = True
            self._look_for_segments()

    def _catch_up(self) -> None:
        """Serve the newest publication that is there now; one ``stat`` while nothing is new. Never raises, like ``poll``."""
        with self._polling:
            if self.closed:
                return
            try:
                with self._asking():
                    found = self._log.read() if self._log.changed() else None
                if found is not None:
                    self._follow(found)
            except Exception as error:  # the lake is outside: whatever it throws must not end the service
                self._log.forget()
                self._report("The table publications cannot be read.", error)

    def catch_up(self, number: int) -> None:
        """Look for new publications at once if there may be one of that number that is not known here yet."""
        history = self.history
        if not history or number > history[0].number:
            self._catch_up()

    def close(self) -> None:
        """End the builder and DuckDB; running queries fail. A look at the lake that has begun ends first, unless it hangs."""
        if self.builder is not None:
            self.builder.close(_CLOSE_SECONDS)
        ended = self._polling.acquire(timeout=_CLOSE_SECONDS)
        self.closed = True
        if ended:
            self._polling.release()
            self._databases.close()

    def _follow(self, publications: list[Publication]) -> None:
        if not publications:  # whoever is told to load data would load it into the folder that waits for the disk
            self._report(_NO_MORE if self.history else _NONE_YET)
            return
        if publications != self.history:
            self.history, self.kept = publications, Kept(self.lake, publications)
        candidates = publications[:_CANDIDATES]
        known = self._known(candidates)
        problem: str | None = None
        for publication in candidates:
            if self.snapshot is not None and self.snapshot.publication == publication:
                break
            try:
                self.lending.serve(Opened(self._load(publication, known)))
                logger.info("serving publication %d of %s", publication.number, self.lake)
                break
            except PublicationError as error:
                self._log.forget()
                problem = problem or str(error)
                self._report(problem, error.__cause__)
        self._report(problem)

    def _known(self, candidates: list[Publication]) -> Mapping[str, TableFiles] | None:
        """The data files for which no candidate is refused: those of what is served, at the start those of the oldest candidate.

        A file of long ago that is lost is missing in all of them, and to refuse them all would take away what can be answered
        without it. ``None``: there is but one.
        """
        if self.snapshot is not None:
            return self.snapshot.tables
        for publication in reversed(candidates[1:]):
            with contextlib.suppress(PublicationError):
                return self._tables(publication)
        return None

    def _load(self, publication: Publication, known: Mapping[str, TableFiles] | None = None) -> Snapshot:
        """Find the data files of every table at its version, and read what covers them.

        Raises:
            PublicationError: a table or the version is not there, or columns or a data file that is not known are missing.
        """
        tables = self._tables(publication, known)
        query = coverage(tables["coverage"])
        try:
            with self._asking(), self._databases.cursor() as cursor:
                rows = [CoverageRow(*row) for row in cursor.execute(query.sql, query.values).fetchall()]
        except duckdb.Error as error:
            raise PublicationError(f"Publication {publication.number}: coverage cannot be read.") from error
        facts = platform_facts(rows, publication.published_at, publication.awaited)
        return Snapshot(publication, tables, facts, *self._segments(publication, tables), sizes_of(tables))

    def _tables(self, publication: Publication, known: Mapping[str, TableFiles] | None = None) -> dict[str, TableFiles]:
        return {table: self._files(table, publication, known[table] if known else None) for table in TABLES}

    def _files(self, table: str, publication: Publication, known: TableFiles | None) -> TableFiles:
        version = publication.versions[table]
        if version is None:
            raise PublicationError(f"Publication {publication.number}: table {table} has no version in it.")
        try:
            with self._asking():
                return files_of(self.lake, table, version, known)
        except PublicationError as error:
            raise PublicationError(f"Publication {publication.number}: {error}") from error.__cause__

    def _segments(
        self, publication: Publication, tables: Mapping[str, TableFiles]
    ) -> tuple[tuple[Segment, ...], frozenset[Segment]]:
        """The segments of a publication, and those of them that are attached, which are given back with its tables."""
        if self.replica is None:
            return (), frozenset()
        segments = segments_of(publication, tables)
        with self._databases.cursors() as cursors:
            return segments, self.replica.attach(cursors, self.replica.wanted(segments))

    def _look_for_segments(self) -> None:
        """Bring the replica of the current publication up to date. Never raises, like ``poll``."""
        try:
            self._give_back()
            self._follow_segments()
            failure = self.replica.stopped if self.replica is not None else None
        except Exception as error:  # the disk is outside, like the lake
            failure = error
        problem = _NOT_USED if failure is not None else None
        if problem != self.replica_problem and problem is not None:
            logger.error("replica: it cannot be used as a whole, Delta answers for the rest: %s", failure)
        self.replica_problem = problem or self._unbuilt()

    def _unbuilt(self) -> str | None:
        """What of the replica cannot be built; the builder has logged why."""
        failure = self.builder.failure if self.builder is not None else None
        if isinstance(failure, Unmade):
            return f"{_NOT_BUILT} as a whole: {failure.what}. The log of the service has the reason."
        return f"{_NOT_BUILT}." if failure is not None else None

    def _check_handles(self) -> None:
        """Say at the start where this process may have too few file handles."""
        snapshot = self.snapshot
        segments = self.replica.wanted(snapshot.segments) if self.replica is not None and snapshot is not None else ()
        short = shortage(self._connections, len(segments) * len(self._databases))
        if short is not None:
            logger.warning("%s", short)

    def _follow_segments(self) -> None:
        """Attach segments of the current publication that were built since, and have those built that are missing."""
        opened = self.lending.current
        if self.replica is None or opened is None:
            return
        snapshot = opened.snapshot
        wanted = self.replica.wanted(snapshot.segments)
        with self._databases.cursors() as cursors:
            found = self.replica.attach(cursors, (segment for segment in wanted if segment not in snapshot.held))
        if found:
            self.lending.add_segments(opened, found)
        if self.builder is not None:
            self.builder.want(wanted)

    def suspect(self, segments: Collection[Segment], error: BaseException) -> None:
        """Read from Delta, from the next lease on, what may have failed in the replica; the next look tries its files.

        A running read of them goes on; one that begins later finds no such table, and is to be answered from Delta too.
        """
        if self.replica is None:
            return
        given_back = self.lending.drop_segments(self.replica.suspects(segments, error))
        if given_back:
            logger.error("replica: %d segments are in doubt, Delta answers meanwhile: %s", len(given_back), error)
            with self._databases.cursors() as cursors:
                self.replica.release(cursors, given_back)

    def replica_state(self, snapshot: Snapshot) -> ReplicaState | None:
        """How much of the replica of a publication is there; ``None`` where none is kept."""
        if self.replica is None or self.builder is None:
            return None
        wanted = self.replica.wanted(snapshot.segments)
        return ReplicaState(len(wanted), len(snapshot.held), self.replica.made_at(snapshot.held), self.builder.seconds)

    def _close(self, snapshot: Snapshot) -> None:
        """Note the segments of a publication that nobody reads any more, for the next look.

        Its last lease may end on the event loop, which must not wait for a thread that attaches many of them.
        """
        if snapshot.held:
            self._unused.put(snapshot.held)

    def _give_back(self) -> None:
        """Give back what the publications held that nobody reads any more. It waits for whoever attaches segments."""
        if self.replica is None or self.closed:
            return
        with self._databases.cursors() as cursors, contextlib.suppress(Empty):
            while True:
                self.replica.release(cursors, self._unused.get_nowait())

    def _report(self, problem: str | None, cause: BaseException | None = None) -> None:
        """Log a problem when it changes; it stays in ``problem`` until it is gone."""
        if problem != self._problem and problem is not None:
            logger.error("%s %s", problem, f"({cause})" if cause else f"(lake {self.lake})")
        self._problem = problem
