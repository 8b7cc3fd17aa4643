"""The time of a night beside a history of 1, 30 and 365 days, each loaded in a night of its own: it must not grow."""

from __future__ import annotations

import os
import shutil
import sys
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path
from statistics import median

from bench.data import Data, database_of, make_data
from bench.document import ratio, spread, table, verdict
from bench.errors import BenchError
from bench.machine import ROOT
from bench.measure import measure
from bench.product import Night, daily, environment, paths
from bench.setting import Setting, say

MOST = 1.15
"""How many times as long the night may take beside the longest history."""
_MESSAGES = "600"
"""Messages of a day: small, so that what a night costs besides its own data shows."""
_STAGES = ("list", "purchases", "read", "commit", "rollup")


def run(setting: Setting) -> str:
    """Grows the lakes, then runs the same night on a copy of each, in turn; the section for the documentation."""
    data = make_data(setting.cache, "--days", str(max(setting.days) + 1), "--messages", _MESSAGES)
    nights: dict[int, list[Night]] = defaultdict(list)
    with setting.scratch("history") as scratch:
        lakes = _grow(setting.days, data, scratch)
        known = _days(data)
        urls = {
            days: database_of(scratch / f"night-{days}.db", data, {*known[:days], known[-1]}) for days in setting.days
        }
        for number in range(1, setting.rounds + 1):
            for days, lake in lakes.items():
                copy = scratch / "night"
                shutil.copytree(lake, copy)
                os.sync()  # or the system writes the copy while the night runs, and the more of it the longer the history
                night = _night(data, scratch / f"events-{days}", copy, urls[days], scratch / "night.log")
                shutil.rmtree(copy)
                nights[days].append(night)
                say(f"round {number}, {days} days: {night.measured.seconds:.1f} s, {night.stages}")
    return (
        f"Data: {data.describe()}. Every day of the history was loaded by a night of its own, so that a history of 365 days "
        "has 365 publications; `maintain` did not run in between. The night that is measured loads the same day beside each "
        f"of them, and reads a database with the orders of all days loaded and its own ({data.items:,} order items in "
        f"{max(setting.days) + 1} days).\n\n{section(nights)}"
    )


def _night(data: Data, events: Path, lake: Path, url: str, log: Path) -> Night:
    """The measured night: it has one day to load."""
    night = daily(events, lake, url, log)
    last = _days(data)[-1]
    wanted = sum(views for products in data.truth["cells"][last].values() for views, _ in products.values())
    if night.report is None or night.report["views"] != wanted:
        raise BenchError(f"the night should have loaded the {wanted:,} views of {last}; its report: {night.report}")
    return night


def _days(data: Data) -> list[str]:
    first = date.fromisoformat(data.truth["parameters"]["start"])
    return [(first + timedelta(days=number)).isoformat() for number in range(data.truth["parameters"]["days"])]


def _grow(lengths: tuple[int, ...], data: Data, scratch: Path) -> dict[int, Path]:
    """A lake for each length of the history, and event folders for it: those days and that of the night.

    The first night of each stretch finds the orders of all of its days.
    """
    lakes: dict[int, Path] = {}
    known, loaded = _days(data), 0
    for length in lengths:
        say(f"loading days {loaded + 1} to {length}, a night each")
        url = database_of(scratch / "grow.db", data, set(known[:length]))
        command = [sys.executable, "-m", "bench.grow", known[loaded], str(length - loaded)]
        settings = environment(
            **paths(data.events, scratch / "lake", url),
            PYSPARK_PYTHON=sys.executable,
            PYSPARK_SUBMIT_ARGS=_submit_arguments(),
        )
        measure(command, env=settings, log=scratch / "grow.log")
        loaded = length
        lakes[length] = scratch / f"lake-{length}"
        shutil.copytree(scratch / "lake", lakes[length])
        _link_days(data.events, scratch / f"events-{length}", {*known[:length], known[-1]})
    return lakes


def _submit_arguments() -> str:
    """The resolved jars, as ./spark-submit.sh hands them on; nothing where Spark's resolver has to find them."""
    jars = sorted((ROOT / ".cache" / "jars").glob("*.jar"))
    settings = f"--conf spark.jars.packages= --conf spark.jars.excludes= --jars {','.join(map(str, jars))} "
    return f"{settings if jars else ''}pyspark-shell"


def _link_days(source: Path, target: Path, days: set[str]) -> None:
    """The folders of some days, their files as links to the same content and time of change."""
    for folder in (day for platform in sorted(source.iterdir()) for day in sorted(platform.iterdir())):
        if folder.name in days:
            made = target / folder.parent.name / folder.name
            made.mkdir(parents=True)
            for file in folder.iterdir():
                (made / file.name).hardlink_to(file)


def section(nights: dict[int, list[Night]]) -> str:
    """The table."""
    whole = {days: median(night.measured.seconds for night in runs) for days, runs in nights.items()}
    inside = {days: median(night.without_session for night in runs) for days, runs in nights.items()}
    short, long = min(nights), max(nights)
    rows = [
        [f"{days:,}", spread([night.measured.seconds for night in runs], 2), ratio(whole[days], whole[short])]
        + [spread([night.without_session for night in runs], 2), ratio(inside[days], inside[short])]
        + [spread([night.stages.get(stage, 0.0) for night in runs], 2) for stage in _STAGES]
        for days, runs in nights.items()
    ]
    columns = ["days loaded", "whole process", "/ first row's", "without the start of Spark", "/ first row's", *_STAGES]
    return (
        f"{table(columns, rows)}\n"
        f"{verdict('whole process, longest history / shortest', whole[long] / whole[short], most=MOST)}"
        f"{verdict('without the start of Spark, likewise', inside[long] / inside[short], most=MOST)}"
    )
