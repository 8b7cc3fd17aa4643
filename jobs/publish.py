"""Publications: one row names one consistent set of table versions; adding it is the one step that makes a batch's work real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.errors import JobError
from jobs.lake import Lake
from jobs.schemas import PUBLICATIONS, PUBLISHED

LOADS = ("daily", "backfill")
"""The jobs whose report tells of event files and of the database."""


def newest_publication(lake: Lake) -> dict[str, Any] | None:
    """The newest row of ``publications`` by column name, or None before the first."""
    rows = lake.read(PUBLICATIONS)
    if rows.num_rows == 0:
        return None
    newest = pc.max(rows["publication"])
    found: dict[str, Any] = rows.filter(pc.equal(rows["publication"], newest)).to_pylist()[0]
    return found


def published(lake: Lake) -> dict[str, Any]:
    """The newest row of ``publications``, as ``newest_publication``.

    Raises:
        JobError: there is none yet.
    """
    newest = newest_publication(lake)
    if newest is None:
        raise JobError(f"nothing is published in the lake {lake.root}: run ./spark-submit.sh daily first")
    return newest


def newest_runs(lake: Lake, jobs: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Publications of these jobs (default: of all), newest first: number, time, job, and the report as an object."""
    rows = lake.read(PUBLICATIONS, ["publication", "published_at", "job", "report"])
    for row in rows.sort_by([("publication", "descending")]).to_pylist():
        if not jobs or row["job"] in jobs:
            yield {**row, "report": json.loads(row["report"])}


def recover(lake: Lake) -> list[str]:
    """Takes back what a dead run left beyond the newest publication; the names of the tables that had something."""
    newest = newest_publication(lake)
    return [
        table.name for table in PUBLISHED if lake.take_back(table, newest[f"{table.name}_version"] if newest else 0)
    ]


def next_number(lake: Lake) -> int:
    """The number of the next publication, which is also that of the batch that will make it."""
    newest = newest_publication(lake)
    return 1 if newest is None else int(newest["publication"]) + 1


def publish(lake: Lake, batch: int, job: str, report: dict[str, Any]) -> int:
    """Adds the publication of the newest version of every table; its number.

    A job that reads no event files leaves the days that wait for some (``awaited`` in the report) as they were.
    """
    before = None if "awaited" in report else newest_publication(lake)
    if before is not None and (awaited := json.loads(before["report"]).get("awaited")):
        report = {**report, "awaited": awaited}
    row = {
        "publication": batch,
        "published_at": datetime.now(timezone.utc),
        "batch": batch,
        "job": job,
        "report": json.dumps(report, default=str),
        **{f"{name}_version": version for name, version in lake.versions().items()},
    }
    lake.append(PUBLICATIONS, pa.Table.from_pylist([row], schema=PUBLICATIONS.schema), batch)
    return batch
