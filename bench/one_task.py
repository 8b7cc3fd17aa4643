"""One task of the product in this process, step by step with the product's own functions: what each step takes."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import TypeVar

import pyarrow as pa

from jobs.checksum import HashingReader
from jobs.config import Config
from jobs.datafiles import sort_rows, write_partitions
from jobs.decoding.collect import DECODER
from jobs.decoding.decode import decode
from jobs.decoding.records import Account, Views
from jobs.discover import list_events, open_file
from jobs.events import Reading, read_task, view_rows
from jobs.lake import Lake
from jobs.rollup import count_partition, distinct_products, make_rollup_tasks, roll_up
from jobs.schemas import VIEWS
from jobs.tasks import Piece, make_tasks, size_of_tasks

_REPEATS = 3
_BUFFER = 1 << 20
_BLOCK = 128 << 10

Result = TypeVar("Result")


@dataclass(frozen=True)
class Steps:
    """Seconds of each step of one task, and of the task as the product runs it."""

    size: str
    seconds: dict[str, float]
    whole: float


def read_steps(config: Config, cores: int, scratch: Path) -> Steps:
    """The steps of the first task of a load of all event files, on ``cores`` cores."""
    files = list_events(config.events, config.unfinished_names).files
    total = sum(file.size for file in files)
    task = make_tasks(config.events, files, size_of_tasks(total, cores, config.task_bytes))[0]
    lake = str(scratch / "task-lake")
    reading = Reading(config.events, lake, config.record_bytes, 1, date.today())
    text = b"".join(_bytes(piece, config.events) for piece in task)
    reads, _ = _time(lambda: [_read(piece, config.events) for piece in task])
    typed, _ = _time(lambda: _decode_typed(text))
    decodes, found = _time(lambda: [(piece, views) for piece in task for views in _decode(piece, reading)])
    converts, rows = _time(lambda: pa.concat_tables([view_rows(views, piece.file) for piece, views in found]))
    sorts, _ = _time(lambda: sort_rows(rows, ["date", "platform", "product", "time"]))
    writes, _ = _time(lambda: write_partitions(lake, VIEWS, rows, ["product", "time"]))
    whole, _ = _time(lambda: list(read_task(task, reading)))
    shutil.rmtree(lake, ignore_errors=True)
    steps = {
        "read the bytes, take their checksum": reads,
        "decode: the typed decoder alone (msgspec)": typed,
        "decode: find lines, apply rules, keep the account": max(decodes - typed - reads, 0.0),
        "columns to Arrow": converts,
        "sort": sorts,
        "Parquet (zstd)": max(writes - sorts, 0.0),
    }
    return Steps(f"{len(text) / 1e6:,.0f} MB, {rows.num_rows:,} views", steps, whole)


def rollup_steps(lake: str, scratch: Path) -> Steps:
    """The steps of the largest partition's task of the stage rollup."""
    tables = Lake(lake)
    task = make_rollup_tasks(tables, {(file.date, file.platform) for file in tables.files(VIEWS)})[0]
    products = distinct_products([*task.views, *task.purchases])
    counts, _ = _time(lambda: count_partition(task, products))
    whole, _ = _time(lambda: roll_up(task, str(scratch / "task-lake")))
    shutil.rmtree(scratch / "task-lake", ignore_errors=True)
    steps = {
        "read the views, count each once by minute": counts,
        "list the products; minutes, hours, days to Parquet": max(whole - counts, 0.0),
    }
    return Steps(f"the largest partition, {task.view_rows:,} views", steps, whole)


def _time(step: Callable[[], Result]) -> tuple[float, Result]:
    """The median of some repeats after one that does not count, and the last result."""
    result = step()
    seconds = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        result = step()
        seconds.append(time.perf_counter() - began)
    return median(seconds), result


def _read(piece: Piece, events: str) -> list[str]:
    with open_file(events, piece.file) as stream:
        hashing = HashingReader(stream, piece.start, None if piece.whole else piece.end)
        hashing.seek(piece.start)
        hashing.drain()
        return hashing.leaves()


def _bytes(piece: Piece, events: str) -> bytes:
    with open_file(events, piece.file) as stream:
        stream.seek(piece.start)
        return stream.read(piece.end - piece.start)


def _decode_typed(text: bytes) -> int:
    """Decodes all whole lines, some 256 at a time; how many messages they hold."""
    messages, start = 0, text.find(b"\n") + 1
    while (end := text.rfind(b"\n", start, start + _BLOCK) + 1) > start:
        messages += len(DECODER.decode_lines(text[start:end]))
        start = end
    return messages


def _decode(piece: Piece, reading: Reading) -> list[Views]:
    bounds = {} if piece.whole else {"start": piece.start, "end": piece.end}
    with open_file(reading.events, piece.file) as stream:
        hashing = HashingReader(stream, piece.start, None if piece.whole else piece.end)
        buffered = io.BufferedReader(hashing, _BUFFER)
        return [views for views, _ in decode(buffered, Account(), record_bytes=reading.record_bytes, **bounds)]
