"""Time and memory of the product by the size of a day: memory must not grow with it."""

from __future__ import annotations

import shutil
from collections import defaultdict
from statistics import median

from bench.check import Referee, minutes_in
from bench.data import Data, empty_database, warm
from bench.document import gigabytes, ratio, spread, table, verdict
from bench.product import Night, daily, minute_files
from bench.setting import Setting, say

MOST_GB = 6.0
"""What driver, JVM and workers may take in all."""
MOST_RATIO = 1.25
"""How many times the memory of the first day another may take: Java's heap is never twice the same, a tenth up or down."""


def run(setting: Setting) -> str:
    """A day of each size, in turn; the section for the documentation."""
    samples = {size: setting.sample(size) for size in setting.sizes}
    nights: dict[str, list[Night]] = defaultdict(list)
    with setting.scratch("sizes") as scratch:
        url = empty_database(scratch / "shop.db")
        for number in range(1, setting.rounds + 1):
            for size, data in samples.items():
                warm(data.events)
                night = daily(data.events, scratch / "lake", url, scratch / "daily.log")
                Referee(data.truth).judge(f"product at {size}", minutes_in(minute_files(scratch / "lake")))
                shutil.rmtree(scratch / "lake")
                nights[size].append(night)
                say(
                    f"round {number}, {size}: {night.measured.seconds:.1f} s, {gigabytes(night.measured.peak_bytes)} GB"
                )
    return section(samples, nights)


def section(samples: dict[str, Data], nights: dict[str, list[Night]]) -> str:
    """The table."""
    peaks = {size: max(night.measured.peak_bytes for night in runs) for size, runs in nights.items()}
    first = next(iter(peaks.values()))
    rows = []
    for size, data in samples.items():
        seconds = [night.measured.seconds for night in nights[size]]
        rows.append(
            [
                f"{size}: {data.describe()}",
                spread(seconds),
                spread([night.without_session for night in nights[size]]),
                f"{data.bytes / 1e6 / median(seconds):,.0f}",
                gigabytes(peaks[size]),
                ratio(peaks[size], first),
            ]
        )
    columns = ["day", "seconds", "without the start of Spark", "MB/s", "peak memory, GB", "memory / first row's"]
    bounds = [
        verdict("peak memory of driver, JVM and workers, GB", max(peaks.values()) / 1e9, most=MOST_GB),
        verdict("memory of a day / that of the first", max(peaks.values()) / first, most=MOST_RATIO),
    ]
    return f"{table(columns, rows)}\n" + "".join(bounds)
