"""Changing a lake: one at a time, beginning where the newest publication stands, and as if nothing had been where it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from jobs.config import Config
from jobs.errors import JobError
from jobs.lake import Lake
from jobs.lock import lake_lock
from jobs.publish import next_number, recover


@dataclass(frozen=True)
class Change:
    """A lake that this process alone may write to; ``number`` is that of the publication to make."""

    lake: Lake
    number: int
    recovered: list[str]
    """Tables in which a dead run had left something."""


@contextmanager
def changing(config: Config, job: str, say: Callable[[str], None]) -> Iterator[Change]:
    """Holds the lake's lock while the body commits to tables and, last of all, publishes.

    Raises:
        JobError: another run holds the lake for longer than ``lock_wait_seconds``.
    """
    lake = Lake(config.lake, opened={})
    with lake_lock(config.lake, job, config.lock_wait_seconds, say):
        lake.create()
        recovered = recover(lake)
        try:
            yield Change(lake, next_number(lake), recovered)
        except JobError:  # leave the lake as it was; what dies otherwise is taken back by the next run
            recover(lake)
            raise
