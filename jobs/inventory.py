"""What is in the lake, without a Spark session, as JSON values; of large tables the Delta log alone is read, no data file."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date, datetime
from typing import Any

import pyarrow.compute as pc

from common.days import missing_days
from jobs.awaited import awaited_days
from jobs.lake import Lake, existing_lake
from jobs.ledger import FAILED, Ledger, Statement
from jobs.lock import lock_holder
from jobs.publish import LOADS, newest_publication, newest_runs
from jobs.quarantine import Count, count_rows
from jobs.schemas import COVERAGE, PUBLISHED, Table

_FILES = 10
_RUNS = 5


def lake_status(root: str) -> dict[str, Any]:
    """The state of the lake as JSON values; times are ISO, UTC.

    Raises:
        JobError: there is no lake.
    """
    lake = existing_lake(root)
    newest = newest_publication(lake)
    status: dict[str, Any] = {"lake": root, "running": lock_holder(root), "publication": None, "platforms": {}}
    statements = Ledger.read(lake).statements
    status["files"] = dict(Counter(known.state for known in statements.values()))
    status["failed_files"] = _failed(statements)
    if newest is None:
        return status
    status["publication"] = {
        "number": newest["publication"],
        "published_at": newest["published_at"].isoformat(),
        "versions": {table.name: newest[f"{table.name}_version"] for table in PUBLISHED},
        "report": json.loads(newest["report"]),
    }
    runs = list(newest_runs(lake))
    status["last_load"] = next((_run(run) for run in runs if run["job"] in LOADS), None)
    status["runs"] = [_run(run) for run in runs[:_RUNS]]
    status["tables"] = {table.name: _size(lake, table, newest[f"{table.name}_version"]) for table in PUBLISHED}
    rows = lake.read(COVERAGE, version=newest["coverage_version"]).to_pylist()
    for platform in sorted({row["platform"] for row in rows}):
        status["platforms"][platform] = _covered(
            [row for row in rows if row["platform"] == platform],
            newest["published_at"],
            awaited_days(status["publication"]["report"], platform),
        )
    status["days"] = _days(rows)
    status["quarantine"] = _quarantined(count_rows(lake, newest["quarantine_version"]), statements)
    return status


def _failed(statements: dict[str, Statement]) -> list[dict[str, str | None]]:
    """Path and reason of the files that failed last, newest first."""
    failed = [known for known in statements.values() if known.state == FAILED]
    failed.sort(key=lambda known: known.recorded_at, reverse=True)
    return [{"path": known.path, "reason": known.detail} for known in failed[:_FILES]]


def _run(run: dict[str, Any]) -> dict[str, Any]:
    report = run["report"]
    return {
        "publication": run["publication"],
        "published_at": run["published_at"].isoformat(),
        "job": run["job"],
        "seconds": report.get("seconds"),
        "warnings": report.get("warnings", []),
    }


def _size(lake: Lake, table: Table, version: int) -> dict[str, int]:
    """Rows, data files and their bytes, as the log of the table's version gives them."""
    actions = lake.add_actions(table, version)
    return {
        "rows": pc.sum(actions["num_records"]).as_py() or 0,
        "files": actions.num_rows,
        "bytes": pc.sum(actions["size_bytes"]).as_py() or 0,
    }


def _days(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, int]]]:
    """By day (newest first), source and platform how many rows are loaded; each view once; what has none is left out."""
    days: dict[str, dict[str, dict[str, int]]] = {}
    for row in sorted(rows, key=lambda row: (-row["date"].toordinal(), row["platform"])):
        for source in ("views", "purchases"):
            if row[source]:
                days.setdefault(row["date"].isoformat(), {}).setdefault(source, {})[row["platform"]] = row[source]
    return days


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


def _covered(rows: list[dict[str, Any]], published: datetime, awaited: set[date]) -> dict[str, Any]:
    """Totals, watermarks and missing days of one platform; a clock in the future moves neither (docs/lake.md)."""
    days = {row["date"] for row in rows if row["views"] and row["date"] <= published.date()}
    return {
        "views": sum(row["views"] for row in rows),
        "purchases": sum(row["purchases"] for row in rows),
        "first_day": min(days).isoformat() if days else None,
        "last_day": max(days).isoformat() if days else None,
        "missing_days": [day.isoformat() for day in missing_days(days, awaited, published.date())],
        "views_watermark": _watermark([row["last_view"] for row in rows], published),
        "purchases_watermark": _watermark([row["last_purchase"] for row in rows], published),
    }


def _watermark(times: list[datetime | None], published: datetime) -> str | None:
    past = [time for time in times if time is not None and time <= published]
    return max(past).isoformat() if past else None
