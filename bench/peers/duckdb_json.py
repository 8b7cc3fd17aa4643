"""DuckDB: ``read_json``, each view once, minute counts to Parquet. One process, all cores, no ledger, no Delta."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import duckdb

_COLUMNS = """{
    message_id: 'VARCHAR',
    events: 'STRUCT(event_type VARCHAR, data STRUCT(event_name VARCHAR, timestamp_unixtime_ms DOUBLE,
                    custom_attributes STRUCT(codeColor VARCHAR)))[]'
}"""

_READ = """
    SELECT '{platform}' AS platform, message_id, unnest(events) AS event, generate_subscripts(events, 1) AS position
    FROM read_json('{glob}', format = 'newline_delimited', columns = {columns})"""

_COUNT = """
    COPY (
        WITH read AS ({read}),
        views AS (
            SELECT platform, message_id, position,
                   event.data.custom_attributes.codeColor AS product,
                   floor(event.data.timestamp_unixtime_ms)::BIGINT // 60000 AS minute
            FROM read WHERE event.event_type = 'custom_event' AND event.data.event_name = 'product'
        ),
        once AS (
            SELECT platform, any_value(product) AS product, any_value(minute) AS minute
            FROM views WHERE message_id IS NOT NULL GROUP BY platform, message_id, position
            UNION ALL
            SELECT platform, product, minute FROM views WHERE message_id IS NULL
        )
        SELECT platform, product, make_timestamp(minute * 60000000) AS time, count(*) AS views
        FROM once GROUP BY ALL ORDER BY ALL
    ) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"""


def main(events: Path, out: Path) -> None:
    """Counts, writes a Parquet file, prints the line."""
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    target = out / "minutes.parquet"
    platforms = sorted(folder for folder in events.iterdir() if folder.is_dir())
    read = " UNION ALL ".join(
        _READ.format(platform=folder.name, glob=folder / "**" / "*.json", columns=_COLUMNS) for folder in platforms
    )
    with duckdb.connect(config={"threads": len(os.sched_getaffinity(0))}) as connection:
        connection.execute(_COUNT.format(read=read, target=target))
        found = connection.execute(f"SELECT sum(views)::BIGINT, count(*) FROM '{target}'").fetchone()
    assert found is not None  # an aggregate gives one row
    seconds = round(time.perf_counter() - began, 3)
    print(json.dumps({"views": found[0], "cells": found[1], "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
