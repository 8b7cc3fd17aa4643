"""The answer of a CTR request, computed in plain Python over raw event files and CSVs: what the product must equal.

It shares no code with the product and takes no short cuts: the standard library's json and csv, one list in memory.
Sources of the rules: design.md, sections 1 and 2; case.md, Part I.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zipfile
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from math import floor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

PLATFORM_OF_FOLDER = {"android": "Android", "ios": "iOS", "mobileweb": "MobileWeb"}
PLATFORM_OF_DEVICE = {
    "ios": "iOS",
    "iphone": "iOS",
    "ipad": "iOS",
    "android": "Android",
    "mobileweb": "MobileWeb",
    "mobile_web": "MobileWeb",
    "mobile web": "MobileWeb",
    "mobile-web": "MobileWeb",
}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FIRST_MS = (datetime(2000, 1, 1, tzinfo=timezone.utc) - EPOCH) // timedelta(milliseconds=1)
LAST_MS = (datetime(2100, 1, 1, tzinfo=timezone.utc) - EPOCH) // timedelta(milliseconds=1)


class Fact(NamedTuple):
    """One view or one purchase; the time is UTC."""

    time: datetime
    platform: str
    product: str


@dataclass(frozen=True)
class Oracle:
    """All views (each once) and all purchases, sorted by time."""

    views: list[Fact]
    purchases: list[Fact]

    @classmethod
    def load(
        cls,
        events_root: str | Path,
        orders_csv: str | Path | None,
        order_items_csv: str | Path | None,
        orders_timezone: str = "UTC",
        excluded_statuses: Collection[str] = (),
    ) -> Oracle:
        """Reads the event folders (or a ZIP of them) and the two CSV files; without the CSVs there is no purchase."""
        purchases: list[Fact] = []
        if orders_csv and order_items_csv:
            purchases = _purchases(Path(orders_csv), Path(order_items_csv), orders_timezone, excluded_statuses)
        return cls(sorted(_views(Path(events_root))), sorted(purchases))

    def ctr(
        self,
        start: str | datetime,
        end: str | datetime,
        aggregation: int,
        products: Collection[str] | None = None,
        platforms: Collection[str] | None = None,
        timezone: str = "UTC",
        detail: bool = False,
    ) -> list[dict[str, Any]]:
        """Rows of the answer in order, CTR as text of exactly four digits or None.

        Naive times are of ``timezone`` and the answer is written in it. Multiples of 1440 minutes are calendar days
        of ``timezone``; other aggregations are elapsed minutes.
        """
        zone = ZoneInfo(timezone)
        edges = _edges(_instant(start, zone), _instant(end, zone), aggregation, zone)

        def count(facts: list[Fact]) -> Counter[tuple[int, str, str]]:
            counts: Counter[tuple[int, str, str]] = Counter()
            first, last = (bisect_left(facts, (edge,)) for edge in (edges[0], edges[-1]))
            bucket = 0
            for fact in facts[first:last]:
                while fact.time >= edges[bucket + 1]:
                    bucket += 1
                if (products is None or fact.product in products) and (platforms is None or fact.platform in platforms):
                    counts[bucket, fact.platform, fact.product] += 1
            return counts

        views, purchases = count(self.views), count(self.purchases)
        rows = []
        for bucket, platform, product in sorted(views.keys() | purchases.keys()):
            key = bucket, platform, product
            row: dict[str, Any] = {
                "timestamp": _written(edges[bucket], zone),
                "platform": platform,
                "product": product,
                "CTR": ratio(purchases[key], views[key]),
            }
            if detail:
                row |= {
                    "views": views[key],
                    "purchases": purchases[key],
                    "bucketEnd": _written(edges[bucket + 1], zone),
                }
            rows.append(row)
        return rows


def ratio(purchases: int, views: int) -> str | None:
    """Purchases / views rounded half-up on the exact fraction, as text of exactly four digits; None without views."""
    if views == 0:
        return None
    ten_thousandths = floor(Fraction(purchases * 10_000, views) + Fraction(1, 2))
    return f"{ten_thousandths // 10_000}.{ten_thousandths % 10_000:04d}"


# Time


def _instant(value: str | datetime, zone: ZoneInfo) -> datetime:
    """UTC; a local time that exists twice is the first, one that does not exist counts on from before the gap."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(timezone.utc)


