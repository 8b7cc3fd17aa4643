"""Where every second of the product goes: the stages of whole runs, and the steps inside one task of the two large ones."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from bench.check import Referee, minutes_in
from bench.data import empty_database, warm
from bench.document import gigabytes, spread, table
from bench.errors import BenchError
from bench.machine import cores
from bench.one_task import Steps, read_steps, rollup_steps
from bench.product import Night, daily, minute_files
from bench.setting import Setting, say
from jobs.config import Config

_SAID = {
    "session": "Spark's start",
    "list": "list the files, read the ledger, plan",
    "purchases": "purchases: read, compare (beside list and read)",
    "read": "read: event files to rows of `views`",
    "commit": "commit: `views`, `quarantine`, `purchases`",
    "rollup": "rollup: each view once, minutes, hours, days",
}


def run(setting: Setting) -> str:
    """Some whole runs, then single tasks; the section for the documentation."""
    data = setting.sample()
    warm(data.events)
    referee = Referee(data.truth)
    nights: list[Night] = []
    with setting.scratch("stages") as scratch:
        url = empty_database(scratch / "shop.db")
        for number in range(1, setting.rounds + 1):
            lake = scratch / f"lake-{number}"
            nights.append(daily(data.events, lake, url, scratch / "daily.log"))
            referee.judge("product", minutes_in(minute_files(lake)))
            say(f"round {number}: {nights[-1].measured.seconds:.1f} s, {nights[-1].stages}")
        say("single tasks in this process")
        config = Config(events=str(data.events), lake=str(lake), purchases_url=url)
        read, rollup = read_steps(config, cores(), scratch), rollup_steps(str(lake), scratch)
    return f"Data: {data.describe()}, warm, into a new lake; an empty purchase database.\n\n{section(nights, read, rollup)}"


def seconds_by_stage(night: Night) -> dict[str, float]:
    """Where the seconds of a run went; ``purchases`` runs beside ``list`` and ``read``. The others and the wait for it add up."""
    if night.report is None:
        raise BenchError("a run had nothing to publish")
    working = float(night.report["seconds"])
    own = sum(seconds for name, seconds in night.stages.items() if name not in ("session", "purchases"))
    beside = night.stages.get("list", 0.0) + night.stages.get("read", 0.0)
    waiting = max(night.stages.get("purchases", 0.0) - beside, 0.0)
    return {
        **{_SAID.get(name, name): seconds for name, seconds in night.stages.items()},
        "the rest of the run: lock, recovery, ledger, checks": max(working - own - waiting, 0.0),
        "start of Python, publication, end of Spark": max(night.measured.seconds - night.session - working, 0.0),
    }


def section(nights: list[Night], read: Steps, rollup: Steps) -> str:
    """The tables: stages, then the steps of a task of each large stage."""
    by_stage: dict[str, list[float]] = defaultdict(list)
    for night in nights:
        for stage, seconds in seconds_by_stage(night).items():
            by_stage[stage].append(seconds)
    whole = [night.measured.seconds for night in nights]
    rows = [
        [stage, spread(seconds, 2), f"{median(seconds) / median(whole):.0%}"] for stage, seconds in by_stage.items()
    ]
    rows.append(["**whole process**", spread(whole, 2), "100%"])
    peak = gigabytes(max(night.measured.peak_bytes for night in nights))
    return (
        f"{table(['stage', 'seconds', 'share'], rows)}\n"
        f"Peak memory of driver, JVM and workers: {peak} GB.\n\n"
        "Inside one task, alone on one core, each step run by itself with the product's own functions (warm, the median "
        "of three); in a run two tasks share caches and memory, so each takes longer there.\n\n"
        f"{_steps('read', read)}\n{_steps('rollup', rollup)}"
    )


def _steps(stage: str, steps: Steps) -> str:
    total = sum(steps.seconds.values())
    rows = [[step, f"{seconds:.3f}", f"{seconds / total:.0%}"] for step, seconds in steps.seconds.items()]
    rows += [
        ["sum of the steps", f"{total:.3f}", "100%"],
        ["the task as the product runs it", f"{steps.whole:.3f}", ""],
    ]
    return table([f"a task of the stage {stage}: {steps.size}", "seconds", "share"], rows)
