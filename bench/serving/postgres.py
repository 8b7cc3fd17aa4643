"""The peer: the same counts in PostgreSQL, a table a rollup, in the order of time, with an index for each kind of request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import duckdb
import psycopg

from serving.contract import GRAINS
from serving.query.plan import make_plan
from serving.request.parameters import CtrRequest
from tests.components.servers import postgresql

SETTINGS = {"shared_buffers": "1GB", "work_mem": "256MB", "effective_cache_size": "4GB"}
"""Memory like that of the service, which has 2 GB for its queries: by default PostgreSQL has 128 MB, and 4 MB for a sort."""

_BLOCK = 1 << 20


@contextmanager
def loaded(lake: Path, folder: Path) -> Iterator[str]:
    """The address of a PostgreSQL that holds the rollups of a lake, until the block ends."""
    with postgresql(SETTINGS) as server:
        address = f"postgresql://me@{server}"
        with psycopg.connect(address, autocommit=True) as connection:
            for rollup in GRAINS:
                _load(connection, lake, rollup, folder / f"{rollup}.csv")
        yield address


def _load(connection: psycopg.Connection, lake: Path, rollup: str, file: Path) -> None:
    columns = "(product text, platform text, time timestamptz, views int, purchases int)"
    connection.execute(f"CREATE UNLOGGED TABLE {rollup} {columns}".encode())
    source = f"read_parquet('{lake / rollup}/*/*/*.parquet', hive_partitioning = true)"
    duckdb.execute(
        f"COPY (SELECT product, platform, time, views, purchases FROM {source} ORDER BY time) TO '{file}' (HEADER false)"
    )
    into = f"COPY {rollup} FROM STDIN (FORMAT csv)".encode()
    with file.open("rb") as stream, connection.cursor() as cursor, cursor.copy(into) as copy:
        while block := stream.read(_BLOCK):
            copy.write(block)
    file.unlink()
    connection.execute(f"CREATE INDEX ON {rollup} (product, platform, time) INCLUDE (views, purchases)".encode())
    connection.execute(f"CREATE INDEX ON {rollup} (time)".encode())
    connection.execute(f"VACUUM (FREEZE, ANALYZE) {rollup}".encode())


def version() -> str:
    """The version of the server that ``loaded`` starts, as its package says."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent.parent.name if found else "unknown"


def answer(connection: psycopg.Connection, request: CtrRequest) -> bytes:
    """The answer as JSON; the text is made by PostgreSQL, as the service has it made by DuckDB.

    The whole range has to be exact by one rollup: every request of the benchmark is.
    """
    [piece] = make_plan(request).pieces
    values: dict[str, object] = {
        "start": datetime.fromtimestamp(request.start, timezone.utc),
        "end": datetime.fromtimestamp(request.end, timezone.utc),
        "minutes": request.aggregation,
        "products": list(request.products),
        "platforms": list(request.platforms),
    }
    where = "time >= %(start)s AND time < %(end)s"
    where += " AND product = ANY(%(products)s)" if request.products else ""
    where += " AND platform = ANY(%(platforms)s)" if request.platforms else ""
    sql = f"""
        SELECT '{{"timestamp":"' || to_char(bucket AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || '","platform":"' || platform
            || '","product":' || to_json(product)::text || ',"CTR":' || CASE WHEN views = 0 THEN 'null'
            ELSE ((20000 * purchases + views) / (2 * views) / 10000)::text || '.'
                || lpad(((20000 * purchases + views) / (2 * views) %% 10000)::text, 4, '0') END || '}}'
        FROM (
            SELECT date_bin(make_interval(mins => %(minutes)s), time, %(start)s) AS bucket, platform, product,
                   sum(views) AS views, sum(purchases) AS purchases
            FROM {piece.rollup} WHERE {where} GROUP BY 1, 2, 3
        ) AS counted ORDER BY bucket, platform COLLATE "C", product COLLATE "C"
    """
    rows = connection.execute(sql.encode(), values).fetchall()
    return b"[" + ",".join([row[0] for row in rows]).encode() + b"]"
