"""The newest publication that can be served, and cursors to read it with. The only module that opens DuckDB."""

from __future__ import annotations

import itertools
import logging
import tempfile
import threading
from importlib.resources import files
from pathlib import Path
from types import TracebackType

import duckdb
from typing_extensions import Self

from serving.contract import TABLES
from serving.errors import NotReady, PublicationError
from serving.publications import Publication, PublicationLog
from serving.queries import attach, columns_of, coverage, detach, literal
from serving.settings import Settings
from serving.snapshot import CoverageRow, Snapshot, platform_facts

logger = logging.getLogger(__name__)

_CANDIDATES = 5
"""How many publications, from the newest back, are tried before the service gives up until the next look."""


class Loaded:
    """A snapshot and the number of leases that still read it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.leases = 0
        self.retired = False


class Lease:
    """One request's hold on one publication: the snapshot and a cursor of its own, until ``close``."""

    def __init__(self, store: Store, loaded: Loaded, cursor: duckdb.DuckDBPyConnection) -> None:
        self._store = store
        self._loaded: Loaded | None = loaded
        self.snapshot = loaded.snapshot
        self.cursor = cursor

    def close(self) -> None:
        """Give the hold back; a second call does nothing."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            self.cursor.close()
            self._store.release(loaded)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Store:
    """One DuckDB instance over the lake. ``poll`` follows the publications, ``lease`` lends the newest good one."""

    def __init__(self, settings: Settings) -> None:
        self._lake = settings.lake
        self._log = PublicationLog(settings.lake)
        self._spill = tempfile.TemporaryDirectory(prefix="ctr-serving-")
        self._connection = _connect(settings, self._spill.name)
        self._serial = itertools.count(1)
        self._lock = threading.Lock()
        self._polling = threading.Lock()
        self._current: Loaded | None = None
        self.history: list[Publication] = []
        """Every publication of the lake, newest first, as of the last change."""
        self.problem: str | None = None
        """Why the newest publication is not the one that is served; ``None`` while it is."""

    def lease(self) -> Lease:
        """A hold on the newest good publication.

        Raises:
            NotReady: there is none; the text says what to do.
        """
        with self._lock:
            loaded = self._current
            if loaded is None:
                raise NotReady(self.problem or "The service has not looked at the lake yet.")
            loaded.leases += 1
        return Lease(self, loaded, self._connection.cursor())

    def release(self, loaded: Loaded) -> None:
        """End one lease; the tables of an old publication go with its last one."""
        with self._lock:
            loaded.leases -= 1
            unused = loaded.retired and loaded.leases == 0
        if unused:
            self._detach(loaded.snapshot.tables)

    def poll(self) -> None:
        """Look for a new publication and serve it from now on. Never raises: what is wrong stands in ``problem``."""
        with self._polling:
            if not self._log.changed():
                return
            try:
                self._follow(self._log.read())
            except Exception as error:  # the lake is outside: whatever it throws must not end the service
                self._log.forget()
                self._report("The table publications cannot be read.", error)

    def close(self) -> None:
        """End DuckDB; running queries fail."""
        self._connection.close()
        self._spill.cleanup()

    def _follow(self, publications: list[Publication]) -> None:
        self.history = publications
        if not publications:
            self._swap(None)
            self._report("The lake has no publication yet. Load data first: ./spark-submit.sh daily")
            return
        problem: str | None = None
        for publication in publications[:_CANDIDATES]:
            if self._current is not None and self._current.snapshot.publication == publication:
                break
            try:
                self._swap(Loaded(self._load(publication)))
                break
            except PublicationError as error:
                self._log.forget()
                problem = problem or str(error)
                self._report(problem, error.__cause__)
        self._report(problem)

    def _load(self, publication: Publication) -> Snapshot:
        """Attach every table at its version and check its columns.

        Raises:
            PublicationError: a table or the version is not there, or columns are missing.
        """
        serial = next(self._serial)
        tables: dict[str, str] = {}
        cursor = self._connection.cursor()
        try:
            for table in TABLES:
                name = f"p{serial}_{table}"
                self._attach(cursor, name, table, publication)
                tables[table] = name
            rows = [CoverageRow(*row) for row in cursor.execute(coverage(tables["coverage"])).fetchall()]
        except (PublicationError, duckdb.Error) as error:
            self._detach(tables)
            if isinstance(error, PublicationError):
                raise
            raise PublicationError(f"Publication {publication.number}: coverage cannot be read.") from error
        finally:
            cursor.close()
        return Snapshot(publication, tables, platform_facts(rows, publication.published_at))

    def _attach(self, cursor: duckdb.DuckDBPyConnection, name: str, table: str, publication: Publication) -> None:
        version = publication.versions[table]
        what = f"Publication {publication.number}: table {table}"
        if version is None:
            raise PublicationError(f"{what} has no version in it.")
        try:
            cursor.execute(attach(str(Path(self._lake) / table), name, version))
            found = dict(cursor.execute(columns_of(name)).fetchall())
        except duckdb.Error as error:
            self._detach({table: name})
            raise PublicationError(f"{what} cannot be read at version {version}.") from error
        missing = [column for column in TABLES[table].names if column not in found]
        if missing:
            self._detach({table: name})
            raise PublicationError(f"{what} lacks the columns {', '.join(missing)} at version {version}.")

    def _swap(self, loaded: Loaded | None) -> None:
        with self._lock:
            old, self._current = self._current, loaded
            if old is not None:
                old.retired = True
            unused = old is not None and old.leases == 0
        if old is not None and unused:
            self._detach(old.snapshot.tables)
        if loaded is not None:
            logger.info("serving publication %d of %s", loaded.snapshot.version, self._lake)

    def _detach(self, tables: dict[str, str]) -> None:
        with self._connection.cursor() as cursor:
            for name in tables.values():
                cursor.execute(detach(name))

    def _report(self, problem: str | None, cause: BaseException | None = None) -> None:
        """Log a problem when it changes; it stays in ``problem`` until it is gone."""
        if problem != self.problem and problem is not None:
            logger.error("%s %s", problem, f"({cause})" if cause else f"(lake {self._lake})")
        self.problem = problem


def _connect(settings: Settings, spill: str) -> duckdb.DuckDBPyConnection:
    """DuckDB with the delta extension from its wheel, closed to everything but the lake and its own spill folder."""
    extension = files("duckdb_extension_delta") / "extensions" / f"v{duckdb.__version__}" / "delta.duckdb_extension"
    connection = duckdb.connect(
        config={"autoinstall_known_extensions": False, "autoload_known_extensions": False, "threads": 1}
    )
    connection.load_extension(str(extension))
    for setting, value in {
        "threads": str(settings.query_threads),
        "memory_limit": f"'{settings.query_memory}B'",
        "TimeZone": "'UTC'",
        "temp_directory": literal(spill),
        "allowed_directories": f"[{literal(settings.lake + '/')}, {literal(spill + '/')}]",
        "enable_external_access": "false",
        "lock_configuration": "true",
    }.items():
        connection.execute(f"SET GLOBAL {setting} = {value}")
    return connection
