"""Segments: the spans of the rollups that the local replica keeps, each in a file of its own.

A segment is named after what it holds: the rollup, its span, and a digest of the Delta data files of that span. Data files never
change, so a file of that name holds the counts of every publication that names the same data files, and of no other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from serving.contract import GRAINS, PLATFORMS
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
    version: int
    """The version of the rollup that it is made from."""


def product_id(name: str) -> int:
    """The number that stands for a product in a segment: 64 bits of a hash, as DuckDB's ``md5_number_lower``."""
    return int.from_bytes(hashlib.md5(name.encode(), usedforsecurity=False).digest()[8:], "little")


def segments_of(lake: str, publication: Publication) -> tuple[Segment, ...]:
    """The segments of a publication: coarsest rollup first, of each the newest first. No data file is read.

    Raises:
        Exception: whatever ``deltalake`` raises on a table that it cannot read at that version.
    """
    return tuple(segment for rollup in GRAINS for segment in _of_rollup(lake, publication, rollup))


def data_files(lake: str, table: str, version: int) -> dict[tuple[date, str], frozenset[str]]:
    """The data files of a table at a version, by date and platform. Reads the log only.

    Raises:
        Exception: whatever ``deltalake`` raises on a table that it cannot read at that version.
    """
    actions = pa.table(DeltaTable(str(Path(lake) / table), version=version).get_add_actions(flatten=True))
    files: dict[tuple[date, str], set[str]] = {}
    columns = (actions[name].to_pylist() for name in ("path", "partition.date", "partition.platform"))
    for path, day, platform in zip(*columns, strict=True):
        files.setdefault((day, platform), set()).add(path)
    return {key: frozenset(paths) for key, paths in files.items()}


def _of_rollup(lake: str, publication: Publication, rollup: str) -> list[Segment]:
    version = publication.versions[rollup]
    assert version is not None, "a publication that is served names a version of every table"
    spans: dict[str, tuple[set[date], set[str]]] = {}
    for (day, _), paths in data_files(lake, rollup, version).items():
        days, files = spans.setdefault(day.strftime(_SPANS[rollup]), (set(), set()))
        days.add(day)
        files.update(paths)
    return [_segment(rollup, span, *spans[span], version) for span in sorted(spans, reverse=True)]


def _segment(rollup: str, span: str, days: set[date], files: set[str], version: int) -> Segment:
    digest = hashlib.sha256("\n".join([_FORMAT, rollup, span, *sorted(files)]).encode()).hexdigest()[:32]
    return Segment(rollup, _second(min(days)), _second(max(days)) + 86_400, f"{rollup}_{span}_{digest}", version)


def _second(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp())


def day_of(second: int) -> date:
    """The UTC day of an instant."""
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=second)).date()
