"""The nightly job: everything that is new."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rich.console import Console

from jobs.config import Config
from jobs.database import check_database
from jobs.discover import check_root
from jobs.plan import Selection
from jobs.progress import Stages
from jobs.run import Run
from jobs.session import spark_session

if TYPE_CHECKING:
    from jobs.arguments import Jobs


def add_parser(jobs: Jobs) -> None:
    """The command line of ``daily``."""
    parser = jobs.add_parser(
        "daily",
        help="load what is new: event files, purchases",
        description="Loads every event file that the ledger does not know, compares the purchases with the database, "
        "recomputes what was touched and publishes.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config, console: Console) -> int:
    """Loads all that is new; 0, or 3 when a data-quality limit was passed."""
    return load("daily", config, Selection(), console)


def load(job: str, config: Config, selection: Selection, console: Console) -> int:
    """One run of a job: the session, the batches, a table for each; its exit code.

    Raises:
        JobError: the run cannot go on; what was published before stays.
    """
    check_root(config.events)  # what can be seen at once is said before Spark starts
    check_database(config)
    stages = Stages(console)
    with spark_session(job, stages) as spark:
        reports = Run(config, job, spark, stages, selection)(lambda report: report.show(console))
    return max(report.exit_code for report in reports)
