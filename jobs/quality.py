"""Data-quality limits: what a run looks at before it ends. Each finding warns; those in ``fatal_limits`` make it exit 3."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.config import Config
from jobs.decoding.records import Account
from jobs.lake import Lake, Partition
from jobs.schemas import COVERAGE, CTR_DAY

if TYPE_CHECKING:
    from jobs.purchases import Purchases

_WEEK = timedelta(days=7)
_SHOWN = 5
_FEW_PURCHASES = 100
"""Of so few purchases any share may go."""

_AGES = ((1, "0-1 days"), (7, "2-7 days"), (30, "8-30 days"), (365, "31-365 days"))
_OLDEST = "over a year"


@dataclass(frozen=True)
class Finding:
    """A limit that was passed; ``limit`` is one of ``config.LIMITS``."""

    limit: str
    text: str


def check_quality(
    lake: Lake,
    account: Account,
    touched: set[Partition],
    config: Config,
    today: date,
    purchases: Purchases | None = None,
    failed: Sequence[str] = (),
) -> list[Finding]:
    """What of the limits a batch passed: its account, the touched partitions as they are now in the lake, and what is missing.

    Without ``purchases`` the database was not read; ``failed`` are the event files that could not be read, each with the reason.
    """
    rows = {(row["date"], row["platform"]): row for row in lake.read(COVERAGE).to_pylist()}
    found = [
        *_quarantined(account, config),
        *_failed_files(failed),
        *(_purchases_lost(purchases, config) if purchases else ()),
        *(_items_quarantined(purchases, config) if purchases else ()),
        *_few_views(rows, touched, config, today),
        *_platform_behind(rows, config, today),
        *_purchases_without_views(rows, touched),
        *_above_one(lake, touched),
    ]
    return [Finding(limit, text) for limit, text in found]


def quarantined_share(account: Account) -> float:
    """The larger of two shares: quarantined records of all, quarantined events of all product events; 0 to 1."""
    products = account.views + account.quarantined_events
    return max(
        account.quarantined_records / account.records if account.records else 0.0,
        account.quarantined_events / products if products else 0.0,
    )


def by_age(days: Iterable[tuple[date, int]], today: date) -> dict[str, int]:
    """Sums by how old a day is at the day of the run; days in the future count as the youngest."""
    sums: dict[str, int] = defaultdict(int)
    for day, count in days:
        age = (today - day).days
        sums[next((name for limit, name in _AGES if age <= limit), _OLDEST)] += count
    return {name: sums[name] for name in (*(name for _, name in _AGES), _OLDEST) if name in sums}


def _quarantined(account: Account, config: Config) -> Iterator[tuple[str, str]]:
    share = quarantined_share(account)
    if share > config.quarantine_limit:
        yield (
            "quarantined",
            f"{share:.2%} of the records or product events were quarantined, more than quarantine_limit = "
            f"{config.quarantine_limit:.2%}: ./spark-submit.sh status shows the reasons",
        )


def _failed_files(failed: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Of such a file nothing was counted: CTR lacks its views until it can be read."""
    if failed:
        yield (
            "failed_files",
            f"files that could not be read and are tried again by the next run: {len(failed):,}: {_listed(failed)}",
        )


def _purchases_lost(purchases: Purchases, config: Config) -> Iterator[tuple[str, str]]:
    """Purchases that the lake had on a day, and of which the database no longer gives that day: another format, another database.

    They are told by the keys of their items, so that as many others do not hide them.
    """
    held, counts = purchases.counts.get("held", 0), purchases.counts
    lost = purchases.removed.total()
    if held > _FEW_PURCHASES and lost > config.purchases_lost_limit * held:
        devices = sum(counts["other_devices"].values())
        yield (
            "purchases_lost",
            f"{lost:,} of {held:,} purchases are no longer in the database on their day, more than purchases_lost_limit = "
            f"{config.purchases_lost_limit:.0%}: of {counts['items']:,} order items {counts['purchases']:,} are purchases, "
            f"{counts['quarantined']:,} are quarantined ({counts['without_order']:,} without order), {devices:,} of other devices, "
            f"{counts['excluded']:,} excluded; is CTR_PURCHASES_URL the right database?",
        )


