"""Segments: the spans of the rollups that the local replica keeps, each in a file of its own.

A segment is named after what it holds: the rollup, its span, and a digest of the Delta data files of that span. Data files never
change, so a file of that name holds the counts of every publication that names the same data files, and of no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone

import duckdb

from serving.contract import GRAINS, PLATFORMS
from serving.state.files import TableFiles
from serving.state.publications import Publication

_FORMAT = f"2 {duckdb.__version__} {' '.join(PLATFORMS)}"
"""What else decides how a segment's file has to be read; part of the digest."""

_SPANS = {"ctr_day": "%Y", "ctr_hour": "%Y%m", "ctr_minute": "%Y%m%d"}
"""A segment's span: a year of days, a month of hours, a day of minutes. A night makes the newest of each anew."""


@dataclass(frozen=True)
class Segment:
    """One span ``[start, end)`` of a rollup, in seconds; whole UTC days."""

    rollup: str
    start: int
    end: int
    name: str
    """Of its file without suffix, and of its database in DuckDB."""
    version: int = field(compare=False)
    """A version of the rollup that it can be made from: of those that have its data files, the one that the publication names."""

    @property
    def days(self) -> tuple[date, date]:
        """The first and the last UTC day."""
        return day_of(self.start), day_of(self.end - 1)


def product_id(name: str) -> int:
    """The number that stands for a product in a segment: 64 bits of a hash, as DuckDB's ``md5_number_lower``."""
    return int.from_bytes(hashlib.md5(name.encode(), usedforsecurity=False).digest()[8:], "little")


def segments_of(publication: Publication, tables: Mapping[str, TableFiles]) -> tuple[Segment, ...]:
    """The segments of a publication with these data files: coarsest rollup first, of each the newest first."""
    return tuple(segment for rollup in GRAINS for segment in _of_rollup(publication, tables[rollup]))


def _of_rollup(publication: Publication, table: TableFiles) -> list[Segment]:
    rollup, version = table.table, publication.versions[table.table]
    assert version is not None, "a publication that is served names a version of every table"
    spans: dict[str, tuple[set[date], set[str]]] = {}
    for (day, _), names in table.by_partition.items():
        days, files = spans.setdefault(day.strftime(_SPANS[rollup]), (set(), set()))
        days.add(day)
        files.update(names)
    return [_segment(rollup, span, *spans[span], version) for span in sorted(spans, reverse=True)]


def _segment(rollup: str, span: str, days: set[date], files: set[str], version: int) -> Segment:
    digest = hashlib.sha256("\n".join([_FORMAT, rollup, span, *sorted(files)]).encode()).hexdigest()[:32]
    return Segment(rollup, _second(min(days)), _second(max(days)) + 86_400, f"{rollup}_{span}_{digest}", version)


def _second(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp())


def day_of(second: int) -> date:
    """The UTC day of an instant."""
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=second)).date()
