"""Purchases: order items joined to their orders, one row an item (design, section 1). Small, and changing: read anew by every run.

Rows whose device is none of the platforms are counted and left out; rows that cannot be used are quarantined; of the ``purchases``
table exactly the (date, platform) partitions whose content differs are replaced. Spark reads, joins, and sorts by partition;
``jobs.compare`` runs on its workers, ``jobs.settle`` looks after the quarantine.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from functools import partial
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import inheritable_thread_target
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.compare import ITEM, ORDER_MISSING, OTHER_DEVICE, PURCHASE, Compared, Held, compare_in_arrow, read_items
from jobs.config import Config
from jobs.database import as_text, asking, count_repeated, find_columns, read_columns
from jobs.datafiles import DataFile
from jobs.lake import Lake, Partition
from jobs.replace import rewrite_without_items
from jobs.schemas import PURCHASES
from jobs.settle import Settled, settle

REASONS = {
    ORDER_MISSING: "the order item's order_id is that of no order",
    "order_date_missing": "the order has no order_date",
    "order_date_not_a_time": "order_date is no local date-time (YYYY-MM-DD HH:MM:SS)",
    "order_date_out_of_range": "order_date lies outside 2000-01-01..2100-01-01 UTC",
    "product_missing": "the order item names no product",
}
"""Why an order item is quarantined."""

_LOCAL_TIME = r"^\s*\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?\s*$"
_SPREAD = 64
"""Tasks among which items without a partition are spread."""


@dataclass
class Purchases:
    """What a run found in the database against what the lake holds."""

    counts: dict[str, Any] = field(default_factory=dict)
    """``items`` read, ``purchases``, ``excluded`` and ``quarantined``, ``other_devices`` by device, ``without_order``: how many of
    the quarantined have no order, ``duplicate_orders``: rows of orders whose id another row has already, and ``held``: purchases in
    the lake before."""
    changed: set[Partition] = field(default_factory=set)
    added: Counter[Partition] = field(default_factory=Counter)
    """Of changed partitions, the items that the lake did not hold there."""
    removed: Counter[Partition] = field(default_factory=Counter)
    """Of changed partitions, the items that the lake held there and the database no longer gives there."""
    adds: list[DataFile] = field(default_factory=list)
    removes: list[DataFile] = field(default_factory=list)
    rejects: Settled = field(default_factory=Settled)


def read_purchases(spark: SparkSession, config: Config, lake: Lake, batch: int, today: date) -> Purchases:
    """Reads the database, compares it with the lake's newest ``purchases``, and writes data files for what differs.

    Nothing is committed. Raises:
        JobError: the database cannot be read.
    """
    first = today - timedelta(days=config.purchases_days) if config.purchases_days else None
    held: dict[Partition, list[DataFile]] = defaultdict(list)
    older: list[DataFile] = []
    for file in lake.files(PURCHASES):
        if first is None or file.date > first:
            held[file.date, file.platform].append(file)
        else:
            older.append(file)
    tables = _find_tables(spark, config, first)
    with ThreadPoolExecutor(1) as pool:  # the database counts while Spark plans
        count = inheritable_thread_target(spark)(count_repeated)
        duplicates = pool.submit(count, spark, config, config.orders_table, tables.order["order_id"], tables.since)
        items = to_items(classify(*tables.read(spark, config), config), first)
        function = partial(compare_in_arrow, held=Held(lake.root, dict(held), batch, today))
        rows = asking(config, lambda: _by_partition(items).mapInArrow(function, "body string").collect())
    compared = Compared()
    for row in rows:
        compared.add(json.loads(row["body"]))
    vanished = held.keys() - compared.same - compared.changed
    changed = compared.changed | vanished
    for key in vanished:
        compared.removed[key] = sum(file.rows for file in held[key])
    removes = [file for key in changed & held.keys() for file in held[key]]
    arrived = _arrived(lake, compared.adds, removes) if first else read_items(lake.root, [])
    # What has moved to a day in the window is still held at its old one.
    kept, left = rewrite_without_items(lake, older, arrived) if older else ([], [])
    for file in left:
        compared.removed[file.date, file.platform] += file.rows
    for file in kept:
        compared.removed[file.date, file.platform] -= file.rows
    return Purchases(
        counts={
            **_counts(compared),
            "duplicate_orders": duplicates.result(),
            "held": sum(file.rows for files in held.values() for file in files),
        },
        changed=changed | {(file.date, file.platform) for file in left},
        added=compared.added,
        removed=compared.removed,
        adds=[*compared.adds, *kept],
        removes=[*removes, *left],
        rejects=settle(lake, compared.rejects, first, arrived),
    )


def _arrived(lake: Lake, adds: list[DataFile], removes: list[DataFile]) -> pa.Array:
    """The items that the one data files have and the others have not, by their ids."""
    new, known = (read_items(lake.root, files) for files in (adds, removes))
    return new.filter(pc.invert(pc.is_in(new, value_set=known)))


@dataclass(frozen=True)
class _Tables:
    """The columns of both tables, and, as SQL, which rows of them are wanted (None: all)."""

    order: dict[str, str]
    item: dict[str, str]
    since: str | None = None
    within: str | None = None

    def read(self, spark: SparkSession, config: Config) -> tuple[DataFrame, DataFrame]:
        """Orders and order items."""
        return (
            read_columns(spark, config, config.orders_table, self.order, self.since),
            read_columns(spark, config, config.order_items_table, self.item, self.within),
        )


def _find_tables(spark: SparkSession, config: Config, first: date | None) -> _Tables:
    """With a first day only orders from then on or without a day, and their items."""
    names = config.columns
    orders = {
        "order_id": names.order_id,
        "order_date": names.order_date,
        "status": names.order_status,
        "device": names.order_device,
    }
    items = {"item_id": names.item_id, "item_order_id": names.item_order_id, "product": names.item_product}
    order = find_columns(spark, config, config.orders_table, orders)
    item = find_columns(spark, config, config.order_items_table, items)
    if first is None:
        return _Tables(order, item)
    # A day of slack on the side of the past: order_date is local, the lake's dates are UTC.
    since = f"{order['order_date']} >= '{first - timedelta(days=1)}' or {order['order_date']} is null"
    of_order, own = as_text(config, item["item_order_id"]), as_text(config, order["order_id"])
    within = f"{of_order} in (select {own} from {config.orders_table} where {since})"
    return _Tables(order, item, since, within)


def classify(orders: DataFrame, items: DataFrame, config: Config) -> DataFrame:
    """Each order item with its order, ``platform``, ``time`` (UTC) and ``kind``: what becomes of it.

    Kinds: ``purchase``, ``excluded`` (by status), ``other_device``, or one of ``REASONS``.
    """
    joined = items.join(each_once(orders), F.col("item_order_id") == F.col("order_id"), how="left")
    local = F.when(F.col("order_date").rlike(_LOCAL_TIME), F.expr("try_cast(trim(order_date) as timestamp_ntz)"))
    utc = F.convert_timezone(F.lit(config.orders_timezone), F.lit("UTC"), local).cast("timestamp")
    excluded = [status.lower() for status in config.excluded_statuses]
    return (
        joined.withColumn("platform", _platform(config))
        .withColumn("time", utc)
        .withColumn(
            "kind",
            F.when(F.col("order_id").isNull(), ORDER_MISSING)
            .when(F.col("platform").isNull(), OTHER_DEVICE)
            .when(F.lower(F.trim("status")).isin(excluded), "excluded")
            .when(F.col("order_date").isNull(), "order_date_missing")
            .when(F.col("time").isNull(), "order_date_not_a_time")
            .when(_outside(F.col("time")), "order_date_out_of_range")
            .when(F.coalesce(F.trim("product"), F.lit("")) == "", "product_missing")
            .otherwise(PURCHASE),
        )
    )


def each_once(orders: DataFrame) -> DataFrame:
    """Each order id once, so that an item stays one purchase: the row with the largest (order_date, status, device) counts.

    That is the newest, as texts: if a window of days has one of several rows, it has the one that a read of all of them takes.
    """
    largest = F.max(F.struct("order_date", "status", "device"))
    # Shuffled first, or Spark would sort before it, too, to find rows of an id that are nearly never there.
    return orders.repartition("order_id").groupBy("order_id").agg(largest.alias("row")).select("order_id", "row.*")


def to_items(items: DataFrame, first: date | None) -> DataFrame:
    """Classified items with the columns of ``jobs.compare.ITEM``; purchases up to the day ``first`` are only counted.

    With a first day an item without its order is left out: the order left the window between two readings.
    """
    if first is not None:
        items = items.filter(F.col("kind") != ORDER_MISSING)
    date = F.when(F.col("kind") == PURCHASE, F.to_date("time"))
    compared = date if first is None else F.when(date > F.lit(first), date)
    rejected = F.col("kind").isin(list(REASONS))
    order_id = F.col("item_order_id").alias("order_id")  # the order's own, where there is one
    raw = F.to_json(F.struct(order_id, "item_id", "order_date", "status", "device", "product")).cast("binary")
    named = F.coalesce("item_order_id", F.lit("(none)"))
    detail = F.concat(F.lit("order "), named, F.lit(", item "), F.col("item_id"))
    columns = {"date": compared, "raw": F.when(rejected, raw), "detail": F.when(rejected, detail)}
    return items.withColumns(columns).select(*ITEM)


def _by_partition(items: DataFrame) -> DataFrame:
    """Items so that a task has all rows of a partition, one partition after another; what is in none is spread."""
    spread = F.when(F.col("date").isNull(), F.pmod(F.xxhash64("item_id"), F.lit(_SPREAD)))
    return items.repartition("date", "platform", spread).sortWithinPartitions("date", "platform")


def _counts(compared: Compared) -> dict[str, Any]:
    kinds = compared.kinds
    return {
        "items": kinds.total(),
        "purchases": kinds[PURCHASE],
        "excluded": kinds["excluded"],
        "quarantined": sum(kinds[reason] for reason in REASONS),
        "without_order": kinds[ORDER_MISSING],
        "other_devices": dict(compared.devices),
    }


def _platform(config: Config) -> Column:
    table = F.create_map(*[F.lit(text) for text in chain.from_iterable(config.platform_of_device.items())])
    return F.try_element_at(table, F.coalesce(F.lower(F.trim("device")), F.lit("")))


def _outside(time: Column) -> Column:
    return (time < F.lit(datetime(2000, 1, 1, tzinfo=timezone.utc))) | (
        time >= F.lit(datetime(2100, 1, 1, tzinfo=timezone.utc))
    )
