"""The job for history: as ``daily`` for chosen files; a plan to look at before; rollups made anew from the rows there are."""

from __future__ import annotations

import argparse
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any

from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table as Grid

from jobs.arguments import check_days, day, size
from jobs.change import changing
from jobs.config import Config
from jobs.daily import load
from jobs.errors import UsageError
from jobs.lake import Lake
from jobs.ledger import Ledger
from jobs.pace import Pace
from jobs.plan import Selection, make_plan
from jobs.progress import Stages
from jobs.publish import LOADS, newest_runs, publish
from jobs.recompute import recompute
from jobs.schemas import PURCHASES, VIEWS
from jobs.session import spark_session

if TYPE_CHECKING:
    from jobs.arguments import Jobs

_SHOWN = 20


def add_parser(jobs: Jobs) -> None:
    """The command line of ``backfill``."""
    parser = jobs.add_parser(
        "backfill",
        help="load history in bounded batches, newest first",
        description="As daily, for chosen files; each batch is published by itself, and the lake is free for other runs in "
        "between. A stopped backfill goes on where it ended.",
    )
    parser.add_argument("--from", dest="first", type=day, metavar="DAY", help="first day of the files (YYYY-MM-DD)")
    parser.add_argument("--to", dest="last", type=day, metavar="DAY", help="last day of the files, included")
    parser.add_argument(
        "--path", metavar="GLOB", help="only files whose path below the root matches: 'iOS/2016-0[1-3]*'"
    )
    parser.add_argument("--batch-bytes", type=size, metavar="SIZE", help="most bytes in a batch (default: the setting)")
    parser.add_argument("--dry-run", action="store_true", help="show the batches and an estimate, change nothing")
    parser.add_argument(
        "--rebuild", action="store_true", help="read no file: make the rollups of --from to --to anew from the rows"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config, console: Console) -> int:
    """Loads, plans or rebuilds as the arguments say; 0, or 3 when a data-quality limit was passed."""
    check_days(arguments)
    selection = Selection(arguments.first, arguments.last, arguments.path)
    if arguments.batch_bytes:
        config = config.model_copy(update={"batch_bytes": arguments.batch_bytes})
    if arguments.rebuild and (arguments.path or arguments.dry_run):
        raise UsageError("--rebuild goes with --from and --to only: it reads no file")
    if arguments.dry_run:
        show_plan(config, selection, console)
        return 0
    if not arguments.rebuild:
        return load("backfill", config, selection, console)
    stages = Stages(console)
    with spark_session("backfill", stages) as spark:
        console.print(rebuild(config, spark, stages, arguments.first, arguments.last), highlight=False)
    return 0


def show_plan(config: Config, selection: Selection, console: Console) -> None:
    """Prints the batches that a backfill would read, newest first, and how long they may take; changes nothing.

    Raises:
        JobError: the root is missing or cannot be read.
    """
    lake = Lake(config.lake)
    ledger = Ledger.read(lake) if lake.exists() else Ledger()
    plan = make_plan(config, ledger, selection)
    grid = Grid(
        "batch", "files", "MB", "newest day", "oldest day", "copies", title="nothing is done", title_justify="left"
    )
    for number, batch in enumerate(plan.batches[:_SHOWN], start=1):
        days = [file.day for file in batch.files]
        ends = (str(max(days)), str(min(days))) if days else ("-", "-")
        grid.add_row(
            str(number), f"{len(batch.files):,}", f"{batch.bytes / 1e6:,.1f}", *ends, f"{len(batch.duplicates):,}"
        )
    console.print(grid)
    bytes_left = sum(batch.bytes for batch in plan.batches)
    files = sum(len(batch.files) for batch in plan.batches)
    console.print(
        f"{len(plan.batches):,} batches, {files:,} files, {bytes_left / 1e6:,.1f} MB: {_last_pace(lake).left(bytes_left)}",
        highlight=False,
    )


def rebuild(config: Config, spark: SparkSession, stages: Stages, first: date | None, last: date | None) -> str:
    """Makes the rollups and ``coverage`` of a range of days anew from ``views`` and ``purchases``, and publishes.

    Returns one line about what was done. Both ends are included; None is open.
    """
    started = datetime.now(timezone.utc)
    with changing(config, "backfill --rebuild", stages.console.print) as change:
        files = [file for table in (VIEWS, PURCHASES) for file in change.lake.files(table)]
        touched = {
            (file.date, file.platform)
            for file in files
            if (first is None or file.date >= first) and (last is None or file.date <= last)
        }
        if not touched:
            return "nothing to rebuild: no views and no purchases in this range"
        recompute(spark, change.lake, touched, change.number, stages)
        report: dict[str, Any] = {
            "job": "backfill --rebuild",
            "started_at": started.isoformat(),
            "seconds": round((datetime.now(timezone.utc) - started).total_seconds(), 3),
            "partitions": len(touched),
            "stages": stages.seconds,
            "warnings": [],
        }
        publish(change.lake, change.number, "backfill --rebuild", report)
        return f"rebuilt {len(touched):,} days of platforms: publication {change.number}"


def _last_pace(lake: Lake) -> Pace:
    """That of the newest run which read event files: the bytes of all its batches in the seconds that it had needed by then."""
    reports = [run["report"] for run in newest_runs(lake, LOADS)] if lake.exists() else []
    read = [report for report in reports if report.get("bytes_on_disk")]
    run = [report for report in read if report["started_at"] == read[0]["started_at"]]
    return Pace(sum(report["bytes_on_disk"] for report in run), run[0]["seconds"] if run else 0.0)
