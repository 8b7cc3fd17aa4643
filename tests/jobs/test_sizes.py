"""The two ends of what is delivered: one file of gigabytes, and ten thousand files of one line.

Where the disk has no room for the large file: ``BIG_FILE_BYTES=256m make test``, which proves less.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import pytest

from jobs.config import Config
from jobs.discover import list_events
from jobs.events import Reading, gather, read_task
from jobs.schemas import VIEWS
from jobs.tasks import make_tasks
from tests.jobs.test_run import World
from tests.rows import NOON, event, lines, message

pytestmark = pytest.mark.slow

BIG_FILE_BYTES = os.environ.get("BIG_FILE_BYTES", "2g").lower()
MOST_MEMORY = 1 << 30
"""What a process that reads the large file may take at most, whatever the size of the file; 400 to 650 MB were seen."""

MESSAGES = 20_000
"""So many different ones, with two views each, are written again and again."""


def size_of(text):
    """Bytes from ``2g``, ``256m`` or a plain number."""
    shift = {"m": 20, "g": 30}.get(text[-1], 0)
    return int(text.rstrip("mg")) << shift


def write_big(path, layout):
    """Writes a file of about BIG_FILE_BYTES; how many messages are in it."""
    views = [event(f"10_{number % 700:03}", NOON + 1000 * number) for number in range(MESSAGES)]
    block = lines(*[message(one, event(kind="other"), one, message_id=f"{n:036}") for n, one in enumerate(views)])
    if layout == "array":
        block = block.replace(b"\n", b",\n")
    blocks = size_of(BIG_FILE_BYTES) // len(block)
    with path.open("wb") as file:
        file.write(b"[" if layout == "array" else b"")
        for _ in range(blocks):
            file.write(block)
        file.write(lines(message(message_id="last")).rstrip() + (b"]" if layout == "array" else b"\n"))
    return blocks * MESSAGES + 1


def read_alone(events, lake):
    """Reads all event files task by task: account and rows of the only file, how many pieces it had, and the most memory."""
    config = Config(events=events, lake=lake, purchases_url="jdbc:sqlite:-")
    tasks = make_tasks(events, list_events(events, ()).files, config.task_bytes)
    reading = Reading(events, lake, config.record_bytes, 1, date(2016, 2, 3))
    read = gather([result for task in tasks for result in read_task(task, reading)])
    [result] = read.files.values()
    # Not ru_maxrss: that begins with the memory of the process that started this one.
    [peak] = [
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    ]
    return result.account, sum(file.rows for file in read.views), sum(map(len, tasks)), int(peak) << 10


@pytest.mark.parametrize("layout", ["lines", "array"])
def test_a_file_of_any_size_is_read_in_bounded_memory(tmp_path, layout):
    file = tmp_path / "events" / "iOS" / "big.json"
    file.parent.mkdir(parents=True)
    try:
        messages, size = write_big(file, layout), file.stat().st_size
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            reading = alone.submit(read_alone, str(tmp_path / "events"), str(tmp_path / "lake"))
            account, rows, pieces, peak = reading.result()
    finally:
        file.unlink()
    assert (account.layout, account.bytes, account.records, account.decoded) == (layout, size, messages, messages)
    assert account.views == rows == 2 * messages - 1
    assert pieces > 1 if layout == "lines" else pieces == 1
    assert peak < MOST_MEMORY


@pytest.mark.spark
def test_ten_thousand_files_of_one_line_are_one_run_that_leaves_few_data_files(spark, tmp_path):
    world, platforms = World(spark, tmp_path), ("iOS", "Android", "MobileWeb", "iOS")
    for number in range(10_000):
        world.put(f"{platforms[number % 4]}/{number % 100:02}/{number}.json", lines(message(message_id=str(number))))
    [report] = world.run()
    assert (report.files["loaded"], report.account.views) == (10_000, 10_000)
    assert [(*row[:2], row[3]) for row in world.days()] == [
        ("02-01", "Android", 2500),
        ("02-01", "MobileWeb", 2500),
        ("02-01", "iOS", 5000),
    ]
    assert len(world.lake.files(VIEWS)) <= 20
    [again] = world.run()
    assert (again.publication, again.files["planned"]) == (None, 0)
