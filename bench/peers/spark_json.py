"""Spark's own JSON reader with a schema: views, then minutes, hours and days, all by Delta's writer, in the product's session.

The tables have the partitions and the order of the product's. What that reader cannot give is left out: an account of the
records, the offset of each view, a ledger, a publication.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import reduce
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_JARS = sorted((_ROOT / ".cache" / "jars").glob("*.jar"))
os.environ.setdefault("SPARK_CONF_DIR", str(_ROOT / "conf"))
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
if _JARS:  # as ./spark-submit.sh does: no resolver at the start
    _settings = "--conf spark.jars.packages= --conf spark.jars.excludes="
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"{_settings} --jars {','.join(map(str, _JARS))} pyspark-shell"

# Not at the top: Spark looks at the settings above.
from pyspark.sql import DataFrame, SparkSession  # noqa: E402
from pyspark.sql import functions as F  # noqa: E402

_SCHEMA = """
    message_id string,
    events array<struct<event_type: string, data: struct<event_name: string, timestamp_unixtime_ms: string,
                        custom_attributes: struct<codeColor: string>>>>
"""
_PARTITION = ("date", "platform")
_GRAINS = ("minute", "hour", "day")


def read_views(spark: SparkSession, events: Path) -> DataFrame:
    """Columns date, platform, product, time, message_id, position: every copy of every view."""
    folders = sorted(folder for folder in events.iterdir() if folder.is_dir())
    reader = spark.read.schema(_SCHEMA).option("recursiveFileLookup", "true")
    messages = [reader.json(str(folder)).withColumn("platform", F.lit(folder.name)) for folder in folders]
    event = reduce(DataFrame.unionByName, messages).select(
        "platform", "message_id", F.posexplode("events").alias("position", "event")
    )
    is_view = (F.col("event.event_type") == "custom_event") & (F.col("event.data.event_name") == "product")
    milliseconds = F.floor(F.col("event.data.timestamp_unixtime_ms").cast("double"))
    return (
        event.where(is_view)
        .withColumn("time", F.timestamp_millis(milliseconds))
        .select(
            F.to_date("time").alias("date"),
            "platform",
            F.col("event.data.custom_attributes.codeColor").alias("product"),
            "time",
            "message_id",
            "position",
        )
    )


def once(views: DataFrame) -> DataFrame:
    """Each view once; views without a message id all count."""
    named = views.where(F.col("message_id").isNotNull()).dropDuplicates(["platform", "message_id", "position"])
    return named.unionByName(views.where(F.col("message_id").isNull()))


def write(rows: DataFrame, folder: Path) -> None:
    """Writes a Delta table partitioned by date and platform, each file sorted by product and time."""
    ordered = rows.sortWithinPartitions(*_PARTITION, "product", "time")
    ordered.write.format("delta").partitionBy(*_PARTITION).save(str(folder))


def roll_up(rows: DataFrame, grain: str) -> DataFrame:
    """Sums of ``views`` by a grain."""
    start = F.date_trunc(grain, "time").alias("time")
    return rows.groupBy(*_PARTITION, "product", start).agg(F.sum("views").alias("views"))


def main(events: Path, out: Path) -> None:
    """Writes the four tables, prints the line."""
    began = time.perf_counter()
    spark = SparkSession.builder.appName("ctr peer").getOrCreate()
    write(read_views(spark, events), out / "views")
    counted = once(spark.read.format("delta").load(str(out / "views"))).withColumn("views", F.lit(1))
    for grain in _GRAINS:
        folder = out / ("minutes" if grain == "minute" else f"{grain}s")
        write(roll_up(counted, grain), folder)
        counted = spark.read.format("delta").load(str(folder))
    minutes = spark.read.format("delta").load(str(out / "minutes"))
    total, cells = minutes.agg(F.sum("views"), F.count("*")).first() or (0, 0)
    spark.stop()
    print(json.dumps({"views": total, "cells": cells, "seconds": round(time.perf_counter() - began, 3)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
