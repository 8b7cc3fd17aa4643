"""The job that proves published counts: cells, at random or asked for, are counted again from the raw files and the database.

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

from jobs.arguments import check_days, day, platform
from jobs.audit.cells import Asked, Period, choose_cells, every_cell
from jobs.audit.findings import OK, Findings
from jobs.audit.views import count_views, find_files
from jobs.config import Config
from jobs.database import check_database
from jobs.errors import JobError, UsageError
from jobs.lake import existing_lake
from jobs.publish import published

if TYPE_CHECKING:
    from jobs.arguments import Jobs

_SAMPLE, _DAYS = 200, 3
_AT_RANDOM = Asked()


def add_parser(jobs: Jobs) -> None:
    """The command line of ``audit``."""
    parser = jobs.add_parser(
        "audit",
        help="count random cells again from the raw files and the database (needs no Spark)",
        description="Chooses days and cells of the newest publication at random, or takes every cell of --platform and --product, "
        "counts each again from the event files and the database by a second, simpler way, and lists what differs. Changes "
        "nothing. Exit code 3 when something differs, 1 when nothing could be checked.",
    )
    parser.add_argument("--sample", type=_count, metavar="N", help=f"cells to check (default: {_SAMPLE})")
    parser.add_argument(
        "--days",
        type=_count,
        metavar="N",
        help=f"the cells are of so many days; all event files that hold views of these are read (default: {_DAYS})",
    )
    parser.add_argument("--from", dest="first", type=day, metavar="DAY", help="only the days since this one")
    parser.add_argument("--to", dest="last", type=day, metavar="DAY", help="only the days until this one")
    parser.add_argument(
        "--platform",
        type=platform,
        nargs="+",
        action="extend",
        default=[],
        metavar="PLATFORM",
        help="every cell of these platforms on all days since --from until --to, instead of some at random",
    )
    parser.add_argument(
        "--product", nargs="+", action="extend", default=[], metavar="PRODUCT", help="every cell of these, likewise"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="choose the same again (each audit prints its seed)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config, console: Console) -> int:
    """Audits the newest publication; 0, or 3 when something differs."""
    check_days(arguments)
    asked = Asked(tuple(arguments.platform), tuple(arguments.product))
    if asked and not (arguments.sample is arguments.days is arguments.seed is None):
        raise UsageError(
            "--sample, --days and --seed choose cells at random, --platform and --product take every one: wanted one of the two"
        )
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    period = Period(arguments.first, arguments.last, None if asked else arguments.days or _DAYS)
    return audit(config, period, arguments.sample or _SAMPLE, seed, console, asked).exit_code


def audit(
    config: Config, period: Period, sample: int, seed: int, console: Console, asked: Asked = _AT_RANDOM
) -> Findings:
    """Checks ``sample`` cells of the newest publication, or every one that is asked for, prints the table and gives what was found.

    Raises:
        JobError: there is nothing to check, or not one cell could be checked.
    """
    from jobs.audit.orders import count_purchases  # with SQLAlchemy, half a second that no other job has to wait

    lake = existing_lake(config.lake)
    publication = published(lake)
    check_database(config)
    files = find_files(lake, publication)
    loaded = {day for file in files for day in file.ends}
    if asked:
        cells = every_cell(lake, publication, loaded, period, asked)
    else:
        cells = choose_cells(lake, publication, loaded, period, sample, random.Random(seed))
    purchases = count_purchases(config, cells)
    views = count_views(config, files, cells, console)
    findings = Findings(publication, seed, cells, views, purchases, asked)
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
