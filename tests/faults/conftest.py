"""The uncut runs of both nights: what every other way must end at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.publish import publish
from tests.faults.scenario import BATCH_BYTES, Night, Rows, copy_of, first_night, second_night, tables
from tests.faults.steps import acting
from tests.faults.tree import DAILY, Tree

ONE_BATCH = 1 << 30
"""Bytes: both nights fit in one batch."""

MOST_PUBLICATIONS = 150
"""In one test; the longest needs some 60."""


@dataclass(frozen=True)
class Uncut:
    """Both nights, the lake after each, what a reader sees in it, and the steps of each in one batch."""

    nights: tuple[Night, Night]
    lakes: tuple[Path, Path]
    tables: tuple[dict[str, Rows], dict[str, Rows]]
    steps: tuple[list[str], list[str]]

    def start(self, night: int, target: Path) -> Path:
        """A lake as this night (0, 1) finds it."""
        return copy_of(self.lakes[0], target) if night else target

    def again(
        self,
        spark: SparkSession,
        night: int,
        lake: Path,
        log: Path,
        *,
        by_command: bool,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        """A plain run after one that died, to its end: the real command, or what that does in this process, which is quicker."""
        if not by_command:
            self.nights[night].run(spark, lake, batch_bytes=batch_bytes)
            return
        run = Tree(DAILY, {**self.nights[night].env(lake), "CTR_BATCH_BYTES": str(batch_bytes)}, log)
        assert run.wait() == 0, run.output()


@pytest.fixture(scope="session")
def uncut(spark, tmp_path_factory):
    root = tmp_path_factory.mktemp("uncut")
    first = first_night(root / "night1")
    second = second_night(first, root / "night2")
    steps = ([], [])
    with acting(steps[0].append):
        first.run(spark, root / "lake1", batch_bytes=ONE_BATCH)
    copy_of(root / "lake1", root / "lake2")
    with acting(steps[1].append):
        second.run(spark, root / "lake2", batch_bytes=ONE_BATCH)
    lakes = (root / "lake1", root / "lake2")
    return Uncut((first, second), lakes, (tables(lakes[0]), tables(lakes[1])), steps)


@pytest.fixture(autouse=True)
def no_run_without_end(monkeypatch):
    """A run that publishes and publishes fails its test instead of hanging it."""
    published = []

    def counted(*arguments):
        published.append(arguments)
        assert len(published) < MOST_PUBLICATIONS, "a run does not come to its end"
        return publish(*arguments)

    monkeypatch.setattr("jobs.run.publish", counted)
