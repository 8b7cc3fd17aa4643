"""ClickHouse in the process (chDB): ``JSONEachRow``, each view once, minute counts to Parquet. All cores."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from chdb import session  # type: ignore[import-not-found]  # it lives in .venv-bench

_STRUCTURE = (
    "message_id Nullable(String), events Array(Tuple(event_type String, data Tuple("
    "event_name String, timestamp_unixtime_ms Float64, custom_attributes Tuple(codeColor String))))"
)

_READ = """
    SELECT '{platform}' AS platform, message_id, position, event.2.3.1 AS product,
           intDiv(toInt64(floor(event.2.2)), 60000) AS minute
    FROM file('{glob}', JSONEachRow, '{structure}')
    ARRAY JOIN events AS event, arrayEnumerate(events) AS position
    WHERE event.1 = 'custom_event' AND event.2.1 = 'product'"""

_COUNT = """
    INSERT INTO FUNCTION file('{target}', Parquet)
    SELECT platform, product, minute, count() AS views
    FROM (
        SELECT platform, any(product) AS product, any(minute) AS minute
        FROM ({read})
        GROUP BY platform, position, ifNull(message_id, toString(generateUUIDv4()))
    )
    GROUP BY platform, product, minute ORDER BY platform, product, minute
    SETTINGS max_threads = {threads}, output_format_parquet_compression_method = 'zstd',
             input_format_json_ignore_unknown_keys_in_named_tuple = 1,
             input_format_json_defaults_for_missing_elements_in_named_tuple = 1"""


def main(events: Path, out: Path) -> None:
    """Counts, writes a Parquet file, prints the line."""
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    target = out / "minutes.parquet"
    platforms = sorted(folder for folder in events.iterdir() if folder.is_dir())
    read = " UNION ALL ".join(
        _READ.format(platform=folder.name, glob=folder / "**" / "*.json", structure=_STRUCTURE) for folder in platforms
    )
    with session.Session() as connection:
        connection.query(_COUNT.format(target=target, read=read, threads=len(os.sched_getaffinity(0))))
        found = connection.query(f"SELECT sum(views), count() FROM file('{target}', Parquet)", "JSONCompactEachRow")
        views, cells = (int(value) for value in json.loads(str(found)))
    print(json.dumps({"views": views, "cells": cells, "seconds": round(time.perf_counter() - began, 3)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
