"""A night with nothing new: what it costs beyond the start of Spark."""

from __future__ import annotations

from statistics import median

from bench.data import database_of
from bench.document import gigabytes, spread, table, verdict
from bench.errors import BenchError
from bench.product import Night, daily
from bench.setting import Setting, say

MOST = 10.0
"""Seconds that such a night may take beyond the start of Spark."""


def run(setting: Setting) -> str:
    """Loads the data once, then runs some nights that find nothing; the section for the documentation."""
    data = setting.sample()
    nights: list[Night] = []
    with setting.scratch("idle") as scratch:
        url = database_of(scratch / "shop.db", data)
        daily(data.events, scratch / "lake", url, scratch / "load.log")
        for number in range(1, setting.rounds + 1):
            nights.append(daily(data.events, scratch / "lake", url, scratch / "night.log"))
            if nights[-1].report is not None:
                raise BenchError("a night with nothing new published something")
            say(f"round {number}: {nights[-1].measured.seconds:.1f} s, {nights[-1].stages}")
    return f"Loaded before: {data.describe()}, {data.items:,} order items.\n\n{section(nights)}"


def section(nights: list[Night]) -> str:
    """The table."""
    beyond = [night.without_session for night in nights]
    names = dict.fromkeys(name for night in nights for name in night.stages)
    rows = [[f"stage {name}", spread([night.stages.get(name, 0.0) for night in nights])] for name in names]
    rows.append(["**whole process**", spread([night.measured.seconds for night in nights])])
    rows.append(["beyond the start of Spark", spread(beyond)])
    peak = gigabytes(max(night.measured.peak_bytes for night in nights))
    bound = verdict("seconds beyond the start of Spark", median(beyond), most=MOST)
    return f"{table(['a night with nothing new', 'seconds'], rows)}\nPeak memory: {peak} GB.\n\n{bound}"
