"""A peer: DuckDB with its own Delta reader, one statement a request.

The tables are attached once, at their newest version, which DuckDB keeps from then on (``PIN_SNAPSHOT``): a ``delta_scan`` in each
statement reads the log of the table anew, and takes longer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path

import duckdb

from serving.contract import GRAINS
from serving.query.plan import make_plan
from serving.query.statements import literal
from serving.request.parameters import CtrRequest
from serving.settings import Settings

_EXTENSION = Path("extensions", f"v{duckdb.__version__}", "delta.duckdb_extension")


@contextmanager
def attached(lake: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that knows the rollups of a lake as tables, with the threads and the memory of the service."""
    memory = Settings.model_fields["query_memory"].default
    with duckdb.connect(config={"threads": os.cpu_count() or 1, "memory_limit": f"{memory}B"}) as connection:
        connection.execute(f"LOAD {literal(str(files('duckdb_extension_delta') / str(_EXTENSION)))}")
        connection.execute("SET TimeZone = 'UTC'")
        for rollup in GRAINS:
            connection.execute(f"ATTACH {literal(str(lake / rollup))} AS {rollup} (TYPE delta, PIN_SNAPSHOT)")
        yield connection


def answer(connection: duckdb.DuckDBPyConnection, request: CtrRequest) -> bytes:
    """The answer as JSON; the text is made by DuckDB, as the service has it made.

    The whole range has to be exact by one rollup: every request of the benchmark is.
    """
    [piece] = make_plan(request).pieces
    first, last = (datetime.fromtimestamp(second, timezone.utc) for second in (request.start, request.end - 1))
    values: dict[str, object] = {
        "start": request.start,
        "end": request.end,
        "first": first.date(),
        "last": last.date(),
        "seconds": request.aggregation * 60,
    }
    where = "date BETWEEN $first AND $last AND time >= to_timestamp($start) AND time < to_timestamp($end)"
    for column, names in (("product", request.products), ("platform", request.platforms)):
        where += f" AND {column} IN ({', '.join(map(literal, names))})" if names else ""
    assert piece.rollup is not None
    rows = connection.execute(_sql(piece.rollup, where), values).fetchall()
    return b"[" + ",".join([row[0] for row in rows]).encode() + b"]"


def _sql(rollup: str, where: str) -> str:
    return f"""
        SELECT '{{"timestamp":"' || strftime(make_timestamp(bucket * 1000000), '%Y-%m-%d %H:%M:%S') || '","platform":"' || platform
            || '","product":' || to_json(product)::VARCHAR || ',"CTR":' || CASE WHEN views = 0 THEN 'null'
            ELSE format('{{}}.{{:04d}}', share // 10000, share % 10000) END || '}}'
        FROM (
            SELECT *, (20000 * purchases + views) // (2 * nullif(views, 0)) AS share
            FROM (
                SELECT ($start + (epoch_us(time) // 1000000 - $start) // $seconds * $seconds)::BIGINT AS bucket, platform, product,
                       sum(views)::BIGINT AS views, sum(purchases)::BIGINT AS purchases
                FROM {rollup} WHERE {where} GROUP BY ALL
            )
        ) ORDER BY bucket, platform, product
    """
