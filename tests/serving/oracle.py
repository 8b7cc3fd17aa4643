"""The answer computed the plain way, from the rows of ``views`` and ``purchases`` alone. Shares no code with the service."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from math import floor
from statistics import NormalDist
from typing import Any
from zoneinfo import ZoneInfo

UTC = timezone.utc
ALL_PLATFORMS = ("Android", "MobileWeb", "iOS")


def ctr_text(views: int, purchases: int) -> str:
    """CTR as it has to stand in the answer: half up on the exact fraction, four digits."""
    if views == 0:
        return "null"
    rounded = floor(Fraction(purchases, views) * 10_000 + Fraction(1, 2))
    return f"{rounded // 10_000}.{rounded % 10_000:04}"


def wilson_text(views: int, purchases: int, level: float) -> tuple[str, str]:
    """Both ends of Wilson's interval as they have to stand in the answer: computed with 50 digits, half up."""
    if views == 0 or purchases > views:
        return "null", "null"
    with localcontext() as context:
        context.prec = 50
        z = Decimal(NormalDist().inv_cdf((1 + level) / 2))
        share, count = Decimal(purchases) / views, Decimal(views)
        middle = share + z * z / (2 * count)
        half = z * (share * (1 - share) / count + z * z / (4 * count * count)).sqrt()
        ends = ((middle + sign * half) / (1 + z * z / count) for sign in (-1, 1))
        low, high = (abs(end.quantize(Decimal("0.0001"), ROUND_HALF_UP)) for end in ends)
    return str(low), str(high)


def bucket_edges(start: datetime, end: datetime, aggregation: int, zone: str) -> list[datetime]:
    """Starts of the buckets, and the uncut end of the last one; all UTC."""
    edges = [start]
    local = start.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    number = 0
    while edges[-1] < end:
        number += 1
        step = timedelta(minutes=min(aggregation, 10**8)) * number  # two hundred years: beyond, one bucket as well
        if zone != "UTC" and aggregation % 1440 == 0:
            edge = (local + step).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
        else:
            edge = start + step
        if edge > edges[-1]:  # else it is a day that the zone left out
            edges.append(edge)
    return edges


def views_once(views: Iterable[dict[str, Any]]) -> list[tuple[datetime, str, str]]:
    """Time, product, platform of each view: of its copies the smallest; views without a message id are all kept."""
    first: dict[Any, tuple[datetime, str, str]] = {}
    for number, row in enumerate(views):
        copy = (row["time"], row["product"], row["platform"])
        key: Any = (row["platform"], row["date"], row["message_id"], row["position"])
        key = number if row["message_id"] is None else key
        first[key] = min(first.get(key, copy), copy)
    return list(first.values())


def missing_days(
    views: Sequence[dict[str, Any]], published_at: datetime, start: datetime, end: datetime
) -> dict[str, list[date]]:
    """The days of a range without a view up to the last day of each platform that has some (not after the publication)."""
    days = [start.date() + timedelta(days=step) for step in range((end - start).days + 2)]
    missing = {}
    for platform in ALL_PLATFORMS:
        seen = {row["date"] for row in views if row["platform"] == platform and row["date"] <= published_at.date()}
        missing[platform] = [day for day in days if seen and day < max(seen) and day not in seen]
    return missing


def refused_days(
    views: Sequence[dict[str, Any]],
    published_at: datetime,
    start: datetime,
    end: datetime,
    platforms: Iterable[str] = (),
) -> dict[str, list[str]]:
    """The missing days for which a strict request is refused, by platform; empty where it is answered."""
    found = {}
    for platform, days in missing_days(views, published_at, start, end).items():
        hit = [str(day) for day in days if _midnight(day) < end and start < _midnight(day + timedelta(days=1))]
        if hit and platform in (platforms or ALL_PLATFORMS):
            found[platform] = hit
    return found


def watermark(
    views: Iterable[dict[str, Any]],
    purchases: Iterable[dict[str, Any]],
    published_at: datetime,
    platform: str,
) -> datetime | None:
    """Up to when both sources of a platform are known: of the last times of the days, the newest not after the publication."""
    marks = []
    times_of_views = [(row[0], row[2]) for row in views_once(views)]
    for times in (times_of_views, [(row["time"], row["platform"]) for row in purchases]):
        last: dict[date, datetime] = {}
        for time, where in times:
            if where == platform:
                last[time.date()] = max(time, last.get(time.date(), time))
        marks.append(max((time for time in last.values() if time <= published_at), default=None))
    return None if None in marks else min(mark for mark in marks if mark is not None)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def answer(
    views: Sequence[dict[str, Any]],
    purchases: Sequence[dict[str, Any]],
    start: datetime,
    end: datetime,
    aggregation: int,
    products: Iterable[str] = (),
    platforms: Iterable[str] = (),
    zone: str = "UTC",
    detail: bool = False,
    ci: float | None = None,
    fill: bool = False,
    published_at: datetime = datetime(2024, 1, 1, tzinfo=UTC),
) -> list[tuple[str, ...]]:
    """Rows of text: timestamp, platform, product, CTR; with detail views, purchases, bucketEnd, status; with ci both ends."""
    happened = [(*copy, 0) for copy in views_once(views)]
    happened += [(row["time"], row["product"], row["platform"], 1) for row in purchases]
    edges = bucket_edges(start, end, aggregation, zone)
    counts: dict[tuple[int, str, str], Counter[int]] = {}
    for time, product, platform, kind in happened:
        if (
            not start <= time < end
            or (products and product not in products)
            or (platforms and platform not in platforms)
        ):
            continue
        counts.setdefault((bisect_right(edges, time) - 1, platform, product), Counter())[kind] += 1

    if fill:
        pairs = {(platform, product) for _, platform, product in counts}
        pairs |= {(platform, product) for platform in platforms or ALL_PLATFORMS for product in products}
        for bucket in range(len(edges) - 1):
            for platform, product in pairs:
                counts.setdefault((bucket, platform, product), Counter())

    def local(time: datetime) -> str:
        return time.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")

    missing = missing_days(views, published_at, start, end) if detail else {}
    marks = {name: watermark(views, purchases, published_at, name) for name in ALL_PLATFORMS if detail}

    def status(begins: datetime, ends: datetime, platform: str) -> str:
        gaps = [(_midnight(day), _midnight(day + timedelta(days=1))) for day in missing[platform]]
        if ends > end or any(first < ends and begins < last for first, last in gaps):
            return "partial"
        mark = marks[platform]
        return "provisional" if mark is None or int(ends.timestamp()) > int(mark.timestamp()) else "final"

    rows = []
    for (bucket, platform, product), count in sorted(
        counts.items(), key=lambda item: (item[0][0], item[0][1].encode(), item[0][2].encode())
    ):
        row: tuple[str, ...] = (local(edges[bucket]), platform, product, ctr_text(count[0], count[1]))
        if detail:
            begins, ends = edges[bucket], edges[bucket + 1]
            row += (str(count[0]), str(count[1]), local(min(ends, end)), status(begins, ends, platform))
        if ci is not None:
            row += wilson_text(count[0], count[1], ci)
        rows.append(row)
    return rows
