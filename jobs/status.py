"""The job that tells what is in the lake, without a Spark session: text for people, or ``lake_status`` as it is."""

from __future__ import annotations

import argparse
import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as Grid

from jobs.config import Config
from jobs.inventory import lake_status

if TYPE_CHECKING:
    from jobs.arguments import Jobs

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
        console.out(json.dumps(status, indent=2), highlight=False)
    else:
        show_status(status, console)
    return 0


def _minute(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else "-"


def show_status(status: dict[str, Any], console: Console) -> None:
    """Prints the status for people."""
    publication = status["publication"]
    console.print(f"lake {status['lake']}", highlight=False)
    if status["running"]:
        holder = status["running"]
        console.print(f"running: {holder['job']} (pid {holder['pid']} on {holder['host']}, since {holder['since']})")
    files = ", ".join(f"{count:,} {state}" for state, count in sorted(status["files"].items()))
    console.print(f"files: {files or 'none'}", highlight=False)
    for file in status["failed_files"]:
        console.print(f"  failed: {file['path']} ({file['reason']})", markup=False, highlight=False, soft_wrap=True)
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
    _show_days(status["days"], publication["published_at"][:10], console)
    _show_tables(status["tables"], console)
    _show_quarantine(status["quarantine"], console)
    _show_runs(status["runs"], console)
    told = {run["publication"]: run for run in (status["last_load"], status["runs"][0]) if run}
    for run in told.values():  # a replay since then does not hide what the load had to say
        for warning in run["warnings"]:
            line = f"warning of publication {run['publication']}, {run['job']}: {warning}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def _show_days(days: dict[str, dict[str, dict[str, int]]], today: str, console: Console) -> None:
    """The newest days with rows; one behind ``today``, that of the publication, is of a clock that goes wrong."""
    past = {day: sources for day, sources in days.items() if day <= today}
    names = sorted({(source, name) for sources in past.values() for source in sources for name in sources[source]})
    names.sort(key=lambda column: column[0] != "views")
    more = f", the newest {_DAYS} of {len(past):,}" if len(past) > _DAYS else ""
    grid = Grid("day", title=f"loaded by day{more}", title_justify="left")
    for source, name in names:
        grid.add_column(f"{source} {name}", justify="right")
    for day, sources in islice(past.items(), _DAYS):
        counts = [sources.get(source, {}).get(name, 0) for source, name in names]
        grid.add_row(day, *(f"{count:,}" if count else "-" for count in counts))
    if past:
        console.print(grid)
    if len(past) < len(days):
        listed = ", ".join(islice((day for day in days if day not in past), _DAYS))
        console.print(f"days after the publication, of clocks that go wrong: {len(days) - len(past):,}: {listed}")


def _show_tables(tables: dict[str, dict[str, int]], console: Console) -> None:
    grid = Grid("table", title="tables as published", title_justify="left")
    for name in ("rows", "files", "MB"):
        grid.add_column(name, justify="right")
    for name, size in tables.items():
        grid.add_row(name, f"{size['rows']:,}", f"{size['files']:,}", f"{size['bytes'] / 1e6:,.1f}")
    console.print(grid)


def _show_runs(runs: list[dict[str, Any]], console: Console) -> None:
    grid = Grid("publication", "job", "published", title="last runs", title_justify="left")
    for name in ("seconds", "warnings"):
        grid.add_column(name, justify="right")
    for run in runs:
        seconds = "-" if run["seconds"] is None else f"{run['seconds']:,.1f}"
        grid.add_row(
            str(run["publication"]), run["job"], _minute(run["published_at"]), seconds, str(len(run["warnings"]))
        )
    console.print(grid)


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
