"""Rollups: counting each view once, counts by minute, hour and day, coverage."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from chispa import assert_df_equality

from jobs.lake import Lake
from jobs.rollup import minute_counts, views_once, write_rollups
from jobs.schemas import CTR_DAY, CTR_HOUR, CTR_MINUTE, VIEWS
from jobs.session import read_files
from tests.rows import at

pytestmark = pytest.mark.spark

DAY = date(2016, 2, 1)
COUNTED = "date date, platform string, product string, time timestamp"


def view(product="a", time="2016-02-01 12:00:00", message_id="m", position=0, platform="iOS"):
    return (DAY, platform, product, at(time), message_id, position, "file", 0)


def views_frame(spark, *rows):
    schema = (
        "date date, platform string, product string, time timestamp, message_id string, position int, "
        "file_id string, offset bigint"
    )
    return spark.createDataFrame(list(rows), schema)


def counted(spark, *rows):
    return spark.createDataFrame([(DAY, "iOS", product, at(time)) for product, time in rows], COUNTED)


def test_a_message_delivered_twice_counts_once(spark):
    once = views_once(views_frame(spark, view(), view()))
    assert_df_equality(once, counted(spark, ("a", "2016-02-01 12:00:00")), ignore_nullable=True)


def test_positions_and_platforms_of_one_message_are_views_of_their_own(spark):
    once = views_once(views_frame(spark, view(), view(position=1), view(platform="Android")))
    assert once.count() == 3


def test_of_differing_copies_the_smallest_time_then_product_counts_in_any_order(spark):
    copies = [
        view(product="b", time="2016-02-01 12:00:00"),
        view(product="a", time="2016-02-01 12:00:01"),
        view(product="a", time="2016-02-01 12:00:00"),
    ]
    expected = counted(spark, ("a", "2016-02-01 12:00:00"))
    assert_df_equality(views_once(views_frame(spark, *copies)), expected, ignore_nullable=True)
    assert_df_equality(views_once(views_frame(spark, *reversed(copies))), expected, ignore_nullable=True)


def test_views_without_a_message_id_are_all_counted(spark):
    assert views_once(views_frame(spark, view(message_id=None), view(message_id=None))).count() == 2


def test_minutes_count_views_and_purchases_beside_each_other(spark):
    views = counted(spark, ("a", "2016-02-01 12:00:00"), ("a", "2016-02-01 12:00:59"), ("b", "2016-02-01 12:01:00"))
    purchases = counted(spark, ("a", "2016-02-01 12:00:30"), ("c", "2016-02-01 12:00:30"))
    rows = minute_counts(views, purchases).select("product", "time", "views", "purchases").collect()
    assert sorted(map(tuple, rows)) == [
        ("a", at("2016-02-01 12:00:00").replace(tzinfo=None), 2, 1),
        ("b", at("2016-02-01 12:01:00").replace(tzinfo=None), 1, 0),
        ("c", at("2016-02-01 12:00:00").replace(tzinfo=None), 0, 1),
    ]


def test_three_rollups_and_coverage_are_written_sorted_with_equal_sums(spark, tmp_path):
    lake = Lake(str(tmp_path))
    lake.create()
    times = [
        ("b", "2016-02-01 00:00:01"),
        ("a", "2016-02-01 13:59:59.999"),
        ("a", "2016-02-01 14:00:00"),
        ("a", "2016-02-01 14:00:01"),
    ]
    minutes = minute_counts(counted(spark, *times), counted(spark, ("a", "2016-02-01 23:00:00")))
    rollups = write_rollups(minutes, lake.root)
    read = {}
    for table in (CTR_MINUTE, CTR_HOUR, CTR_DAY):
        [file] = rollups.files[table.name]
        assert (file.date, file.platform) == (DAY, "iOS")
        rows = pq.read_table(Path(lake.uri(table)) / file.path, partitioning=None).to_pylist()
        read[table.name] = [(r["product"], f"{r['time']:%H:%M}", r["views"], r["purchases"]) for r in rows]
    assert read["ctr_minute"] == [
        ("a", "13:59", 1, 0),
        ("a", "14:00", 2, 0),
        ("a", "23:00", 0, 1),
        ("b", "00:00", 1, 0),
    ]
    assert read["ctr_hour"] == [("a", "13:00", 1, 0), ("a", "14:00", 2, 0), ("a", "23:00", 0, 1), ("b", "00:00", 1, 0)]
    assert read["ctr_day"] == [("a", "00:00", 3, 1), ("b", "00:00", 1, 0)]
    assert rollups.coverage == {
        (DAY, "iOS"): {
            "date": DAY,
            "platform": "iOS",
            "views": 4,
            "purchases": 1,
            "first_view": at("2016-02-01 00:00:01"),
            "last_view": at("2016-02-01 14:00:01"),
            "first_purchase": at("2016-02-01 23:00:00"),
            "last_purchase": at("2016-02-01 23:00:00"),
        }
    }


def test_no_rows_give_no_files(spark, tmp_path):
    lake = Lake(str(tmp_path))
    lake.create()
    nothing = read_files(spark, lake, VIEWS, [])
    rollups = write_rollups(minute_counts(views_once(nothing), counted(spark)), lake.root)
    assert rollups.coverage == {}
    assert all(not files for files in rollups.files.values())


def test_partitions_do_not_mix(spark, tmp_path):
    lake = Lake(str(tmp_path))
    lake.create()
    rows = [
        (date(2016, 2, day), platform, "a", datetime(2016, 2, day, 5))
        for day in range(1, 6)
        for platform in ("iOS", "Android")
    ]
    rollups = write_rollups(minute_counts(spark.createDataFrame(rows, COUNTED), counted(spark)), lake.root)
    assert sorted(rollups.coverage) == sorted((row[0], row[1]) for row in rows)
    assert sorted((f.date, f.platform) for f in rollups.files["ctr_day"]) == sorted(rollups.coverage)
