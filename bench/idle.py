"""A night with nothing new: what it costs beyond the start of Spark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench.data import database_of
from bench.document import gigabytes, spread, table, verdict
from bench.errors import BenchError
from bench.product import Night, daily
from bench.setting import Setting, say

MOST = 10.0
"""Seconds that such a night may take beyond the start of Spark."""

_FEW = 50
"""One in so many orders makes the small database."""


@dataclass(frozen=True)
class Shop:
    """Nights with nothing new beside a database of so many order items."""

    items: int
    nights: list[Night]

    @property
    def beyond(self) -> float:
        """Seconds beyond the start of Spark, the median."""
        return median(night.without_session for night in self.nights)


def run(setting: Setting) -> str:
    """Loads the data once, then runs some nights that find nothing; the section for the documentation."""
    data = setting.sample()
    shops: list[Shop] = []
    with setting.scratch("idle") as scratch:
        urls = [database_of(scratch / "few.db", data, one_in=_FEW), database_of(scratch / "all.db", data)]
        for url in urls:
            items = _order_items(daily(data.events, scratch / "lake", url, scratch / "load.log"))
            nights = [daily(data.events, scratch / "lake", url, scratch / "night.log") for _ in range(setting.rounds)]
            if any(night.report is not None for night in nights):
                raise BenchError("a night with nothing new published something")
            shops.append(Shop(items, nights))
            say(f"{items:,} order items: {[round(night.measured.seconds, 1) for night in nights]} s")
    return f"Loaded before: {data.describe()}.\n\n{section(shops)}"


def _order_items(loaded: Night) -> int:
    if loaded.report is None:
        raise BenchError("the night that loads the orders published nothing")
    return int(loaded.report["purchases"]["items"])


def _of_stage(stage: str, night: Night) -> float:
    return night.stages.get(stage, 0.0)


def section(shops: list[Shop]) -> str:
    """The table, of a small and a large database."""
    few, many = shops

    def seconds(name: str, of: Callable[[Night], float]) -> list[str]:
        return [name, *(spread([of(night) for night in shop.nights]) for shop in shops)]

    stages = dict.fromkeys(stage for shop in shops for night in shop.nights for stage in night.stages)
    rows = [seconds(f"stage {stage}", partial(_of_stage, stage)) for stage in stages]
    rows.append(seconds("**whole process**", lambda night: night.measured.seconds))
    rows.append(seconds("beyond the start of Spark", lambda night: night.without_session))
    peaks = [max(night.measured.peak_bytes for night in shop.nights) for shop in shops]
    rows.append(["peak memory, GB", *map(gigabytes, peaks)])
    columns = ["a night with nothing new, seconds", *(f"{shop.items:,} order items" for shop in shops)]
    each = (many.beyond - few.beyond) / (many.items - few.items) * 100_000
    bound = verdict("fixed seconds beyond the start of Spark (the small database)", few.beyond, most=MOST)
    return f"{table(columns, rows)}\nEvery night reads all orders anew: {each:.1f} s more for 100,000 order items more.\n\n{bound}"
