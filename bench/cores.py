"""Two workers of a standalone cluster against one, a core each: does the work spread?

With one worker the driver has the other core of the machine to itself, and with two it shares both with them. So one worker is
also measured with everything on one core: that is what twice the cores give.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.check import Referee, minutes_in
from bench.cluster import standalone
from bench.data import empty_database, warm
from bench.document import gigabytes, spread, table, verdict
from bench.product import Night, daily, minute_files
from bench.setting import Setting, say

LEAST = 1.7
"""How many times as fast two workers should be."""


@dataclass(frozen=True)
class _Way:
    workers: int
    title: str
    cores: int | None = None
    """Cores that all processes together may use; None: those of the machine."""

    @property
    def prefix(self) -> Sequence[str]:
        if self.cores is None:
            return ()
        chosen = sorted(os.sched_getaffinity(0))[: self.cores]
        return ("taskset", "--cpu-list", ",".join(map(str, chosen)))


_ONE_CORE = _Way(1, "1 worker, all on one core", cores=1)
_ONE = _Way(1, "1 worker, the driver on a core of its own")
_TWO = _Way(2, "2 workers, the driver on the same two cores", cores=2)
_SHARED = ("read", "rollup")
"""The stages that run on workers."""


def run(setting: Setting) -> str:
    """Rounds with one worker and with two, in turn; the section for the documentation."""
    data = setting.sample()
    warm(data.events)
    referee = Referee(data.truth)
    nights: dict[_Way, list[Night]] = defaultdict(list)
    with setting.scratch("cores") as scratch:
        url = empty_database(scratch / "shop.db")
        for number in range(1, setting.rounds + 1):
            for way in (_ONE_CORE, _ONE, _TWO):
                with standalone(way.workers, scratch / f"cluster-{number}-{way.title}", way.prefix) as cluster:
                    options = ["--master", cluster.url]
                    log = scratch / "daily.log"
                    night = daily(data.events, scratch / "lake", url, log, options, cluster.pids, way.prefix)
                referee.judge(f"product, {way.title}", minutes_in(minute_files(scratch / "lake")))
                shutil.rmtree(scratch / "lake")
                nights[way].append(night)
                say(f"round {number}, {way.title}: {night.measured.seconds:.1f} s, {night.stages}")
    return (
        f"Data: {data.describe()}, warm. A standalone cluster on this machine, one core a worker.\n\n{section(nights)}"
    )


def shared_seconds(night: Night) -> float:
    """Seconds of the stages that the workers share."""
    return sum(night.stages[stage] for stage in _SHARED)


def section(nights: dict[_Way, list[Night]]) -> str:
    """The table."""
    rows = []
    for way, runs in nights.items():
        rows.append(
            [way.title]
            + [spread([night.stages[stage] for night in runs]) for stage in _SHARED]
            + [spread([shared_seconds(night) for night in runs]), spread([night.measured.seconds for night in runs])]
            + [gigabytes(max(night.measured.peak_bytes for night in runs))]
        )
    core, one, two = (median(shared_seconds(night) for night in nights[way]) for way in (_ONE_CORE, _ONE, _TWO))
    columns = ["workers", *_SHARED, "both", "whole process", "peak memory with the cluster, GB"]
    return (
        f"{table(columns, rows)}\n"
        f"{verdict('read and rollup, one core / two cores', core / two, least=LEAST)}"
        f"{verdict('read and rollup, one worker with a free core for the driver / two', one / two, least=LEAST)}"
    )
