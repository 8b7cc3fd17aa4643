"""Days of which event files stand at the source and are in no table yet: readers must not take what is there for all of it.

A history is loaded newest day first, and files hold views of days before theirs: a day may have some views long before it has all.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from jobs.discover import EventFile

Runs = dict[str, list[list[str]]]
"""By platform the first and last day (ISO) of each run of days, in order."""


def runs_of_days(files: Iterable[EventFile]) -> Runs:
    """The days that files are about, by platform."""
    days: dict[str, set[date]] = {}
    for file in files:
        if file.platform:
            days.setdefault(file.platform, set()).add(file.day)
    return {platform: _runs(sorted(days[platform])) for platform in sorted(days)}


def _runs(days: list[date]) -> list[list[str]]:
    runs: list[list[date]] = []
    for day in days:
        if runs and day - runs[-1][1] == timedelta(days=1):
            runs[-1][1] = day
        else:
            runs.append([day, day])
    return [[first.isoformat(), last.isoformat()] for first, last in runs]


def awaited_days(report: dict[str, Any], platform: str) -> set[date]:
    """The days of a platform that the report of a publication names."""
    runs = report.get("awaited", {}).get(platform, [])
    ends = ((date.fromisoformat(first), date.fromisoformat(last)) for first, last in runs)
    return {first + timedelta(days=step) for first, last in ends for step in range((last - first).days + 1)}