def _items_quarantined(purchases: Purchases, config: Config) -> Iterator[tuple[str, str]]:
    items, bad = purchases.counts.get("items", 0), purchases.counts.get("quarantined", 0)
    if items and bad / items > config.quarantine_limit:
        yield (
            "items_quarantined",
            f"{bad / items:.2%} of the order items cannot be used, more than quarantine_limit = {config.quarantine_limit:.2%}: "
            "./spark-submit.sh status shows the reasons",
        )


def _few_views(
    rows: dict[Partition, dict[str, Any]], touched: set[Partition], config: Config, today: date
) -> Iterator[tuple[str, str]]:
    """Days that are over and have few views against the same weekday before."""
    few = []
    for day, platform in sorted(touched):
        before = rows.get((day - _WEEK, platform), {}).get("views", 0)
        now = rows.get((day, platform), {}).get("views", 0)
        if day < today and now < config.views_limit * before:
            few.append(f"{platform} {day} has {now:,} after {before:,} a week before")
    if few:
        yield "few_views", f"days with few views (views_limit = {config.views_limit:g}): {_listed(few)}"


def _platform_behind(rows: dict[Partition, dict[str, Any]], config: Config, today: date) -> Iterator[tuple[str, str]]:
    """Platforms that had views, and have none of the newest days: their files do not come, so they touch nothing.

    They are compared with the other platforms and the purchases, not with the calendar: a lake of old data is not behind. A wrong
    clock's days in the future say nothing.
    """
    newest: dict[str, date] = {}
    last = date.min
    for (day, platform), row in rows.items():
        if day <= today and (row["views"] or row["purchases"]):
            last = max(last, day)
            if row["views"] and platform not in config.retired_platforms:
                newest[platform] = max(newest.get(platform, day), day)
    behind = [
        f"{platform} has views until {day}, the lake has data until {last}"
        for platform, day in sorted(newest.items())
        if config.behind_days and (last - day).days > config.behind_days
    ]
    if behind:
        yield "platform_behind", f"do files not come? (behind_days = {config.behind_days}): {_listed(behind)}"


def _purchases_without_views(
    rows: dict[Partition, dict[str, Any]], touched: set[Partition]
) -> Iterator[tuple[str, str]]:
    """Days with purchases and no view between the first and the last day with views: files are missing."""
    seen: dict[str, list[date]] = defaultdict(list)
    for (day, platform), row in rows.items():
        if row["views"]:
            seen[platform].append(day)
    alone = [
        f"{platform} {day}"
        for day, platform in sorted(touched)
        if rows[day, platform]["purchases"] and not rows[day, platform]["views"]
        if seen[platform] and min(seen[platform]) < day < max(seen[platform])
    ]
    if alone:
        yield "purchases_without_views", f"days with purchases and no view, are files missing?: {_listed(alone)}"


def _above_one(lake: Lake, touched: set[Partition]) -> Iterator[tuple[str, str]]:
    """Products that were bought more often than seen on one day."""
    count, days = 0, []
    for file in lake.files(CTR_DAY, touched) if touched else []:
        path = f"{lake.uri(CTR_DAY)}/{file.path}"
        table = pq.read_table(path, columns=["views", "purchases"], partitioning=None)
        above = pc.and_(pc.greater(table["purchases"], table["views"]), pc.greater(table["views"], 0))
        if found := pc.sum(above).as_py() or 0:
            count += found
            days.append(f"{file.platform} {file.date}")
    if count:
        yield "ctr_above_1", f"products with a CTR above 1 on a day: {count:,}, on {_listed(sorted(days))}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
