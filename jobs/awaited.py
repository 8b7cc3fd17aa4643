"""Days of which event files stand at the source and are in no table yet: readers must not take what is there for all of it.

A history is loaded newest day first, and files hold views of days before theirs: a day may have some views long before it has all.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from common.days import days_of_runs, runs_of_days
from jobs.discover import EventFile

Runs = dict[str, list[list[str]]]
"""By platform the first and last day (ISO) of each run of days, in order."""


def awaited(files: Iterable[EventFile]) -> Runs:
    """The days that files are about, by platform."""
    days: dict[str, set[date]] = {}
    for file in files:
        if file.platform:
            days.setdefault(file.platform, set()).add(file.day)
    return {platform: runs_of_days(days[platform]) for platform in sorted(days)}


def awaited_days(report: dict[str, Any], platform: str) -> set[date]:
    """The days of a platform that the report of a publication names."""
    return set(days_of_runs(report.get("awaited", {}).get(platform, [])))
