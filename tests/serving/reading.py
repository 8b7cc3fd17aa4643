"""Reads an answer in any format into rows of text, the digits as they were sent, and checks what it says about itself."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SHARES = ("CTR", "ciLow", "ciHigh")


def rows_of(body: bytes, format: str, version: int, detail: bool = False, ci: bool = False) -> list[tuple[str, ...]]:
    """The rows of an answer that has exactly the columns asked for, says the version, and counts its rows right."""
    names = ["timestamp", "platform", "product", "CTR"]
    names += ["views", "purchases", "bucketEnd", "status"] if detail else []
    names += ["ciLow", "ciHigh"] if ci else []
    found, told = READERS[format](body)
    assert told in (None, {"rows": len(found), "dataVersion": version})
    for row in found:
        assert list(row) == names
    return [tuple(_text(name, value) for name, value in row.items()) for row in found]


def _text(name: str, value: object) -> str:
    if value is None or (value == "" and name in SHARES):
        return "null"
    if isinstance(value, float):
        assert value == float(f"{value:.4f}")
        return f"{value:.4f}"
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)


Rows = list[dict[str, Any]]
Told = dict[str, int] | None
"""What an answer says of itself: how many rows, which version; ``None`` where the format has no place for it."""


def _json(body: bytes) -> tuple[Rows, Told]:
    return json.loads(body, parse_float=str), None


def _ndjson(body: bytes) -> tuple[Rows, Told]:
    *lines, last = (json.loads(line, parse_float=str) for line in body.decode().split("\n")[:-1])
    return lines, last


def _csv(body: bytes) -> tuple[Rows, Told]:
    return list(csv.DictReader(io.StringIO(body.decode(), newline=""))), None


def _arrow(body: bytes) -> tuple[Rows, Told]:
    with pa.ipc.open_stream(body) as reader:
        batches = list(reader.iter_batches_with_custom_metadata())
        told = {"rows": int(batches[-1][1][b"rows"]), "dataVersion": int(reader.schema.metadata[b"dataVersion"])}
    return pa.Table.from_batches([batch for batch, _ in batches]).to_pylist(), told


def _parquet(body: bytes) -> tuple[Rows, Told]:
    file = pq.ParquetFile(io.BytesIO(body))
    told = {
        "rows": int(file.metadata.metadata[b"rows"]),
        "dataVersion": int(file.schema_arrow.metadata[b"dataVersion"]),
    }
    return file.read().to_pylist(), told


READERS: dict[str, Callable[[bytes], tuple[Rows, Told]]] = {
    "json": _json,
    "ndjson": _ndjson,
    "csv": _csv,
    "arrow": _arrow,
    "parquet": _parquet,
}
