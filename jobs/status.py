"""What is in the lake, without a Spark session: the newest publication, coverage by platform, files by state, the lock."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as Grid

from jobs.config import Config
from jobs.errors import JobError
from jobs.lake import Lake
from jobs.ledger import Ledger
from jobs.lock import lock_holder
from jobs.publish import newest_publication
from jobs.schemas import COVERAGE, PUBLISHED

if TYPE_CHECKING:
    from jobs.arguments import Jobs


def add_parser(jobs: Jobs) -> None:
    """The command line of ``status``."""
    parser = jobs.add_parser(
        "status", help="what is loaded (needs no Spark)", description="What the lake holds, without Spark."
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config, console: Console) -> int:
    """Prints the status; 0."""
    status = lake_status(config.lake)
    if arguments.json:
        print(json.dumps(status, indent=2))
    else:
        show_status(status, console)
    return 0


def lake_status(root: str) -> dict[str, Any]:
    """The state of the lake as JSON values; times are ISO, UTC.

    Raises:
        JobError: there is no lake.
    """
    lake = Lake(root)
    if not lake.exists():
        raise JobError(f"no lake at {root}: run ./spark-submit.sh daily first, or set CTR_LAKE")
    newest = newest_publication(lake)
    status: dict[str, Any] = {"lake": root, "running": lock_holder(root), "publication": None, "platforms": {}}
    status["files"] = dict(Counter(known.state for known in Ledger.read(lake).statements.values()))
    if newest is None:
        return status
    status["publication"] = {
        "number": newest["publication"],
        "published_at": newest["published_at"].isoformat(),
        "versions": {table.name: newest[f"{table.name}_version"] for table in PUBLISHED},
        "report": json.loads(newest["report"]),
    }
    rows = lake.read(COVERAGE, version=newest["coverage_version"]).to_pylist()
    for platform in sorted({row["platform"] for row in rows}):
        status["platforms"][platform] = _covered(
            [row for row in rows if row["platform"] == platform], newest["published_at"]
        )
    return status


def _covered(rows: list[dict[str, Any]], published: datetime) -> dict[str, Any]:
    """Totals, watermarks and missing days of one platform; a clock in the future moves neither (docs/lake.md)."""
    days = {row["date"] for row in rows if row["views"] and row["date"] <= published.date()}
    return {
        "views": sum(row["views"] for row in rows),
        "purchases": sum(row["purchases"] for row in rows),
        "first_day": min(days).isoformat() if days else None,
        "last_day": max(days).isoformat() if days else None,
        "missing_days": [day.isoformat() for day in _missing(days)],
        "views_watermark": _watermark([row["last_view"] for row in rows], published),
        "purchases_watermark": _watermark([row["last_purchase"] for row in rows], published),
    }


def _minute(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else "-"


def _missing(days: set[date]) -> list[date]:
    if not days:
        return []
    span = (max(days) - min(days)).days
    return [day for day in (min(days) + timedelta(days=n) for n in range(span)) if day not in days]


def _watermark(times: list[datetime | None], published: datetime) -> str | None:
    past = [time for time in times if time is not None and time <= published]
    return max(past).isoformat() if past else None


def show_status(status: dict[str, Any], console: Console) -> None:
    """Prints the status for people."""
    publication = status["publication"]
    console.print(f"lake {status['lake']}", highlight=False)
    if status["running"]:
        holder = status["running"]
        console.print(f"running: {holder['job']} (pid {holder['pid']} on {holder['host']}, since {holder['since']})")
    files = ", ".join(f"{count:,} {state}" for state, count in sorted(status["files"].items()))
    console.print(f"files: {files or 'none'}", highlight=False)
    if publication is None:
        console.print("nothing published yet: run ./spark-submit.sh daily")
        return
    published = _minute(publication["published_at"])
    console.print(f"publication {publication['number']} of {published} (times are UTC)", highlight=False)
    grid = Grid(
        "platform", "views", "purchases", "first day", "last day", "missing days", "views until", "purchases until"
    )
    for name, row in status["platforms"].items():
        missing = ", ".join(row["missing_days"][:3]) + (" ..." if len(row["missing_days"]) > 3 else "")
        grid.add_row(
            name, f"{row['views']:,}", f"{row['purchases']:,}", row["first_day"] or "-", row["last_day"] or "-",
            missing or "none", _minute(row["views_watermark"]), _minute(row["purchases_watermark"]),
        )  # fmt: skip
    console.print(grid)
    for warning in publication["report"].get("warnings", []):
        console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
