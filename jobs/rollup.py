"""Rollups: views and purchases of each product by minute, hour and UTC day, recomputed for the partitions that a run touched.

Only integer counts are kept; a rate is made from their sums by whoever answers a request (design, section 1: CTR).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.datafiles import DataFile, DataFileWriter, file_schema, partition_runs
from jobs.lake import Partition
from jobs.schemas import CTR_DAY, CTR_HOUR, CTR_MINUTE, Table

_RESULT = "kind string, body string"
_TIMES = ("first_view", "last_view", "first_purchase", "last_purchase")


def views_once(views: DataFrame) -> DataFrame:
    """One row a view from the copies of views: date, platform, product, time.

    Copies share platform, date, message_id and position; the one with the smallest (time, product) counts, so that the result does
    not depend on the order of arrival. A view without message_id is always one of its own.
    """
    columns = ["date", "platform", "product", "time"]
    anonymous = views.where(F.col("message_id").isNull()).select(columns)
    named = (
        views.where(F.col("message_id").isNotNull())
        .groupBy("date", "platform", "message_id", "position")
        .agg(F.min(F.struct("time", "product")).alias("kept"))
        .select("date", "platform", F.col("kept.product").alias("product"), F.col("kept.time").alias("time"))
    )
    return anonymous.unionByName(named)


def minute_counts(views: DataFrame, purchases: DataFrame) -> DataFrame:
    """Views and purchases of each (date, platform, product, minute) with their first and last times.

    ``views`` holds each view once; both frames have date, platform, product and time. Counts are 64-bit and never NULL; a first or
    last time is NULL where the count is 0.
    """
    nothing = F.lit(None).cast("timestamp")
    seen = views.select("date", "platform", "product", F.col("time").alias("view"), nothing.alias("purchase"))
    bought = purchases.select("date", "platform", "product", nothing.alias("view"), F.col("time").alias("purchase"))
    return (
        seen.unionByName(bought)
        .withColumn("minute", F.date_trunc("minute", F.coalesce("view", "purchase")))
        .groupBy("date", "platform", "product", F.col("minute").alias("time"))
        .agg(
            F.count("view").alias("views"),
            F.count("purchase").alias("purchases"),
            F.min("view").alias("first_view"),
            F.max("view").alias("last_view"),
            F.min("purchase").alias("first_purchase"),
            F.max("purchase").alias("last_purchase"),
        )
    )


@dataclass
class Rollups:
    """What the recomputation gave: data files by table name, and a ``coverage`` row for each partition that has counts."""

    files: dict[str, list[DataFile]] = field(
        default_factory=lambda: {t.name: [] for t in (CTR_MINUTE, CTR_HOUR, CTR_DAY)}
    )
    coverage: dict[Partition, dict[str, Any]] = field(default_factory=dict)


def write_rollups(minutes: DataFrame, lake: str) -> Rollups:
    """Writes the three rollups of all partitions in ``minutes``: each partition once, by one task, sorted by product and time."""
    rows = (
        minutes.repartition("date", "platform")
        .sortWithinPartitions("date", "platform", "product", "time")
        .mapInArrow(_writer_function(lake), _RESULT)
        .collect()
    )
    result = Rollups()
    for row in rows:
        body = json.loads(row["body"])
        if row["kind"] == "coverage":
            covered = {name: value and datetime.fromisoformat(value) for name, value in body.items() if name in _TIMES}
            day = date.fromisoformat(body["date"])
            result.coverage[day, body["platform"]] = {**body, **covered, "date": day}
        else:
            result.files[row["kind"]].append(DataFile.from_json(body))
    return result


def _writer_function(lake: str) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        results: list[tuple[str, dict[str, Any]]] = []
        current: _PartitionWriter | None = None
        for batch in batches:
            for day, platform, rows in partition_runs(pa.Table.from_batches([batch])):
                if current is None or current.key != (day, platform):
                    results += current.close() if current else []
                    current = _PartitionWriter(lake, day, platform)
                current.write(rows)
        results += current.close() if current else []
        yield pa.RecordBatch.from_pydict(
            {"kind": [kind for kind, _ in results], "body": [json.dumps(body) for _, body in results]},
            schema=pa.schema([("kind", pa.string()), ("body", pa.string())]),
        )

    return run


class _PartitionWriter:
    """Minutes of one partition to three files; minutes stream through, hours and days are few and kept until the end."""

    def __init__(self, lake: str, day: date, platform: str) -> None:
        self.key = (day, platform)
        self._lake = lake
        self._minutes = DataFileWriter(lake, CTR_MINUTE, day, platform)
        self._hours: list[pa.Table] = []
        self._totals: list[pa.Table] = []

    def write(self, rows: pa.Table) -> None:
        self._minutes.write(rows.select(file_schema(CTR_MINUTE).names))
        self._hours.append(_coarser(rows, "hour"))
        self._totals.append(rows.group_by([]).aggregate(_TOTALS).rename_columns([name for _, _, name in _TOTAL_NAMES]))

    def close(self) -> list[tuple[str, dict[str, Any]]]:
        hours = _coarser(pa.concat_tables(self._hours), "hour")
        files = {
            CTR_MINUTE: self._minutes.close(),
            CTR_HOUR: self._write(CTR_HOUR, hours),
            CTR_DAY: self._write(CTR_DAY, _coarser(hours, "day")),
        }
        results = [(table.name, file.to_json()) for table, written in files.items() for file in written]
        return [*results, ("coverage", self._coverage())]

    def _write(self, table: Table, rows: pa.Table) -> list[DataFile]:
        writer = DataFileWriter(self._lake, table, *self.key)
        writer.write(rows.select(file_schema(table).names))
        return writer.close()

    def _coverage(self) -> dict[str, Any]:
        totals = pa.concat_tables(self._totals).group_by([]).aggregate([(name, how) for _, how, name in _TOTAL_NAMES])
        row = totals.rename_columns([name for _, _, name in _TOTAL_NAMES]).to_pylist()[0]
        times = {name: row[name].isoformat() if row[name] else None for name in _TIMES}
        return {**row, **times, "date": self.key[0].isoformat(), "platform": self.key[1]}


_TOTAL_NAMES = [
    ("views", "sum", "views"),
    ("purchases", "sum", "purchases"),
    ("first_view", "min", "first_view"),
    ("last_view", "max", "last_view"),
    ("first_purchase", "min", "first_purchase"),
    ("last_purchase", "max", "last_purchase"),
]
_TOTALS = [(column, how) for column, how, _ in _TOTAL_NAMES]


def _coarser(rows: pa.Table, unit: str) -> pa.Table:
    """Counts by product and hour or day from counts by a finer time, sorted by product and time."""
    cut = rows.select(["product", "views", "purchases"]).append_column(
        "time", pc.floor_temporal(rows["time"], unit=unit)
    )
    summed = cut.group_by(["product", "time"]).aggregate([("views", "sum"), ("purchases", "sum")])
    return summed.rename_columns(["product", "time", "views", "purchases"]).sort_by(
        [("product", "ascending"), ("time", "ascending")]
    )
