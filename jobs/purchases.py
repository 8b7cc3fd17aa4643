"""Purchases: order items joined to their orders, one row an item (design, section 1). Small, and changing: read anew by every run.

Rows whose device is none of the platforms are counted and left out; rows that cannot be used are quarantined; of the ``purchases``
table exactly the (date, platform) partitions whose content differs are replaced.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from itertools import chain
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.config import Config
from jobs.database import asking, read_table
from jobs.datafiles import DataFile, write_partitions
from jobs.lake import Lake, Partition
from jobs.quarantine import files_with, rewrite, row_groups
from jobs.schemas import PURCHASES, QUARANTINE, Table
from jobs.session import read_files

REASONS = {
    "order_date_missing": "the order has no order_date",
    "order_date_not_a_time": "order_date is no local date-time (YYYY-MM-DD HH:MM:SS)",
    "order_date_out_of_range": "order_date lies outside 2000-01-01..2100-01-01 UTC",
    "product_missing": "the order item names no product",
}
"""Why an order item is quarantined."""

_LOCAL_TIME = r"^\s*\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?\s*$"
_RESULT = "kind string, body string"


@dataclass
class Purchases:
    """What a run found in the database against what the lake holds."""

    counts: dict[str, Any] = field(default_factory=dict)
    """``items`` read, ``purchases``, ``excluded``, ``without_order`` and ``quarantined``, and ``other_devices`` by device."""
    changed: set[Partition] = field(default_factory=set)
    adds: list[DataFile] = field(default_factory=list)
    removes: list[DataFile] = field(default_factory=list)
    quarantine: list[DataFile] = field(default_factory=list)
    settled: list[DataFile] = field(default_factory=list)
    """Data files of ``quarantine`` to remove: they hold order items that are not rejected any more."""
    unsettled: list[DataFile] = field(default_factory=list)
    """What is left of them, to add."""

    @property
    def rejects_changed(self) -> bool:
        """Whether order items come to the quarantine or leave it."""
        return bool(self.quarantine or self.settled)


def read_purchases(spark: SparkSession, config: Config, lake: Lake, batch: int, today: date) -> Purchases:
    """Reads the database, compares it with the lake's newest ``purchases``, and writes data files for what differs.

    Nothing is committed. Raises:
        JobError: the database cannot be read.
    """
    first = today - timedelta(days=config.purchases_days) if config.purchases_days else None
    items = classify(*_read_both(spark, config, first), config)
    if first is not None:  # an item without its order: the order lies outside the window
        items = items.where(F.col("kind") != "without_order")
    items = items.persist()
    try:
        result = Purchases(counts=asking(config, lambda: _count(items)))
        new = to_purchases(items)
        sold = lake.files(PURCHASES)
        old = read_files(spark, lake, PURCHASES, sold)
        if first is not None:
            new, old = (rows.where(F.col("date") > F.lit(first)) for rows in (new, old))
        result.changed = changed_partitions(new, old)
        if result.changed:
            result.adds = _write(_only(new, result.changed), lake, PURCHASES, ["product", "time"])
        result.removes = [file for file in sold if (file.date, file.platform) in result.changed]
        held = files_with(lake, PURCHASES.name)
        if held or result.counts["quarantined"]:
            known = read_files(spark, lake, QUARANTINE, held).where(F.col("source") == PURCHASES.name)
            rejects = to_quarantine(items, batch, today)
            new_rejects = rejects.join(known.select("raw", "reason"), ["raw", "reason"], how="left_anti")
            result.quarantine = _write(new_rejects.select(QUARANTINE.columns), lake, QUARANTINE, ["reason"])
            settled = known.join(rejects.select("raw", "reason"), ["raw", "reason"], how="left_anti")
            if first is not None:  # of what lies outside the window nothing is known
                settled = settled.join(items.select(_detail().alias("detail")), "detail", how="left_semi")
            result.settled, result.unsettled = _without(lake, held, settled)
        return result
    finally:
        items.unpersist()


def _read_both(spark: SparkSession, config: Config, first: date | None) -> tuple[DataFrame, DataFrame]:
    names = config.columns
    # A day of slack on the side of the past: order_date is local, the lake's dates are UTC.
    since = f"{{order_date}} >= '{first - timedelta(days=1)}' or {{order_date}} is null" if first else None
    orders = read_table(
        spark,
        config,
        config.orders_table,
        {
            "order_id": names.order_id,
            "order_date": names.order_date,
            "status": names.order_status,
            "device": names.order_device,
        },
        since,
    )
    items = read_table(
        spark,
        config,
        config.order_items_table,
        {"item_id": names.item_id, "item_order_id": names.item_order_id, "product": names.item_product},
    )
    return orders, items


def classify(orders: DataFrame, items: DataFrame, config: Config) -> DataFrame:
    """Each order item with its order, ``platform``, ``time`` (UTC) and ``kind``: what becomes of it.

    Kinds: ``purchase``, ``excluded`` (by status), ``other_device``, ``without_order``, or one of ``REASONS``.
    """
    joined = items.join(orders, F.col("item_order_id") == F.col("order_id"), how="left")
    local = F.when(F.col("order_date").rlike(_LOCAL_TIME), F.expr("try_cast(trim(order_date) as timestamp_ntz)"))
    utc = F.convert_timezone(F.lit(config.orders_timezone), F.lit("UTC"), local).cast("timestamp")
    excluded = [status.lower() for status in config.excluded_statuses]
    return (
        joined.withColumn("platform", _platform(config))
        .withColumn("time", utc)
        .withColumn(
            "kind",
            F.when(F.col("order_id").isNull(), "without_order")
            .when(F.col("platform").isNull(), "other_device")
            .when(F.lower(F.trim("status")).isin(excluded), "excluded")
            .when(F.col("order_date").isNull(), "order_date_missing")
            .when(F.col("time").isNull(), "order_date_not_a_time")
            .when(_outside(F.col("time")), "order_date_out_of_range")
            .when(F.coalesce(F.trim("product"), F.lit("")) == "", "product_missing")
            .otherwise("purchase"),
        )
    )


def to_purchases(items: DataFrame) -> DataFrame:
    """Rows of the ``purchases`` table from classified items."""
    return items.where(F.col("kind") == "purchase").withColumn("date", F.to_date("time")).select(PURCHASES.columns)


def to_quarantine(items: DataFrame, batch: int, today: date) -> DataFrame:
    """Rows of the ``quarantine`` table from classified items; ``raw`` is the row as JSON text."""
    raw = F.to_json(F.struct("order_id", "item_id", "order_date", "status", "device", "product"))
    empty = F.lit(None)
    return (
        items.where(F.col("kind").isin(list(REASONS)))
        .withColumn("raw", raw.cast("binary"))
        .select(
            F.lit(today).alias("date"),
            "platform",
            F.lit("purchases").alias("source"),
            F.col("kind").alias("reason"),
            _detail().alias("detail"),
            empty.cast("string").alias("file_id"),
            empty.cast("bigint").alias("offset"),
            empty.cast("int").alias("position"),
            "raw",
            F.length("raw").cast("bigint").alias("raw_bytes"),
            F.lit(batch).cast("bigint").alias("batch"),
        )
    )


def _detail() -> Column:
    return F.concat(F.lit("order "), F.col("order_id"), F.lit(", item "), F.col("item_id"))


def _without(lake: Lake, held: list[DataFile], settled: DataFrame) -> tuple[list[DataFile], list[DataFile]]:
    """Data files of the quarantine that hold rows of ``settled``, and what is written of them without these rows."""
    gone = {(bytes(row["raw"]), row["reason"]) for row in settled.select("raw", "reason").collect()}
    removes: list[DataFile] = []
    adds: list[DataFile] = []
    for file in held if gone else []:
        numbers = {
            first + index
            for first, rows in row_groups(lake, file, ["source", "raw", "reason"])
            for index, row in enumerate(zip(*(column.to_pylist() for column in rows.columns), strict=True))
            if row[0] == PURCHASES.name and row[1:] in gone
        }
        if numbers:
            removes.append(file)
            adds += rewrite(lake, file, numbers, {})
    return removes, adds


def changed_partitions(new: DataFrame, old: DataFrame) -> set[Partition]:
    """The (date, platform) whose set of rows differs between two frames of ``purchases``."""
    wanted, held = _fingerprints(new), _fingerprints(old)
    return {key for key in {*wanted, *held} if wanted.get(key) != held.get(key)}


def _fingerprints(rows: DataFrame) -> dict[Partition, tuple[object, ...]]:
    """A value for the rows of each partition that does not depend on their order: their number and two sums of hashes."""
    columns = [F.col(name) for name in PURCHASES.columns]
    hashes = (F.xxhash64(*columns), F.xxhash64(F.lit("second"), *columns))
    sums = [F.sum(value.cast("decimal(20,0)")) for value in hashes]
    found = rows.groupBy("date", "platform").agg(F.count(F.lit(1)), *sums).collect()
    return {(row[0], row[1]): tuple(row[2:]) for row in found}


def _platform(config: Config) -> Column:
    aliases = [(alias.lower(), platform) for platform, names in config.device_aliases.items() for alias in names]
    table = F.create_map(*[F.lit(text) for text in chain.from_iterable(aliases)])
    return F.try_element_at(table, F.coalesce(F.lower(F.trim("device")), F.lit("")))


def _outside(time: Column) -> Column:
    return (time < F.lit(datetime(2000, 1, 1, tzinfo=timezone.utc))) | (
        time >= F.lit(datetime(2100, 1, 1, tzinfo=timezone.utc))
    )


def _count(items: DataFrame) -> dict[str, Any]:
    device = F.when(F.col("kind") == "other_device", F.coalesce("device", F.lit("(none)")))
    counted = items.groupBy("kind", device.alias("device")).count().collect()
    by_kind: dict[str, int] = {}
    for row in counted:
        by_kind[row["kind"]] = by_kind.get(row["kind"], 0) + row["count"]
    return {
        "items": sum(by_kind.values()),
        "purchases": by_kind.get("purchase", 0),
        "excluded": by_kind.get("excluded", 0),
        "without_order": by_kind.get("without_order", 0),
        "quarantined": sum(by_kind.get(reason, 0) for reason in REASONS),
        "other_devices": {row["device"]: row["count"] for row in counted if row["device"] is not None},
    }


def _only(rows: DataFrame, partitions: set[Partition]) -> DataFrame:
    keys = rows.sparkSession.createDataFrame(sorted(partitions), "date date, platform string")
    return rows.join(F.broadcast(keys), ["date", "platform"], how="left_semi")


def _write(rows: DataFrame, lake: Lake, table: Table, sort: list[str]) -> list[DataFile]:
    """Writes a small frame as data files, each partition by one task."""
    function = _writer_function(lake.root, table, sort)
    written = rows.repartition("date", "platform").mapInArrow(function, _RESULT).collect()
    return [DataFile.from_json(json.loads(row["body"])) for row in written]


def _writer_function(
    root: str, table: Table, sort: list[str]
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held = list(batches)
        if held:
            rows = pa.Table.from_batches(held).cast(table.schema)
            files = write_partitions(root, table, rows, sort)
            yield pa.RecordBatch.from_pydict(
                {"kind": [table.name] * len(files), "body": [json.dumps(file.to_json()) for file in files]}
            )

    return run
