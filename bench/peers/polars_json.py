"""Polars: ``scan_ndjson`` on the streaming engine, each view once, minute counts to Parquet. One process, all cores."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import polars as pl

_DATA = pl.Struct(
    {
        "event_name": pl.String,
        "timestamp_unixtime_ms": pl.String,  # a number or a text: as text both can be read
        "custom_attributes": pl.Struct({"codeColor": pl.String}),
    }
)
_SCHEMA: dict[str, pl.DataType] = {
    "message_id": pl.String(),
    "events": pl.List(pl.Struct({"event_type": pl.String, "data": _DATA})),
}


def views(folder: Path) -> pl.LazyFrame:
    """Columns message_id, row (of the message), position, product, minute of one platform's views, every copy."""
    messages = pl.scan_ndjson(folder / "**" / "*.json", schema=_SCHEMA, row_index_name="row")
    numbered = messages.with_columns(position=pl.int_ranges(pl.col("events").list.len()))
    data = pl.col("events").struct.field("data").struct
    return (
        numbered.explode("events", "position")
        .filter(
            pl.col("events").struct.field("event_type") == "custom_event",
            data.field("event_name") == "product",
        )
        .select(
            "message_id",
            "row",
            "position",
            product=data.field("custom_attributes").struct.field("codeColor"),
            minute=data.field("timestamp_unixtime_ms").cast(pl.Float64).floor().cast(pl.Int64) // 60_000,
        )
    )


def minute_counts(folder: Path) -> pl.LazyFrame:
    """Rows platform, product, time, views of one platform, each view once; a message without id is known by its row."""
    nameless = pl.when(pl.col("message_id").is_null()).then("row")
    once = views(folder).with_columns(row=nameless).unique(["message_id", "row", "position"])
    counts = once.group_by("product", "minute").agg(views=pl.len())
    return counts.select(
        platform=pl.lit(folder.name),
        product="product",
        time=(pl.col("minute") * 60_000).cast(pl.Datetime("ms")),
        views="views",
    ).sort("product", "time")


def main(events: Path, out: Path) -> None:
    """Counts, writes a Parquet file, prints the line."""
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    target = out / "minutes.parquet"
    platforms = sorted(folder for folder in events.iterdir() if folder.is_dir())
    counts = pl.concat([minute_counts(folder) for folder in platforms])
    counts.sink_parquet(target, compression="zstd", engine="streaming")
    total, cells = pl.scan_parquet(target).select(pl.col("views").sum(), cells=pl.len()).collect().row(0)
    print(json.dumps({"views": total, "cells": cells, "seconds": round(time.perf_counter() - began, 3)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
