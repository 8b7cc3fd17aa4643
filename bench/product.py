"""The product as a contestant: ``./spark-submit.sh daily`` from event files to a publication."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.machine import ROOT
from bench.measure import Measured, measure
from jobs.lake import Lake
from jobs.publish import newest_publication
from jobs.schemas import CTR_MINUTE

_STAGE = re.compile(r"(\w+) (\d+\.\d) s")


@dataclass(frozen=True)
class Night:
    """One run of ``daily``: what it took, and seconds by stage. ``report`` is None where it had nothing to publish."""

    measured: Measured
    stages: dict[str, float]
    report: dict[str, Any] | None

    @property
    def session(self) -> float:
        """Seconds until Spark had started."""
        return self.stages["session"]

    @property
    def without_session(self) -> float:
        """Seconds of the whole process without the start of Spark."""
        return self.measured.seconds - self.session


def environment(**settings: str) -> dict[str, str]:
    """The environment of a contestant: ours without settings of one's own, with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CTR_")}
    return {**kept, "SPARK_LOCAL_IP": "127.0.0.1", "COLUMNS": "400", "PYTHONPATH": str(ROOT), **settings}


def paths(events: Path, lake: Path, purchases_url: str) -> dict[str, str]:
    """The settings that name what a run reads and writes."""
    return {"CTR_EVENTS": str(events), "CTR_LAKE": str(lake), "CTR_PURCHASES_URL": purchases_url}


def daily(
    events: Path,
    lake: Path,
    purchases_url: str,
    log: Path,
    options: Sequence[str] = (),
    beside: Sequence[int] = (),
    prefix: Sequence[str] = (),
) -> Night:
    """One run of ``[prefix] ./spark-submit.sh [options] daily``.

    Raises:
        BenchError: it did not end with exit code 0.
    """
    before = published(lake)
    command = [*prefix, str(ROOT / "spark-submit.sh"), *options, "daily"]
    measured = measure(command, env=environment(**paths(events, lake, purchases_url)), log=log, beside=beside)
    after = published(lake)
    if after is None or (before is not None and after["publication"] == before["publication"]):
        return Night(measured, stages_shown(measured.output), None)
    report = json.loads(after["report"])
    return Night(measured, report["stages"], report)


def stages_shown(output: str) -> dict[str, float]:
    """Seconds by stage from the closing table of a run.

    Raises:
        BenchError: there is no such table.
    """
    line = next((line for line in output.splitlines() if re.match(r"\W*stages\b", line)), "")
    stages = {name: float(seconds) for name, seconds in _STAGE.findall(line)}
    if not stages:
        raise BenchError(f"daily printed no table with its stages; it said:\n{output[-2000:]}")
    return stages


def published(lake: Path) -> dict[str, Any] | None:
    """The newest publication of a lake, or None where there is none yet."""
    return newest_publication(Lake(str(lake))) if Lake(str(lake)).exists() else None


def minute_files(lake: Path) -> list[str]:
    """The data files of ``ctr_minute`` as the newest publication has them."""
    newest = published(lake)
    if newest is None:
        raise BenchError(f"{lake}: nothing was published")
    delta = Lake(str(lake)).open(CTR_MINUTE, newest["ctr_minute_version"])
    return [str(uri) for uri in delta.file_uris()]
