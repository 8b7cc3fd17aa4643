"""Recomputes what follows from rows that changed: the three rollups and ``coverage`` of the touched partitions."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession

from jobs.lake import Lake, Partition, rows_of
from jobs.progress import Stages
from jobs.rollup import make_rollup_tasks, write_rollups
from jobs.schemas import COVERAGE, ROLLUPS


def recompute(spark: SparkSession, lake: Lake, touched: set[Partition], number: int, stages: Stages) -> None:
    """Commits the rollups and coverage of these partitions as ``views`` and ``purchases`` are now; nothing is published."""
    if not touched:
        return
    with stages.stage("rollup"):
        tasks = make_rollup_tasks(lake, touched)
        with stages.tasks(spark, f"rolling up {len(touched):,} days of platforms", len(tasks)):
            rollups = write_rollups(spark, tasks, lake.root)
        for table in ROLLUPS:
            lake.commit(table, number, rollups.files[table.name], lake.files(table, touched))
        _cover(lake, touched, rollups.coverage, number)


def _cover(lake: Lake, touched: set[Partition], rows: dict[Partition, dict[str, Any]], number: int) -> None:
    known = {(row["date"], row["platform"]): row for row in lake.read(COVERAGE).to_pylist()}
    for day, platform in touched:
        zero = {"date": day, "platform": platform, "views": 0, "purchases": 0}
        known[day, platform] = rows.get((day, platform), zero)
    lake.overwrite(COVERAGE, rows_of(COVERAGE, [known[key] for key in sorted(known)]), number)
