"""The answer computed the plain way, from the rows of ``views`` and ``purchases`` alone. Shares no code with the service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from math import floor
from typing import Any
from zoneinfo import ZoneInfo

UTC = timezone.utc


def ctr_text(views: int, purchases: int) -> str:
    """CTR as it has to stand in the answer: half up on the exact fraction, four digits."""
    if views == 0:
        return "null"
    rounded = floor(Fraction(purchases, views) * 10_000 + Fraction(1, 2))
    return f"{rounded // 10_000}.{rounded % 10_000:04}"


def bucket_edges(start: datetime, end: datetime, aggregation: int, zone: str) -> list[datetime]:
    """Starts of the buckets, and the uncut end of the last one; all UTC."""
    edges = [start]
    local = start.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    while edges[-1] < end:
        step = timedelta(minutes=aggregation) * len(edges)
        if zone != "UTC" and aggregation % 1440 == 0:
            edges.append((local + step).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC))
        else:
            edges.append(start + step)
    return edges


def answer(
    views: Iterable[dict[str, Any]],
    purchases: Iterable[dict[str, Any]],
    start: datetime,
    end: datetime,
    aggregation: int,
    products: Iterable[str] = (),
    platforms: Iterable[str] = (),
    zone: str = "UTC",
    detail: bool = False,
) -> list[tuple[str, ...]]:
    """Rows of text: timestamp, platform, product, CTR; with detail also views, purchases, bucketEnd."""
    first: dict[Any, tuple[datetime, str, str]] = {}
    for number, row in enumerate(views):
        copy = (row["time"], row["product"], row["platform"])
        key: Any = (row["platform"], row["date"], row["message_id"], row["position"])
        key = number if row["message_id"] is None else key
        first[key] = min(first.get(key, copy), copy)
    happened = [(*copy, 0) for copy in first.values()]
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
        bucket = max(number for number, edge in enumerate(edges) if edge <= time)
        counts.setdefault((bucket, platform, product), Counter())[kind] += 1

    def local(time: datetime) -> str:
        return time.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")

    rows = []
    for (bucket, platform, product), count in sorted(
        counts.items(), key=lambda item: (item[0][0], item[0][1].encode(), item[0][2].encode())
    ):
        row: tuple[str, ...] = (local(edges[bucket]), platform, product, ctr_text(count[0], count[1]))
        if detail:
            row += (str(count[0]), str(count[1]), local(min(edges[bucket + 1], end)))
        rows.append(row)
    return rows
