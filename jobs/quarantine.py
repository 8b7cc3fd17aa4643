"""The table ``quarantine`` row group by row group: which rows are asked for, files without some of them, and counts.

A row group holds some 64 MB of raw text at most (``jobs.events``, ``jobs.maintain.merge``): so much is in memory at once,
whatever the table holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatch

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.datafiles import DataFile, DataFileWriter, file_schema
from jobs.lake import Lake
from jobs.schemas import QUARANTINE

EVENTS = "events"
"""``source`` of the rows that came from event files."""


@dataclass(frozen=True)
class Asked:
    """Which rows of event files are asked for; the default is all. ``first`` and ``last`` are days of ``date``, included."""

    reasons: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    path: str | None = None

    def takes_day(self, day: date) -> bool:
        """Whether the rows of a day are asked for."""
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)

    def takes_path(self, path: str) -> bool:
        """Whether the rows of an event file are asked for."""
        return self.path is None or fnmatch(path, self.path)

    def mask(self, rows: pa.Table) -> pa.ChunkedArray:
        """Which of ``rows`` came from event files for a reason that is asked for."""
        mask = pc.equal(rows["source"], EVENTS)
        if not self.reasons:
            return mask
        return pc.and_(mask, pc.is_in(rows["reason"], value_set=pa.array(self.reasons, pa.string())))


def row_groups(lake: Lake, held: DataFile, columns: list[str]) -> Iterator[tuple[int, pa.Table]]:
    """The rows of a data file, each group with the number of its first row."""
    first = 0
    with pq.ParquetFile(f"{lake.uri(QUARANTINE)}/{held.path}") as source:
        for group in range(source.num_row_groups):
            rows = source.read_row_group(group, columns=columns).select(columns)
            yield first, rows
            first += rows.num_rows


def files_with(lake: Lake, source: str) -> list[DataFile]:
    """The newest data files that hold rows of a ``source``."""
    return [
        held
        for held in lake.files(QUARANTINE)
        if any(pc.any(pc.equal(rows["source"], source)).as_py() for _, rows in row_groups(lake, held, ["source"]))
    ]


def rewrite(lake: Lake, held: DataFile, gone: set[int], renamed: dict[int, tuple[str, str]]) -> list[DataFile]:
    """The data file without the rows of the numbers ``gone``, and with another reason and detail for those ``renamed``.

    Nothing is committed.
    """
    writer = DataFileWriter(lake.root, QUARANTINE, held.date, held.platform)
    for first, rows in row_groups(lake, held, file_schema(QUARANTINE).names):
        numbers = range(first, first + rows.num_rows)
        for place, name in enumerate(("reason", "detail")):
            known = rows[name].to_pylist()
            texts = [renamed[n][place] if n in renamed else text for n, text in zip(numbers, known, strict=True)]
            rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(texts, pa.string()))
        writer.write(rows.filter(pa.array([number not in gone for number in numbers])))
    return writer.close()


@dataclass(frozen=True)
class Count:
    """How many rows of one day have one source, reason and event file."""

    day: date
    source: str
    reason: str
    file_id: str | None
    rows: int


def count_rows(lake: Lake, version: int | None = None) -> list[Count]:
    """What a version of the table (default: its newest) holds; raw text is not read."""
    names = ["source", "reason", "file_id"]
    counts: Counter[tuple[date, str, str, str | None]] = Counter()
    for held in lake.files(QUARANTINE, version=version):
        for _, rows in row_groups(lake, held, names):
            for row in rows.group_by(names).aggregate([([], "count_all")]).to_pylist():
                counts[held.date, row["source"], row["reason"], row["file_id"]] += row["count_all"]
    return [Count(*key, rows) for key, rows in counts.items()]
