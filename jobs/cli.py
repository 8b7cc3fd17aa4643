"""The jobs of the lake: PySpark turns event folders and a purchase database into Delta tables.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but a data-quality limit was passed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

if __package__ in (None, ""):  # started as a file by spark-submit
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console

from jobs.config import Config, load_config, parse_bytes
from jobs.errors import JobError, UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one job; its exit code."""
    arguments = _parser().parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        config = load_config()
        code: int = arguments.run(arguments, config, console)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing half-done is visible, the next run goes on from the last publication", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./spark-submit.sh", description=__doc__)
    jobs = parser.add_subparsers(dest="job", required=True, metavar="JOB")
    daily = jobs.add_parser(
        "daily", help="load what is new: event files, purchases", description="Loads every event file that the ledger does "
        "not know, compares the purchases with the database, recomputes what was touched and publishes."
    )  # fmt: skip
    daily.set_defaults(run=_run_job)
    backfill = jobs.add_parser(
        "backfill", help="load history in bounded batches, newest first", description="As daily, for chosen files; each batch "
        "is published by itself, and the lake is free for other runs in between. A stopped backfill goes on where it ended."
    )  # fmt: skip
    backfill.add_argument("--from", dest="first", type=_day, metavar="DAY", help="first day of the files (YYYY-MM-DD)")
    backfill.add_argument("--to", dest="last", type=_day, metavar="DAY", help="last day of the files, included")
    backfill.add_argument(
        "--path", metavar="GLOB", help="only files whose path below the root matches, e.g. 'iOS/2016-0[1-3]*'"
    )
    backfill.add_argument(
        "--batch-bytes", type=_bytes, metavar="SIZE", help="most bytes in a batch (default: the setting)"
    )
    backfill.set_defaults(run=_run_job)
    status = jobs.add_parser(
        "status", help="what is loaded (needs no Spark)", description="What the lake holds, without Spark."
    )
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(run=_status)
    return parser


def _run_job(arguments: argparse.Namespace, config: Config, console: Console) -> int:
    """One run of daily or backfill: the session, the batches, a table for each."""
    from jobs.database import check_sqlite_file
    from jobs.discover import check_root
    from jobs.plan import Selection
    from jobs.progress import Stages
    from jobs.run import Run
    from jobs.session import spark_session

    check_root(config.events)  # what can be seen at once is said before Spark starts
    check_sqlite_file(config.purchases_url)
    stages = Stages(console)
    selection = Selection()
    if arguments.job == "backfill":
        selection = Selection(arguments.first, arguments.last, arguments.path)
        if arguments.batch_bytes:
            config = config.model_copy(update={"batch_bytes": arguments.batch_bytes})
    with spark_session(arguments.job, stages) as spark:
        reports = Run(config, arguments.job, spark, stages, selection)(lambda report: report.show(console))
    return max(report.exit_code for report in reports)


def _status(arguments: argparse.Namespace, config: Config, console: Console) -> int:
    from jobs.status import lake_status, show_status

    status = lake_status(config.lake)
    if arguments.json:
        print(json.dumps(status, indent=2))
    else:
        show_status(status, console)
    return 0


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day: wanted YYYY-MM-DD") from None


def _bytes(text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