def _written(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def _edges(start: datetime, end: datetime, aggregation: int, zone: ZoneInfo) -> list[datetime]:
    """Starts of all buckets and the end of the last, in UTC."""
    local = start.astimezone(zone).replace(tzinfo=None)
    edges = [start]
    while edges[-1] < end:
        step = timedelta(minutes=aggregation * len(edges))
        edges.append(min(end, _instant(local + step, zone) if aggregation % 1440 == 0 else start + step))
    return edges


# Views


def _views(root: Path) -> Iterator[Fact]:
    """Every view once; of several copies the smallest (time, product) counts (design.md, One view once)."""
    once: dict[tuple[Any, ...], Fact] = {}
    seen: set[tuple[str, bytes]] = set()
    for path, content in _files(root):
        platform = PLATFORM_OF_FOLDER.get(path.parts[0].lower()) if len(path.parts) > 1 else None
        if platform is None or (platform, content) in seen:
            continue
        seen.add((platform, content))
        for message in _records(_unpacked(content)):
            for position, time, product in _product_events(message):
                fact = Fact(time, platform, product)
                if message["message_id"] is None:
                    yield fact
                    continue
                key = platform, time.date(), message["message_id"], position
                once[key] = min(fact, once.get(key, fact))
    yield from once.values()


def _files(root: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Path below the root and bytes of every file; a ZIP stands for the folder that it lies in."""
    for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
        if not file.is_file():
            continue
        path = PurePosixPath(file.relative_to(root).as_posix())
        if not zipfile.is_zipfile(file):
            yield path, file.read_bytes()
            continue
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    yield path.parent / member.filename, archive.read(member)


def _unpacked(content: bytes) -> str:
    """The text of a file, none of a file that cannot be read to its end; bytes that are no UTF-8 stay recognisable."""
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error):
            return ""
    return content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


_OPENING = r'\{\s*"(?:events|mpid|batch_id|message_id|message_type|schema_version)"'
"""How a message begins and nothing in it does (case.md: the structure of the JSON)."""
_JSON = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse)


def _records(text: str) -> Iterator[dict[str, Any]]:
    """Messages of a file of any layout; what is no message is passed over."""
    indent = re.search(r"(?:^|\n)?([ \t]*)\{", text)
    if not indent:
        return
    restart = re.compile(rf"(?<=\n){indent[1]}\{{|{_OPENING}")
    lines = [line for line in text.split("\n") if line.strip()]
    whole = sum(line.lstrip().startswith("{") and line.rstrip().endswith("}") for line in lines)
    for piece in lines if whole * 2 > len(lines) else [re.sub(r"^\s*\[", "", text)]:
        yield from _objects(piece, restart)


def _objects(text: str, restart: re.Pattern[str]) -> Iterator[dict[str, Any]]:
    """Messages that stand one after another, with or without commas; after damage goes on at the next ``restart``."""
    at = 0
    while at < len(text):
        if text[at] in " \t\r\n,]":
            at += 1
            continue
        try:
            value, end = _JSON.raw_decode(text, at)
            text[at:end].encode()
        except (ValueError, RecursionError):
            following = restart.search(text, at + 1)
            if following is None:
                return
            at = following.start()
            continue
        at = end
        if isinstance(value, dict) and _is_message(value):
            yield value


def _is_message(record: dict[str, Any]) -> bool:
    """Whether the record is usable as a whole; its message_id becomes text or None."""
    message_id = record.setdefault("message_id", None)
    if isinstance(message_id, Decimal):
        message_id = str(message_id)
    record["message_id"] = message_id or None
    return isinstance(message_id, str | None) and isinstance(record.get("events"), list)


def _product_events(message: dict[str, Any]) -> Iterator[tuple[int, datetime, str]]:
    """Position, time and product of each usable product event (design.md, View)."""
    for position, event in enumerate(message["events"]):
        try:
            if event["event_type"] != "custom_event" or event["data"]["event_name"] != "product":
                continue
            product = event["data"]["custom_attributes"]["codeColor"]
            ms = _milliseconds(event["data"]["timestamp_unixtime_ms"])
        except (KeyError, TypeError, ValueError):
            continue
        if isinstance(product, str) and product.strip() and _is_text(product):
            yield position, EPOCH + timedelta(milliseconds=ms), product


def _milliseconds(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]+(\.[0-9]+)?\s*", value):
        value = Decimal(value.strip())
    if not isinstance(value, Decimal) or not FIRST_MS <= value < LAST_MS:
        raise ValueError("no time of 2000-01-01..2100-01-01")
    return floor(value)


def _is_text(value: str) -> bool:
    """Whether UTF-8 can hold it: half of a surrogate pair it cannot."""
    return not re.search("[\ud800-\udfff]", value)


# Purchases


def _purchases(
    orders_csv: Path, order_items_csv: Path, orders_timezone: str, excluded_statuses: Collection[str]
) -> list[Fact]:
    """One purchase for each order item of an order from one of the platforms (design.md, Purchase)."""
    zone = ZoneInfo(orders_timezone)
    excluded = {status.lower() for status in excluded_statuses}
    orders: dict[str, tuple[datetime, str]] = {}
    for order in _rows(orders_csv):
        platform = PLATFORM_OF_DEVICE.get(_either(order, "device", "device_type").lower())
        if platform and _either(order, "status", "order_status").lower() not in excluded:
            orders[order["id"]] = _instant(order["order_date"], zone), platform
    items = [item for item in _rows(order_items_csv) if item["order_id"] in orders and item["code_color"].strip()]
    return [Fact(*orders[item["order_id"]], item["code_color"]) for item in items]


def _rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"))))


def _either(row: dict[str, str], *names: str) -> str:
    return next(row[name] for name in names if name in row)
