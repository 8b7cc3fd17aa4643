"""Grows a lake night by night, all in one Spark session: ``python -m bench.grow FIRST NIGHTS`` with the settings in CTR_*.

Each night is a run of ``daily`` on the files of one day, with a publication of its own, as if it had been the newest then.
"""

from __future__ import annotations

import sys
from datetime import date, timedelta

from rich.console import Console

from jobs.config import load_config
from jobs.plan import Selection
from jobs.progress import Stages
from jobs.run import Run
from jobs.session import spark_session


def grow(first: date, nights: int) -> None:
    """Loads so many days from ``first`` on, each as a night of its own."""
    config = load_config()
    quiet = Console(quiet=True)
    with spark_session("grow", Stages(quiet)) as spark:
        for number in range(nights):
            day = first + timedelta(days=number)
            Run(config, "daily", spark, Stages(quiet), Selection(day, day))(lambda report: None)


if __name__ == "__main__":
    grow(date.fromisoformat(sys.argv[1]), int(sys.argv[2]))
