"""The job that proves published counts: cells chosen at random are counted again from the raw files and the database.

The path, module by module:

    cells      which (bucket, platform, product) are looked at, and what the newest publication says of them
    orders     the purchases of every cell, from the database
    raw        one event file, read by the standard library's json: its views, and how many of its records are broken
    views      the views of every cell, each counted once; every file that can hold one is read once
    findings   what agrees, what does not, what cannot be told

No code is shared with decoding, rollups or purchases: a fault in those cannot hide itself. It starts no Spark and changes nothing.
"""

from __future__ import annotations

import argparse
import random
import secrets
from typing import TYPE_CHECKING

from rich.console import Console

from jobs.arguments import check_days, day
from jobs.audit.cells import Period, choose_cells
from jobs.audit.findings import OK, Findings
from jobs.audit.views import count_views, find_files
from jobs.config import Config
from jobs.database import check_database
from jobs.errors import JobError
from jobs.lake import existing_lake
from jobs.publish import published

if TYPE_CHECKING:
    from jobs.arguments import Jobs


def add_parser(jobs: Jobs) -> None:
    """The command line of ``audit``."""
    parser = jobs.add_parser(
        "audit",
        help="count random cells again from the raw files and the database (needs no Spark)",
        description="Chooses days and cells of the newest publication at random, counts each again from the event files and "
        "the database by a second, simpler way, and lists what differs. Changes nothing. Exit code 3 when something differs, "
        "1 when nothing could be checked.",
    )
    parser.add_argument("--sample", type=_count, default=200, metavar="N", help="cells to check (default: %(default)s)")
    parser.add_argument(
        "--days",
        type=_count,
        default=3,
        metavar="N",
        help="the cells are of so many days; all event files that hold views of these are read (default: %(default)s)",
    )
    parser.add_argument("--from", dest="first", type=day, metavar="DAY", help="choose among the days since this one")
    parser.add_argument("--to", dest="last", type=day, metavar="DAY", help="choose among the days until this one")
    parser.add_argument("--seed", type=int, metavar="N", help="choose the same again (each audit prints its seed)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config, console: Console) -> int:
    """Audits the newest publication; 0, or 3 when something differs."""
    check_days(arguments)
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    period = Period(arguments.first, arguments.last, arguments.days)
    return audit(config, period, arguments.sample, seed, console).exit_code


def audit(config: Config, period: Period, sample: int, seed: int, console: Console) -> Findings:
    """Checks ``sample`` cells of the newest publication, prints the table and gives what was found.

    Raises:
        JobError: there is nothing to check, or not one cell could be checked.
    """
    from jobs.audit.orders import count_purchases  # with SQLAlchemy, half a second that no other job has to wait

    lake = existing_lake(config.lake)
    publication = published(lake)
    check_database(config)
    files = find_files(lake, publication)
    loaded = {day for file in files for day in file.ends}
    cells = choose_cells(lake, publication, loaded, period, sample, random.Random(seed))
    purchases = count_purchases(config, cells)
    views = count_views(config, files, cells, console)
    findings = Findings(publication, seed, cells, views, purchases)
    findings.show(console)
    if not findings.checked and findings.exit_code == OK:
        raise JobError(
            "no cell could be checked: the event files are gone, or not what was loaded; set CTR_EVENTS to where they are"
        )
    return findings


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a whole number above 0")
    return int(text)
