"""What is in the lake, without a Spark session: the newest publication, coverage, files by state, the quarantine, the lock."""

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
from jobs.ledger import Ledger, Statement
from jobs.lock import lock_holder
from jobs.publish import newest_publication
from jobs.quarantine import Count, count_rows
from jobs.schemas import COVERAGE, PUBLISHED

if TYPE_CHECKING:
    from jobs.arguments import Jobs

_FILES = 10
_DAYS = 10


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
    statements = Ledger.read(lake).statements
    status["files"] = dict(Counter(known.state for known in statements.values()))
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
    status["quarantine"] = _quarantined(count_rows(lake, newest["quarantine_version"]), statements)
    return status


def _quarantined(counts: list[Count], statements: dict[str, Statement]) -> dict[str, Any]:
    """Rows of the quarantine by reason (most first), by day of the run (newest first), and of the newest files."""
    reasons: Counter[tuple[str, str]] = Counter()
    days: Counter[date] = Counter()
    files: Counter[str] = Counter()
    newest: dict[str, date] = {}
    for count in counts:
        reasons[count.source, count.reason] += count.rows
        days[count.day] += count.rows
        if count.file_id is not None:
            files[count.file_id] += count.rows
            newest[count.file_id] = max(count.day, newest.get(count.file_id, count.day))
    paths = {file_id: statements[file_id].path if file_id in statements else file_id for file_id in files}
    shown = sorted(files, key=lambda file_id: (-newest[file_id].toordinal(), -files[file_id], paths[file_id]))[:_FILES]
    return {
        "rows": sum(count.rows for count in counts),
        "reasons": [
            {"source": source, "reason": reason, "rows": rows}
            for (source, reason), rows in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        ],
        "days": {day.isoformat(): days[day] for day in sorted(days, reverse=True)},
        "files": len(files),
        "newest_files": [
            {"path": paths[file_id], "day": newest[file_id].isoformat(), "rows": files[file_id]} for file_id in shown
        ],
    }


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
    _show_quarantine(status["quarantine"], console)
    for warning in publication["report"].get("warnings", []):
        console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)


def _show_quarantine(quarantine: dict[str, Any], console: Console) -> None:
    if not quarantine["rows"]:
        console.print("quarantine: empty")
        return
    reasons = Grid("reason", "source", "rows", title=f"quarantine: {quarantine['rows']:,} rows", title_justify="left")
    for row in quarantine["reasons"]:
        reasons.add_row(row["reason"], row["source"], f"{row['rows']:,}")
    console.print(reasons)
    days = list(quarantine["days"].items())
    more = f" and {len(days) - _DAYS:,} more days" if len(days) > _DAYS else ""
    listed = ", ".join(f"{day} {rows:,}" for day, rows in days[:_DAYS])
    console.print(f"by day of the run: {listed}{more}", highlight=False, soft_wrap=True)
    for file in quarantine["newest_files"]:
        line = f"  {file['rows']:,} of {file['day']} from {file['path']}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if quarantine["files"] > len(quarantine["newest_files"]):
        console.print(
            f"  and from {quarantine['files'] - len(quarantine['newest_files']):,} more files", highlight=False
        )
