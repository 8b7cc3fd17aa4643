"""The job for history: as ``daily`` for chosen files; a plan to look at before; rollups made anew from the rows there are."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid

from jobs.arguments import check_days, day, size
from jobs.config import Config
from jobs.daily import load
from jobs.errors import UsageError
from jobs.lake import Lake
from jobs.ledger import Ledger
from jobs.pace import SHOWN, last_pace
from jobs.plan import Selection, make_plan
from jobs.progress import Stages, counting
from jobs.publish import LOADS
from jobs.rebuild import Range, rebuild, show_rebuild
from jobs.session import spark_session

if TYPE_CHECKING:
    from jobs.arguments import Jobs


def add_parser(jobs: Jobs) -> None:
    """The command line of ``backfill``."""
    parser = jobs.add_parser(
        "backfill",
        help="load history in bounded batches, newest first",
        description="As daily, for chosen files; each batch is published by itself, and the lake is free for other runs in "
        "between. A stopped backfill goes on where it ended. A stopped --rebuild begins anew, or goes on with "
        "--to the day before the oldest one it rebuilt.",
    )
    parser.add_argument("--from", dest="first", type=day, metavar="DAY", help="first day of the files (YYYY-MM-DD)")
    parser.add_argument("--to", dest="last", type=day, metavar="DAY", help="last day of the files, included")
    parser.add_argument(
        "--path", metavar="GLOB", help="only files whose path below the root matches: 'iOS/2016-0[1-3]*'"
    )
    parser.add_argument("--batch-bytes", type=size, metavar="SIZE", help="most bytes in a batch (default: the setting)")
    parser.add_argument("--dry-run", action="store_true", help="show the batches and an estimate, change nothing")
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="read no file: make the rollups of the days --from to --to anew from the rows, in batches of whole days",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config, console: Console) -> int:
    """Loads, plans or rebuilds as the arguments say; 0, or 3 when a data-quality limit was passed."""
    check_days(arguments)
    selection = Selection(arguments.first, arguments.last, arguments.path)
    if arguments.batch_bytes:
        config = config.model_copy(update={"batch_bytes": arguments.batch_bytes})
    if arguments.rebuild:
        return _rebuild(arguments, config, console)
    if arguments.dry_run:
        show_plan(config, selection, console)
        return 0
    return load("backfill", config, selection, console)


def _rebuild(arguments: argparse.Namespace, config: Config, console: Console) -> int:
    """Makes rollups anew, or says what that would do; 0."""
    if arguments.path:
        raise UsageError("--rebuild reads no file, so it takes no --path; choose days by --from and --to")
    wanted = Range(arguments.first, arguments.last)
    if arguments.dry_run:
        show_rebuild(config, wanted, console)
        return 0
    stages = Stages(console)
    with spark_session("backfill", stages) as spark:
        rebuild(config, spark, stages, wanted)
    return 0


def show_plan(config: Config, selection: Selection, console: Console) -> None:
    """Prints the batches that a backfill would read, newest first, and how long they may take; changes nothing.

    Raises:
        JobError: the root is missing or cannot be read.
    """
    lake = Lake(config.lake)
    ledger = Ledger.read(lake) if lake.exists() else Ledger()
    plan = make_plan(config, ledger, selection, watch=partial(counting, console))
    grid = Grid(
        "batch", "files", "MB", "newest day", "oldest day", "copies", title="nothing is done", title_justify="left"
    )
    for number, batch in enumerate(plan.batches[:SHOWN], start=1):
        days = [file.day for file in batch.files]
        ends = (str(max(days)), str(min(days))) if days else ("-", "-")
        grid.add_row(
            str(number), f"{len(batch.files):,}", f"{batch.bytes / 1e6:,.1f}", *ends, f"{len(batch.duplicates):,}"
        )
    console.print(grid)
    bytes_left = sum(batch.bytes for batch in plan.batches)
    files = sum(len(batch.files) for batch in plan.batches)
    console.print(
        f"{len(plan.batches):,} batches, {files:,} files, {bytes_left / 1e6:,.1f} MB: {last_pace(lake, LOADS).left(bytes_left)}",
        highlight=False,
    )
