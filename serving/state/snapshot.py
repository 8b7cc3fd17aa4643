"""What is known of one publication without reading its large tables: watermarks, first and last days, missing days."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import cached_property
from types import MappingProxyType

from common.days import missing_days
from serving.contract import PLATFORMS
from serving.replica.segments import Segment
from serving.state.cost import NO_SIZES, Sizes
from serving.state.files import TableFiles
from serving.state.publications import Publication

DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class CoverageRow:
    """One row of ``coverage``; times in microseconds since 1970, UTC."""

    date: date
    platform: str
    views: int
    last_view: int | None
    last_purchase: int | None


@dataclass(frozen=True)
class PlatformFacts:
    """How far the data of one platform reach, by ``docs/lake.md``."""

    platform: str
    views_watermark: datetime | None = None
    purchases_watermark: datetime | None = None
    first_day: date | None = None
    last_day: date | None = None
    days: int = 0
    missing_days: tuple[date, ...] = ()
    """Those between the first and the last without a view, and those of which event files are still to be loaded; in order."""

    def missing(self, first: date, last: date) -> list[date]:
        """The days from ``first`` to ``last``, both included, of which views are missing; in order.

        Nothing is known of a day before the first one: a history may be loaded newest day first.
        """
        early = (self.first_day - first).days if self.first_day is not None else 0
        before = [first + step * DAY for step in range(min(early, (last - first).days + 1))]
        return sorted({*before, *(day for day in self.missing_days if first <= day <= last)})

    @property
    def watermark(self) -> datetime | None:
        """The older of both watermarks; ``None`` while one is unknown."""
        if self.views_watermark is None or self.purchases_watermark is None:
            return None
        return min(self.views_watermark, self.purchases_watermark)


@dataclass(frozen=True)
class Snapshot:
    """One publication that can be served: its row, the data files of its tables, and the facts of each platform."""

    publication: Publication
    tables: dict[str, TableFiles]
    """Of each table of ``contract.TABLES``, at the version that the publication names."""
    platforms: dict[str, PlatformFacts]
    """The platforms that ever had data."""
    segments: tuple[Segment, ...] = ()
    """The segments that a whole replica of the publication has; empty where there is no replica."""
    held: frozenset[Segment] = frozenset()
    """Those of them that are attached."""
    sizes: Sizes = NO_SIZES
    """How many rows its tables have."""

    @cached_property
    def days(self) -> tuple[Segment, ...]:
        """The segments of days, attached or not."""
        return tuple(segment for segment in self.segments if segment.rollup == "ctr_day")

    @cached_property
    def knows_products(self) -> bool:
        """Whether all segments of days are attached, which together name every product."""
        return bool(self.days) and self.held.issuperset(self.days)

    @property
    def version(self) -> int:
        """The number that answers carry as ``X-Data-Version``."""
        return self.publication.number

    def watermark(self, platforms: Iterable[str]) -> datetime | None:
        """The oldest watermark of those of the platforms that have data; ``None`` while one of them is unknown."""
        marks = [self.platforms[platform].watermark for platform in platforms if platform in self.platforms]
        known = [mark for mark in marks if mark is not None]
        return min(known) if known and len(known) == len(marks) else None


def platform_facts(
    rows: Iterable[CoverageRow], published_at: datetime, awaited: Mapping[str, frozenset[date]] = MappingProxyType({})
) -> dict[str, PlatformFacts]:
    """The facts of each platform that has a row in ``coverage``; ``awaited`` are days of which files are still to be loaded.

    Times after the publication are left out: one device whose clock stands in 2040 must not move a watermark.
    """
    by_platform: dict[str, list[CoverageRow]] = {}
    for row in rows:
        by_platform.setdefault(row.platform, []).append(row)
    return {
        platform: _facts(platform, by_platform[platform], published_at, awaited.get(platform, frozenset()))
        for platform in PLATFORMS
        if platform in by_platform
    }


def _facts(platform: str, rows: list[CoverageRow], published_at: datetime, awaited: frozenset[date]) -> PlatformFacts:
    days = sorted({row.date for row in rows if row.views and row.date <= published_at.date()})
    return PlatformFacts(
        platform=platform,
        views_watermark=_newest((row.last_view for row in rows), published_at),
        purchases_watermark=_newest((row.last_purchase for row in rows), published_at),
        first_day=days[0] if days else None,
        last_day=days[-1] if days else None,
        days=len(days),
        missing_days=tuple(missing_days(days, awaited, published_at.date())),
    )


def _newest(times: Iterable[int | None], published_at: datetime) -> datetime | None:
    limit = (published_at - _EPOCH) // timedelta(microseconds=1)
    known = [time for time in times if time is not None and time <= limit]
    return _EPOCH + timedelta(microseconds=max(known)) if known else None
