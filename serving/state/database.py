"""Opens DuckDB as the service uses it: closed to everything but the folders named."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from serving.query.statements import literal


def open_database(
    threads: int, memory: int, spill: str, folders: Iterable[str], spill_bytes: int
) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory; it reaches files below ``folders`` and ``spill`` only.

    Args:
        threads: of all its queries together.
        memory: bytes of all its queries together; what does not fit goes to ``spill``.
        spill: an existing folder.
        folders: what it may read and write besides; no statement can widen that later.
        spill_bytes: most that lies in ``spill``.
    """
    connection = duckdb.connect(
        config={"autoinstall_known_extensions": False, "autoload_known_extensions": False, "threads": 1}
    )
    allowed = ", ".join(literal(folder.rstrip("/") + "/") for folder in (*folders, spill))
    for setting, value in {
        "threads": str(threads),
        "memory_limit": f"'{memory}B'",
        "TimeZone": "'UTC'",
        "temp_directory": literal(spill),
        # Files of the lake are read from the system's cache anyway; DuckDB would keep those of every publication beside it.
        "enable_external_file_cache": "false",
        "max_temp_directory_size": f"'{spill_bytes}B'",
        "allowed_directories": f"[{allowed}]",
        "enable_external_access": "false",
        "lock_configuration": "true",
    }.items():
        connection.execute(f"SET GLOBAL {setting} = {value}")
    return connection
