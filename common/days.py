"""Days as runs, as the report of a publication has them (``awaited``, docs/lake.md): jobs write them, both sides read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta


def days_of_runs(runs: Iterable[Sequence[str]]) -> Iterator[date]:
    """The days of runs, each given by its first and last day (ISO).

    Raises:
        TypeError, ValueError: they are no such runs.
    """
    for ends in runs:
        first, last = map(date.fromisoformat, ends)
        yield from (first + timedelta(days=step) for step in range((last - first).days + 1))


def runs_of_days(days: Iterable[date]) -> list[list[str]]:
    """The reverse, in order."""
    runs: list[list[date]] = []
    for day in sorted(set(days)):
        if runs and day - runs[-1][1] == timedelta(days=1):
            runs[-1][1] = day
        else:
            runs.append([day, day])
    return [[first.isoformat(), last.isoformat()] for first, last in runs]
