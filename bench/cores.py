"""Two workers of a standalone cluster against one, a core each: does the work spread?"""

from __future__ import annotations

import shutil
from collections import defaultdict
from statistics import median

from bench.check import Referee, minutes_in
from bench.cluster import standalone
from bench.data import empty_database, warm
from bench.document import gigabytes, spread, table, verdict
from bench.product import Night, daily, minute_files
from bench.setting import Setting, say

LEAST = 1.7
"""How many times as fast two workers should be."""
_WORKERS = (1, 2)
_SHARED = ("read", "rollup")
"""The stages that run on workers."""


def run(setting: Setting) -> str:
    """Rounds with one worker and with two, in turn; the section for the documentation."""
    data = setting.sample()
    warm(data.events)
    referee = Referee(data.truth)
    nights: dict[int, list[Night]] = defaultdict(list)
    with setting.scratch("cores") as scratch:
        url = empty_database(scratch / "shop.db")
        for number in range(1, setting.rounds + 1):
            for workers in _WORKERS:
                with standalone(workers, scratch / f"cluster-{workers}") as cluster:
                    options = ["--master", cluster.url]
                    log = scratch / f"daily-{workers}.log"
                    night = daily(data.events, scratch / "lake", url, log, options, cluster.pids)
                referee.judge(f"product on {workers} workers", minutes_in(minute_files(scratch / "lake")))
                shutil.rmtree(scratch / "lake")
                nights[workers].append(night)
                say(f"round {number}, {workers} workers: {night.measured.seconds:.1f} s, {night.stages}")
    return (
        f"Data: {data.describe()}, warm. A standalone cluster on this machine, one core a worker.\n\n{section(nights)}"
    )


def shared_seconds(night: Night) -> float:
    """Seconds of the stages that the workers share."""
    return sum(night.stages[stage] for stage in _SHARED)


def section(nights: dict[int, list[Night]]) -> str:
    """The table."""
    rows = []
    for workers, runs in nights.items():
        rows.append(
            [str(workers)]
            + [spread([night.stages[stage] for night in runs]) for stage in _SHARED]
            + [spread([shared_seconds(night) for night in runs]), spread([night.measured.seconds for night in runs])]
            + [gigabytes(max(night.measured.peak_bytes for night in runs))]
        )
    one, two = (median(shared_seconds(night) for night in nights[workers]) for workers in _WORKERS)
    columns = ["workers", *_SHARED, "both", "whole process", "peak memory with the cluster, GB"]
    return f"{table(columns, rows)}\n{verdict('read and rollup, one worker / two', one / two, least=LEAST)}"
