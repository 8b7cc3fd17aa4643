"""Days of a publication, as jobs and service count them (docs/lake.md): those that are missing, and those awaited, as runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from itertools import pairwise

_DAY = timedelta(days=1)


def missing_days(have: Iterable[date], awaited: Iterable[date], until: date) -> list[date]:
    """The days between the first and the last that a platform has, without those, and those awaited up to ``until``; in order."""
    gaps = (
        before + step * _DAY
        for before, after in pairwise(sorted(set(have)))
        for step in range(1, (after - before).days)
    )
    return sorted({*gaps, *(day for day in awaited if day <= until)})


def days_of_runs(runs: Iterable[Sequence[str]]) -> Iterator[date]:
    """The days of runs, each given by its first and last day (ISO).

    Raises:
        TypeError, ValueError: they are no such runs.
    """
    for ends in runs:
        first, last = map(date.fromisoformat, ends)
        yield from (first + step * _DAY for step in range((last - first).days + 1))


def runs_of_days(days: Iterable[date]) -> list[list[str]]:
    """The reverse, in order."""
    runs: list[list[date]] = []
    for day in sorted(set(days)):
        if runs and day - runs[-1][1] == _DAY:
            runs[-1][1] = day
        else:
            runs.append([day, day])
    return [[first.isoformat(), last.isoformat()] for first, last in runs]
