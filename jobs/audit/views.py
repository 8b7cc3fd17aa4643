"""Counts the views of cells again: every file that can hold one is read once, and of a view's copies one counts.

Which files those are, the ledger says (first and last time of each); one in which it knows no view is read for the day that it is
about, as views may have been overlooked in it. A file that is gone or not what was loaded leaves its days
unchecked; so does one that the simple reader does not understand.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, time, timezone
from typing import Any

from rich.console import Console

from jobs.audit.cells import Cell
from jobs.audit.once import TooManyViews, ViewsOnce
from jobs.audit.progress import Reading
from jobs.audit.raw import read_records, views_of
from jobs.config import Config
from jobs.discover import EventFile, open_file
from jobs.errors import UnreadableFile
from jobs.lake import Lake, Partition
from jobs.ledger import LOADED, event_file, newest_statements
from jobs.schemas import FILES


@dataclass(frozen=True)
class LoadedFile:
    """A loaded file with records, and what the ledger says of it.

    ``first`` and ``last`` are the times of its views; where there is none, the ends of the day that it is about.
    """

    file: EventFile
    platform: str
    layout: str
    views: int
    broken: int
    first: datetime
    last: datetime

    @property
    def ends(self) -> set[Partition]:
        """The days of its first and of its last view."""
        return {(self.first.date(), self.platform), (self.last.date(), self.platform)}

    def days(self, partitions: Iterable[Partition]) -> list[Partition]:
        """Those of the days of its platform on which it can have a view."""
        return [
            (day, platform)
            for day, platform in partitions
            if platform == self.platform and self.first.date() <= day <= self.last.date()
        ]

    def can_hold(self, cell: Cell) -> bool:
        """Whether a view of the cell may stand in it."""
        return self.platform == cell.platform and self.first < cell.end and self.last >= cell.start


@dataclass
class Recount:
    """Views by cell, and what cannot be told or is wrong."""

    files: list[LoadedFile]
    """Those that were read, or should have been."""
    views: Counter[Cell] = field(default_factory=Counter)
    unchecked: dict[Partition, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Days of a platform of which nothing can be said, each with the reasons."""
    wrong: list[str] = field(default_factory=list)
    """Files that hold another number of views than the ledger says."""

    def spoil(self, partitions: Iterable[Partition], reason: str) -> None:
        """Nothing can be said of these days."""
        for partition in partitions:
            self.unchecked[partition].append(reason)


def find_files(lake: Lake, publication: dict[str, Any]) -> list[LoadedFile]:
    """The loaded files that hold records, in order of their paths."""
    rows = newest_statements(lake.read(FILES, version=publication[f"{FILES.name}_version"])).to_pylist()
    loaded = [_loaded_file(row) for row in rows if row["state"] == LOADED and row["records"]]
    return sorted(loaded, key=lambda file: file.file.path)


def count_views(config: Config, loaded: list[LoadedFile], cells: list[Cell], console: Console) -> Recount:
    """Reads the files that can hold a view of the cells' days and counts those of every cell, a platform at a time."""
    partitions = {cell.partition for cell in cells}
    files = [file for file in loaded if file.days(partitions)]
    recount = Recount(files)
    for file in files:
        if change := find_change(config.events, file.file):
            recount.spoil(file.days(partitions), f"{file.file.path} {change}")
    with Reading(console, len(files), sum(file.file.size for file in files)) as reading:
        for platform in sorted({cell.platform for cell in cells}):
            once = ViewsOnce(cell for cell in cells if cell.platform == platform)
            try:
                for file in files:
                    if file.platform == platform:
                        _read(config, file, once, recount)
                        reading.done(file.file.size)
            except TooManyViews as error:
                recount.spoil((key for key in partitions if key[1] == platform), str(error))
            else:
                recount.views += once.count()
    return recount


def find_change(root: str, file: EventFile) -> str | None:
    """What is different about a file since it was loaded; None when it is the same by all that the ledger keys it by."""
    try:
        with open_file(root, file):
            return None
    except UnreadableFile as error:
        if error.__cause__ is None:
            return "was changed since it was loaded"
        return "is gone" if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError) else str(error)


def _read(config: Config, file: LoadedFile, once: ViewsOnce, recount: Recount) -> None:
    """Gives the file's views to ``once``, unless nothing can be said of its days anyhow."""
    days = [day for day in file.days(once.days) if day not in recount.unchecked]
    if not days:
        return
    broken = views = 0
    try:
        with (
            open_file(config.events, file.file) as stream,
            closing(read_records(stream, file.layout, config.record_bytes)) as records,
        ):
            for record in records:
                found = None if record is None else views_of(record)
                if found is None:
                    broken += 1
                    continue
                views += len(found)
                once.add(found, days)
    except UnreadableFile as error:
        recount.spoil(days, f"{file.file.path} {error}")
        return
    if broken != file.broken:
        recount.spoil(
            days,
            f"{file.file.path} has {broken:,} broken records by this simple reader and {file.broken:,} by the ledger",
        )
    elif views != file.views:
        recount.wrong.append(f"{file.file.path} holds {views:,} views, the ledger says {file.views:,}")


def _loaded_file(row: dict[str, Any]) -> LoadedFile:
    file = event_file(row)
    whole_day = (datetime.combine(file.day, end, timezone.utc) for end in (time.min, time.max))
    first, last = (row["first_time"], row["last_time"]) if row["views"] else whole_day
    return LoadedFile(file, row["platform"], row["layout"], row["views"], row["quarantined_records"], first, last)
