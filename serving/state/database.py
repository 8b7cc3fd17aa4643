"""Opens DuckDB as the service uses it: closed to everything but the folders named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import duckdb

from serving.load.threads import QUERY, yielding
from serving.query.statements import literal
from serving.settings import Settings
from serving.state.temporary import TemporaryFolder

_QUICK_SHARE = 4
"""The part of the memory of a process, a fourth, with which its second database keeps what small statements read."""

_ENOUGH_OPTIMIZERS = ("filter_pushdown", "row_group_pruner", "statistics_propagation", "unused_columns")
"""Those that a statement without joins needs to read few rows. The others take longer than it then takes to read them."""


def open_database(
    threads: int, memory: int, spill: str, folders: Iterable[str], spill_bytes: int, *, plain: bool = False
) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory; it reaches files below ``folders`` and ``spill`` only.

    Args:
        threads: of all its queries together.
        memory: bytes of all its queries together; what does not fit goes to ``spill``.
        spill: an existing folder.
        folders: what it may read and write besides; no statement can widen that later.
        spill_bytes: most that lies in ``spill``.
        plain: leaves out what helps large statements alone: with one thread a small one takes a third less.
    """
    connection = duckdb.connect(
        config={"autoinstall_known_extensions": False, "autoload_known_extensions": False, "threads": 1}
    )
    left_out = _optimizers(connection) - set(_ENOUGH_OPTIMIZERS) if plain else set()
    allowed = ", ".join(literal(folder.rstrip("/") + "/") for folder in (*folders, spill))
    for setting, value in {
        "threads": str(threads),
        "memory_limit": f"'{memory}B'",
        "TimeZone": "'UTC'",
        "temp_directory": literal(spill),
        # Files of the lake are read from the system's cache anyway; DuckDB would keep those of every publication beside it.
        "enable_external_file_cache": "false",
        "max_temp_directory_size": f"'{spill_bytes}B'",
        "disabled_optimizers": literal(",".join(sorted(left_out))),
        "allowed_directories": f"[{allowed}]",
        "enable_external_access": "false",
        "lock_configuration": "true",
    }.items():
        connection.execute(f"SET GLOBAL {setting} = {value}")
    return connection


def _optimizers(connection: duckdb.DuckDBPyConnection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM duckdb_optimizers()").fetchall()}


class Databases:
    """The databases of one process: one for statements of any size, and perhaps a second one for those that read few cells."""

    def __init__(self, settings: Settings, folders: Sequence[str], quick: bool) -> None:
        """Opens the one, and where something is to be answered at once also the other, in the memory that the settings allow."""
        self._spill = TemporaryFolder("serving")
        part = settings.query_memory // _QUICK_SHARE if quick else 0
        spill = self._spill.name
        self.memory = settings.query_memory - part
        """Bytes for the statements of any size."""
        # DuckDB's own threads inherit the priority of the one that opens it.
        with yielding("open", 1, QUERY) as thread:
            opened = thread.submit(
                open_database, settings.query_threads, self.memory, spill, folders, settings.query_spill
            ).result()
        self._all = [opened]
        self.quick_cursor: duckdb.DuckDBPyConnection | None = None
        """For the thread of the event loop, which needs no new one for each request; ``None``: there is no second database."""
        if quick:
            # Without room on disk, as what it reads is small, and two databases must not share a folder for that.
            self._all.append(open_database(1, part, spill, folders, 0, plain=True))
            self.quick_cursor = self._all[-1].cursor()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A new cursor for statements of any size, for the one thread that asks."""
        return self._all[0].cursor()

    def __len__(self) -> int:
        return len(self._all)

    @contextmanager
    def cursors(self) -> Iterator[list[duckdb.DuckDBPyConnection]]:
        """A new cursor of each database, the one for statements of any size first: both read the same files."""
        with ExitStack() as stack:
            yield [stack.enter_context(database.cursor()) for database in self._all]

    def close(self) -> None:
        """End all of them; running statements fail."""
        for database in self._all:
            database.close()
        self._spill.cleanup()
