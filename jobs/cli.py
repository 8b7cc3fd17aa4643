"""The jobs of the lake: PySpark turns event folders and a purchase database into Delta tables.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but a data-quality limit was passed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # started as a file by spark-submit
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console

from jobs import audit, backfill, daily, maintain, replay, rollback, status
from jobs.config import Config, load_config
from jobs.disk import disk_failure
from jobs.errors import JobError, UsageError
from jobs.memory import memory_failure
from jobs.output import Output

JOBS = (daily, backfill, replay, maintain, rollback, audit, status)
"""The modules of the jobs: each has ``add_parser`` and ``run``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one job; its exit code."""
    arguments = make_parser().parse_args(argv)
    console = Output(width=None if sys.stdout.isatty() else 140)
    try:
        return _run(arguments, load_config(), console)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing half-done is visible, the next run goes on from the last publication", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace, config: Config, console: Console) -> int:
    """Runs the job; its exit code. What is not foreseen ends in a stack trace: it is a defect.

    Raises:
        JobError: the job cannot go on.
    """
    try:
        code: int = arguments.run(arguments, config, console)
    except JobError:
        raise
    except Exception as error:
        if text := disk_failure(error, config) or memory_failure(error, config):
            raise JobError(text) from None
        raise
    return code


def make_parser() -> argparse.ArgumentParser:
    """The command line of all jobs."""
    parser = argparse.ArgumentParser(prog="./spark-submit.sh", description=__doc__)
    jobs = parser.add_subparsers(dest="job", required=True, metavar="JOB")
    for job in JOBS:
        job.add_parser(jobs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
