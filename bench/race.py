"""The product against its peers: the same files, the same cores, one process each, in turn."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.check import Counted, Referee, minutes_below, minutes_in
from bench.data import Data, empty_database, warm
from bench.document import facts, gigabytes, ratio, spread, table, verdict
from bench.errors import BenchError
from bench.machine import PEERS_PYTHON, ROOT, peer_version
from bench.measure import measure
from bench.product import daily, environment, minute_files
from bench.setting import Setting, say

PRODUCT = "product"


@dataclass(frozen=True)
class Peer:
    """Another way to the same minute counts, and what is wanted of the product beside it."""

    title: str
    does: str
    package: str | None = None
    """The package of ``.venv-bench`` that it needs; None: it runs on the Python of the product."""
    most: float | None = None
    """The product may take so many times its time."""
    least: float | None = None
    """It must take so many times the product's time."""

    @property
    def python(self) -> str:
        """The Python that runs it."""
        return str(PEERS_PYTHON) if self.package else sys.executable

    @property
    def lacks(self) -> str | None:
        """Why it cannot run here, or None if it can."""
        if self.package is None or peer_version(self.package):
            return None
        return f"{self.package} is not installed in .venv-bench (bench/setup.sh installs what this Python can have)"


PEERS = {
    "duckdb_json": Peer("DuckDB", "`read_json`, minute counts to Parquet", most=3),
    "polars_json": Peer("Polars", "`scan_ndjson`, streaming, minute counts to Parquet", "polars", least=1.5),
    "spark_json": Peer("Spark's JSON reader", "views, minutes, hours, days to Delta by Delta's writer", least=1.5),
    "chdb_json": Peer("chDB (ClickHouse)", "`JSONEachRow`, minute counts to Parquet", "chdb"),
    "plain_python": Peer("plain Python", "`json.loads` a line, one process, minute counts to CSV", least=1.5),
}
"""By the name of the program in bench/peers."""


@dataclass(frozen=True)
class Lap:
    """One run of one contestant."""

    seconds: float
    inside: float
    """Of that, without the start of Spark (the product), or as the program itself measured (a peer)."""
    cpu_seconds: float
    peak_bytes: int


def run(setting: Setting) -> str:
    """All rounds; the section for the documentation.

    Raises:
        BenchError: a contestant failed, or counted anything else than the others.
    """
    data = setting.sample()
    lacks = {name: why for name in setting.peers if (why := PEERS[name].lacks)}
    for name, why in lacks.items():
        say(f"{name} is left out: {why}")
    say(f"reading {data.describe()} once, so that they are in memory")
    warm(data.events)
    laps: dict[str, list[Lap]] = defaultdict(list)
    referee = Referee(data.truth)
    with setting.scratch("race") as scratch:
        for number in range(1, setting.rounds + 1):
            for name in [PRODUCT, *(name for name in setting.peers if name not in lacks)]:
                lap, found = _lap(name, data, scratch, referee)
                laps[name].append(lap)
                say(
                    f"round {number} {name}: {lap.seconds:.1f} s, CPU {lap.cpu_seconds:.1f} s, "
                    f"{gigabytes(lap.peak_bytes)} GB, {found.views:,} views in {found.cells:,} cells"
                )
    return f"Data: {data.describe()}, warm.\n\n{section(data.bytes, laps, found, lacks)}"


def _lap(name: str, data: Data, scratch: Path, referee: Referee) -> tuple[Lap, Counted]:
    out = scratch / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    if name == PRODUCT:
        night = daily(data.events, out / "lake", empty_database(out / "shop.db"), scratch / f"{name}.log")
        measured, inside = night.measured, night.without_session
        found = referee.judge(name, minutes_in(minute_files(out / "lake")))
    else:
        command = [PEERS[name].python, str(ROOT / "bench" / "peers" / f"{name}.py"), str(data.events), str(out)]
        measured = measure(command, env=environment(), log=scratch / f"{name}.log")
        said = closing_line(name, measured.output)
        inside = said["seconds"]
        found = referee.judge(name, minutes_below(out))
        if (said["views"], said["cells"]) != (found.views, found.cells):
            raise BenchError(f"{name}: said {said}, but its files hold {found}")
    shutil.rmtree(out)
    os.sync()  # the next one does not pay for what this one left to be written
    return Lap(measured.seconds, inside, measured.cpu_seconds, measured.peak_bytes), found


def closing_line(name: str, output: str) -> dict[str, float]:
    """What a peer says of itself in its last line.

    Raises:
        BenchError: that line is not the one that was agreed on.
    """
    last = output.strip().rpartition("\n")[2]
    try:
        said: dict[str, float] = json.loads(last)
        if set(said) != {"views", "cells", "seconds"}:
            raise ValueError("other keys")
    except (ValueError, TypeError) as error:
        raise BenchError(f"{name}: its last line is {last[:200]!r}, wanted views, cells, seconds: {error}") from None
    return said


def section(size: int, laps: dict[str, list[Lap]], found: Counted, left_out: dict[str, str]) -> str:
    """The tables: what each took for so many bytes, and how it compares with the product."""
    product = laps[PRODUCT]
    whole, inside = median(lap.seconds for lap in product), median(lap.inside for lap in product)
    rows = [
        _row("**the product**, whole process", product, size, whole, inside),
        [
            "the product without the start of Spark",
            spread([lap.inside for lap in product]),
            "",
            "",
            f"{size / 1e6 / inside:,.0f}",
            ratio(inside, whole),
            ratio(inside, inside),
        ],
    ]
    verdicts = ""
    for name, peer in PEERS.items():
        if name not in laps:
            continue
        rows.append(_row(f"{peer.title}: {peer.does}", laps[name], size, whole, inside))
        seconds = median(lap.seconds for lap in laps[name])
        if peer.most is not None:
            verdicts += verdict(f"the product's time / {peer.title}'s", whole / seconds, most=peer.most)
        if peer.least is not None:
            verdicts += verdict(f"{peer.title} / the product", seconds / whole, least=peer.least)
    columns = ["way", "seconds", "CPU s", "peak memory, GB", "MB/s", "time / product", "time / product without start"]
    return (
        "The product goes from the event files to a publication of `views` and all three rollups, with a ledger and an "
        "account of every record; its purchase database is empty. The peers only count, each view once; of them only "
        "Spark's reader writes Delta tables. One process start each, in turn. Seconds are those of the whole process: the "
        "median of the rounds, and their range.\n\n"
        f"{table(columns, rows)}\n"
        f"All of them counted {found.views:,} views in {found.cells:,} cells (platform, product, minute), equal to the last "
        f"cell and to the sample's own truth.\n\n{verdicts}"
        + (f"\nLeft out:\n\n{facts(left_out.items())}" if left_out else "")
    )


def _row(title: str, laps: list[Lap], size: int, whole: float, inside: float) -> list[str]:
    seconds = [lap.seconds for lap in laps]
    middle = median(seconds)
    return [
        title,
        spread(seconds),
        spread([lap.cpu_seconds for lap in laps]),
        gigabytes(max(lap.peak_bytes for lap in laps)),
        f"{size / 1e6 / middle:,.0f}",
        ratio(middle, whole),
        ratio(middle, inside),
    ]
