"""Rollups made anew from the rows there are, without any event file: a bounded number of days at a time, newest first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from typing import Any

from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table as Grid

from jobs.change import changing
from jobs.config import Config
from jobs.datafiles import DataFile
from jobs.lake import Lake, Partition, existing_lake
from jobs.lock import give_way
from jobs.outcome import Outcome
from jobs.pace import SHOWN, Pace, last_pace, say_progress
from jobs.progress import Stages
from jobs.publish import publish, published
from jobs.recompute import recompute
from jobs.schemas import PURCHASES, ROLLUPS, VIEWS, Table

JOB = "backfill --rebuild"
_NOTHING = "nothing to rebuild: no views, no purchases and no counts in this range"


@dataclass(frozen=True)
class Range:
    """Days from ``first`` to ``last``, both included; None is open."""

    first: date | None = None
    last: date | None = None

    def __contains__(self, day: date) -> bool:
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)


@dataclass(frozen=True)
class Days:
    """One batch: whole days, by the data files of ``views`` and ``purchases`` that are read for them, or of rollups without any."""

    files: list[DataFile] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Bytes of the data files."""
        return sum(file.size for file in self.files)

    @property
    def partitions(self) -> set[Partition]:
        """Every day of a platform that has a row."""
        return {(file.date, file.platform) for file in self.files}

    @property
    def dates(self) -> list[date]:
        """The days, oldest first."""
        return sorted({file.date for file in self.files})


@dataclass
class Rebuilt(Outcome):
    """What was done for one publication; ``left`` are the batches that come after it."""

    days: Days
    left: list[Days] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The ``report`` of the publication (docs/lake.md)."""
        return {
            "job": JOB,
            "started_at": self.started.isoformat(),
            "seconds": self.seconds,
            "bytes_on_disk": self.days.bytes,
            "partitions": len(self.days.partitions),
            "stages": self.stages,
            "warnings": self.warnings,
        }

    def show(self, console: Console) -> None:
        """Prints a line about what was done, then the warnings."""
        console.print(self._line(), highlight=False)
        self.show_warnings(console)

    def _line(self) -> str:
        if not self.publication:
            return _NOTHING
        dates = self.days.dates
        return (
            f"rebuilt {dates[0]} to {dates[-1]}, {len(self.days.partitions):,} days of platforms: "
            f"publication {self.publication}"
        )


def rebuild(config: Config, spark: SparkSession, stages: Stages, wanted: Range) -> list[Rebuilt]:
    """Makes the rollups and ``coverage`` of a range of days anew from ``views`` and ``purchases``, a batch at a time.

    Shows and gives what became of each batch; between batches others get their turn.

    Raises:
        JobError: it cannot go on; what was published before stays.
    """
    started = datetime.now(timezone.utc)
    done: list[Rebuilt] = []
    while not done or done[-1].left:
        if done:
            give_way(config.lake, config.lock_wait_seconds)
            wanted = Range(wanted.first, done[-1].days.dates[0] - timedelta(days=1))
        done.append(_batch(config, spark, stages, wanted, started))
        done[-1].show(stages.console)
        _say_progress(stages.console, done)
    return done


def _batch(config: Config, spark: SparkSession, stages: Stages, wanted: Range, started: datetime) -> Rebuilt:
    """The whole path of the newest batch of the range: find, recompute, publish."""
    with changing(config, JOB, stages.console.print) as change:
        days, *left = cut_days(_files(change.lake, wanted), config.batch_bytes) or [Days()]
        result = Rebuilt(days, left, started=started)
        result.add_recovered(change.recovered)
        if days.files:
            recompute(spark, change.lake, days.partitions, change.number, stages)
            result.finish(stages)
            result.publication = publish(change.lake, change.number, JOB, result.to_json())
        return result


def cut_days(files: Iterable[DataFile], batch_bytes: int) -> list[Days]:
    """The days of these files in batches of at most ``batch_bytes`` (a larger day stands alone), newest day first."""
    by_day: dict[date, list[DataFile]] = defaultdict(list)
    for file in files:
        by_day[file.date].append(file)
    batches: list[Days] = []
    filled = 0
    for day in sorted(by_day, reverse=True):
        size = sum(file.size for file in by_day[day])
        if not batches or filled + size > batch_bytes:
            batches.append(Days())
            filled = 0
        batches[-1].files.extend(by_day[day])
        filled += size
    return batches


def show_rebuild(config: Config, wanted: Range, console: Console) -> None:
    """Prints the batches that ``rebuild`` would do, as the newest publication stands, and how long they may take.

    Nothing is changed and nothing waits for a run.

    Raises:
        JobError: nothing is published.
    """
    lake = existing_lake(config.lake)
    batches = cut_days(_files(lake, wanted, published(lake)), config.batch_bytes)
    if not batches:
        console.print(_NOTHING, highlight=False)
        return
    names = ("batch", "days", "partitions", "MB", "newest day", "oldest day")
    grid = Grid(*names, title="nothing is done", title_justify="left")
    for number, days in enumerate(batches[:SHOWN], start=1):
        dates = days.dates
        counts = (f"{number:,}", f"{len(dates):,}", f"{len(days.partitions):,}", f"{days.bytes / 1e6:,.1f}")
        grid.add_row(*counts, str(dates[-1]), str(dates[0]))
    console.print(grid)
    size = sum(days.bytes for days in batches)
    count = sum(len(days.dates) for days in batches)
    console.print(
        f"{len(batches):,} batches, {count:,} days, {size / 1e6:,.1f} MB: {last_pace(lake, (JOB,)).left(size)}",
        highlight=False,
    )


def _files(lake: Lake, wanted: Range, publication: dict[str, Any] | None = None) -> list[DataFile]:
    """The data files of ``views`` and ``purchases`` in a range, as a publication (default: the newest versions) has them.

    Rollups of days that have neither are among them, with no bytes: there is nothing to read for them, and they have to go.
    """

    def held(table: Table) -> list[DataFile]:
        version = None if publication is None else publication[f"{table.name}_version"]
        return [file for file in lake.files(table, version=version) if file.date in wanted]

    found = [*held(VIEWS), *held(PURCHASES)]
    read = {(file.date, file.platform) for file in found}
    rollups = [file for table in ROLLUPS for file in held(table)]
    return found + [replace(file, size=0) for file in rollups if (file.date, file.platform) not in read]


def _say_progress(console: Console, done: list[Rebuilt]) -> None:
    """Between batches: how fast it goes and how long the rest will take."""
    if done[-1].left:
        pace = Pace(sum(result.days.bytes for result in done), done[-1].seconds)
        say_progress(console, done[-1].days, done[-1].left, pace)
