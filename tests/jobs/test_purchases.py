"""Purchases from a real SQLite file by JDBC: types, time zones, devices, statuses, rejects, changed partitions."""

from __future__ import annotations

import sqlite3
from datetime import date

import pyarrow.parquet as pq
import pytest
from chispa import assert_df_equality

from jobs.config import Config
from jobs.errors import JobError
from jobs.lake import Lake
from jobs.purchases import classify, read_purchases
from jobs.schemas import PURCHASES, QUARANTINE
from jobs.settle import Settled
from tests.jobs.lakes import add, reject
from tests.rows import at

pytestmark = [pytest.mark.spark, pytest.mark.slow]

TODAY = date(2016, 2, 10)


class Shop:
    """A purchase database, a lake, and one way to read the one into the other."""

    def __init__(self, path, status="status", device="device"):
        self.file = path / "shop.db"
        self.lake = Lake(str(path / "lake"))
        self.lake.create()
        self.batch = 0
        self.run(f"create table orders (id integer primary key, order_date timestamp, {status} text, {device} text)")
        self.run(
            "create table order_items (id integer primary key, order_id integer, code_color text, quantity integer)"
        )

    def run(self, sql, *values):
        with sqlite3.connect(self.file) as connection:
            connection.execute(sql, values)
        connection.close()

    def order(self, number, *products, time="2016-02-01 12:00:00", status="paid", device="iOS"):
        self.run("insert into orders values (?, ?, ?, ?)", number, time, status, device)
        for index, product in enumerate(products):
            self.run("insert into order_items values (?, ?, ?, 2)", number * 10 + index, number, product)

    def config(self, **settings):
        return Config(events="-", lake=self.lake.root, purchases_url=f"jdbc:sqlite:{self.file}", **settings)

    def read(self, spark, **settings):
        """Reads and commits, as a run does."""
        self.batch += 1
        found = read_purchases(spark, self.config(**settings), self.lake, self.batch, TODAY)
        self.lake.commit(PURCHASES, self.batch, found.adds, found.removes)
        self.lake.commit(QUARANTINE, self.batch, [*found.rejects.new, *found.rejects.rest], found.rejects.removes)
        return found

    def rows(self):
        table = self.lake.read(PURCHASES)
        return sorted(table.to_pylist(), key=lambda row: row["item_id"])


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def test_each_order_item_gets_its_order_and_a_kind(spark, shop):
    orders = spark.createDataFrame(
        [("1", "2016-02-01 12:00:00", "paid", "iPhone"), ("2", "2016-02-01", "lost", "Desktop")],
        "order_id string, order_date string, status string, device string",
    )
    items = spark.createDataFrame(
        [("10", "1", "a"), ("20", "2", "a"), ("30", "3", "a")], "item_id string, item_order_id string, product string"
    )
    expected = spark.createDataFrame(
        [
            ("10", "iOS", at("2016-02-01 12:00:00"), "purchase"),
            ("20", None, at("2016-02-01 00:00:00"), "other_device"),
            ("30", None, None, "order_missing"),
        ],
        "item_id string, platform string, time timestamp, kind string",
    )
    found = classify(orders, items, shop.config()).select(expected.columns)
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


def test_one_row_an_item_with_keys_beyond_32_bits_and_no_multiplied_quantity(spark, shop):
    shop.order(3000000000, "a", "b", time="2016-02-01 23:59:59")
    shop.read(spark)
    row = {
        "date": date(2016, 2, 1),
        "platform": "iOS",
        "time": at("2016-02-01 23:59:59"),
        "order_id": "3000000000",
        "device": "iOS",
        "status": "paid",
    }
    assert shop.rows() == [
        {**row, "product": "a", "item_id": "30000000000"},
        {**row, "product": "b", "item_id": "30000000001"},
    ]


def test_order_dates_are_local_in_the_configured_zone(spark, shop):
    shop.order(1, "a", time="2016-02-01 23:30:00")
    shop.order(2, "a", time="2016-02-21T23:30:00.250")
    shop.read(spark, orders_timezone="America/Sao_Paulo")
    assert [row["time"] for row in shop.rows()] == [at("2016-02-02 01:30:00"), at("2016-02-22 02:30:00.250")]
    assert [row["date"] for row in shop.rows()] == [date(2016, 2, 2), date(2016, 2, 22)]


def test_an_hour_that_comes_twice_is_the_first_and_one_that_is_left_out_moves_on(spark, shop):
    shop.order(1, "a", time="2016-02-20 23:30:00")  # the clock goes back from midnight to 23:00
    shop.order(2, "a", time="2015-10-18 00:30:00")  # the clock goes from midnight to 01:00
    shop.read(spark, orders_timezone="America/Sao_Paulo")
    assert [row["time"] for row in shop.rows()] == [at("2016-02-21 01:30:00"), at("2015-10-18 03:30:00")]


def test_devices_map_to_platforms_in_any_case_and_others_are_counted(spark, shop):
    for number, device in enumerate(["IPHONE", " android ", "Mobile Web", "Desktop", "Desktop", None], start=1):
        shop.order(number, "a", device=device)
    found = shop.read(spark)
    assert [row["platform"] for row in shop.rows()] == ["iOS", "Android", "MobileWeb"]
    assert found.counts == {
        "items": 6,
        "purchases": 3,
        "excluded": 0,
        "without_order": 0,
        "quarantined": 0,
        "other_devices": {"Desktop": 2, "(none)": 1},
        "duplicate_orders": 0,
        "held": 0,
    }


@pytest.fixture
def repeating(shop):
    """A shop whose table of orders has no key."""
    shop.run("drop table orders")
    shop.run("create table orders (id integer, order_date timestamp, status text, device text)")
    return shop


def test_an_item_of_an_order_that_stands_there_twice_is_one_purchase(spark, repeating):
    repeating.order(1, "a", "b")
    repeating.order(1)
    repeating.order(2, "a")
    counts = repeating.read(spark).counts
    assert (counts["items"], counts["purchases"], counts["duplicate_orders"]) == (3, 3, 1)
    assert [row["item_id"] for row in repeating.rows()] == ["10", "11", "20"]


def test_of_several_rows_of_an_order_the_newest_counts_in_a_window_too(spark, repeating):
    repeating.order(1, "a", time="2016-02-09 10:00:00", status="paid")
    repeating.order(1, time="2016-02-09 10:00:00", status="lost", device="Android")
    repeating.order(1, time="2016-01-01 10:00:00", status="sent")
    repeating.order(1, time=None, status="unknown")
    found = repeating.read(spark)
    assert [(row["status"], row["platform"]) for row in repeating.rows()] == [("paid", "iOS")]
    assert found.counts["duplicate_orders"] == 3
    found = repeating.read(spark, purchases_days=5)
    assert (found.changed, found.counts["duplicate_orders"]) == (set(), 2)


def test_both_spellings_of_columns_are_read(spark, tmp_path):
    shop = Shop(tmp_path, status="order_status", device="device_type")
    shop.order(1, "a")
    assert shop.read(spark).counts["purchases"] == 1


def test_all_statuses_count_unless_excluded_in_any_case(spark, shop):
    shop.order(1, "a", status="Cancelled")
    shop.order(2, "a", status=None)
    assert shop.read(spark).counts["purchases"] == 2
    assert shop.read(spark, excluded_statuses=("cancelled",)).counts["excluded"] == 1
    assert [row["order_id"] for row in shop.rows()] == ["2"]


def test_rows_that_cannot_be_used_are_quarantined_once(spark, shop):
    shop.order(1, None, "  ", "good")
    shop.order(2, "a", time="01/02/2016")
    shop.order(3, "a", time="2016-02-30 10:00:00")
    shop.order(4, "a", time=None)
    shop.order(5, "a", time="1999-12-31 23:59:59")
    shop.run("insert into order_items values (99, 77, 'orphan', 1)")
    found = shop.read(spark)
    assert (found.counts["purchases"], found.counts["without_order"]) == (1, 1)
    assert found.counts["quarantined"] == 7
    rejects = shop.lake.read(QUARANTINE).to_pylist()
    assert sorted((row["reason"], row["detail"]) for row in rejects) == [
        ("order_date_missing", "order 4, item 40"),
        ("order_date_not_a_time", "order 2, item 20"),
        ("order_date_not_a_time", "order 3, item 30"),
        ("order_date_out_of_range", "order 5, item 50"),
        ("order_missing", "order 77, item 99"),
        ("product_missing", "order 1, item 10"),
        ("product_missing", "order 1, item 11"),
    ]
    assert b'"order_date":"01/02/2016"' in next(row["raw"] for row in rejects if row["detail"] == "order 2, item 20")
    [orphan] = [row for row in rejects if row["reason"] == "order_missing"]
    assert (orphan["platform"], orphan["raw"]) == ("none", b'{"order_id":"77","item_id":"99","product":"orphan"}')
    assert not shop.read(spark).rejects


def rejected(shop):
    return sorted((row["reason"], row["detail"]) for row in shop.lake.read(QUARANTINE).to_pylist())


def test_a_rejected_item_leaves_the_quarantine_when_its_row_became_good(spark, shop):
    shop.order(1, "a", time="01/02/2016")
    shop.order(2, None, "  ", "b")
    add(shop.lake, QUARANTINE, [reject(b"{", source="events"), reject(b"old", TODAY, source="events")])
    shop.read(spark)
    shop.run("update orders set order_date = '2016-02-01 09:00:00' where id = 1")
    shop.run("update order_items set code_color = 'c' where id = 21")
    found = shop.read(spark)
    assert rejected(shop) == [("product_missing", "order 2, item 20"), ("stray_text", None), ("stray_text", None)]
    assert found.rejects.new == []
    found = shop.read(spark)
    assert found.rejects == Settled()
    shop.run("delete from order_items")
    shop.read(spark)
    assert rejected(shop) == [("stray_text", None), ("stray_text", None)]


def test_an_item_without_its_order_is_in_the_quarantine_until_the_order_comes(spark, shop):
    shop.run("insert into order_items values (10, 1, 'a', 1), (20, 2, 'a', 1), (30, 3, 'a', 1), (40, null, 'a', 1)")
    shop.read(spark)
    shop.order(1)
    shop.order(2, device="Desktop")
    shop.read(spark)
    assert rejected(shop) == [("order_missing", "order (none), item 40"), ("order_missing", "order 3, item 30")]
    assert [row["item_id"] for row in shop.rows()] == ["10"]


def test_a_window_takes_out_of_the_quarantine_only_what_became_a_purchase(spark, shop):
    shop.run("insert into order_items values (10, 1, 'a', 1), (20, 2, 'a', 1)")
    shop.read(spark)
    shop.run("insert into order_items values (30, 3, 'a', 1)")
    shop.order(2, time="2016-02-09 10:00:00")
    found = shop.read(spark, purchases_days=5)
    assert (found.counts["items"], found.counts["without_order"]) == (1, 0)  # of item 30 nothing was read
    assert rejected(shop) == [("order_missing", "order 1, item 10")]
    assert not shop.read(spark, purchases_days=5).rejects


def test_a_rejected_item_whose_row_is_bad_in_another_way_is_there_once(spark, shop):
    shop.order(1, None, time="2016-02-01 10:00:00")
    shop.read(spark)
    shop.run("update orders set order_date = null")
    shop.read(spark)
    assert rejected(shop) == [("order_date_missing", "order 1, item 10")]


def test_rejected_items_outside_the_window_stay_in_the_quarantine(spark, shop):
    shop.order(1, None, time="2016-01-01 10:00:00")
    shop.order(2, None, time="2016-02-09 10:00:00")
    shop.read(spark)
    shop.run("update order_items set code_color = 'c'")
    shop.read(spark, purchases_days=5)
    assert rejected(shop) == [("product_missing", "order 1, item 10")]


def test_a_second_read_of_the_same_rows_changes_nothing(spark, shop):
    shop.order(1, "a", "a")
    shop.read(spark)
    found = shop.read(spark)
    assert (found.changed, found.adds, found.removes) == (set(), [], [])


def test_exactly_the_partitions_whose_content_changed_are_replaced(spark, shop):
    shop.order(1, "a", time="2016-02-01 10:00:00")
    shop.order(2, "a", time="2016-02-02 10:00:00")
    shop.order(3, "a", time="2016-02-03 10:00:00", device="android")
    shop.order(4, "a", time="2016-02-04 10:00:00")
    shop.read(spark)
    shop.run("update orders set order_date = '2016-02-05 09:00:00' where id = 1")  # moved to another day
    shop.run("delete from orders where id = 2")  # gone
    shop.run("update orders set status = 'cancelled' where id = 3")  # a column changed
    found = shop.read(spark)
    assert found.changed == {
        (date(2016, 2, 1), "iOS"),
        (date(2016, 2, 5), "iOS"),
        (date(2016, 2, 2), "iOS"),
        (date(2016, 2, 3), "Android"),
    }
    assert [(row["order_id"], row["date"].day) for row in shop.rows()] == [("1", 5), ("3", 3), ("4", 4)]


def test_a_window_leaves_older_partitions_alone(spark, shop):
    shop.order(1, "a", time="2016-01-01 10:00:00")
    shop.order(2, "a", time="2016-02-09 10:00:00")
    shop.read(spark)
    shop.run("delete from orders")
    found = shop.read(spark, purchases_days=5)
    assert found.changed == {(date(2016, 2, 9), "iOS")}
    assert found.counts["without_order"] == 0  # their orders may lie outside the window
    assert found.counts["items"] == 0
    assert [row["order_id"] for row in shop.rows()] == ["1"]


def test_an_order_that_moves_into_the_window_leaves_the_day_on_which_it_was(spark, shop):
    shop.order(1, "a", "b", time="2016-01-01 10:00:00")
    shop.order(2, "c", time="2016-01-01 11:00:00")
    shop.order(3, "d", time="2016-01-02 10:00:00")
    shop.read(spark)
    shop.run("update orders set order_date = '2016-02-09 10:00:00' where id = 1")
    found = shop.read(spark, purchases_days=5)
    assert found.changed == {(date(2016, 1, 1), "iOS"), (date(2016, 2, 9), "iOS")}
    assert +found.removed == {(date(2016, 1, 1), "iOS"): 2}
    assert [(row["product"], row["date"].day) for row in shop.rows()] == [("a", 9), ("b", 9), ("c", 1), ("d", 2)]
    assert shop.read(spark, purchases_days=5).changed == shop.read(spark).changed == set()


def test_a_window_reads_the_items_of_its_orders_alone(spark, shop):
    shop.order(1, "a", "b", time="2016-01-01 10:00:00")
    shop.order(2, "a", "c", time="2016-02-09 10:00:00")
    assert shop.read(spark, purchases_days=5).counts["items"] == 2
    assert [(row["order_id"], row["product"]) for row in shop.rows()] == [("2", "a"), ("2", "c")]


def test_files_of_a_partition_are_sorted_by_product_and_time(spark, shop):
    shop.order(1, "b", "a", time="2016-02-01 11:00:00")
    shop.order(2, "a", time="2016-02-01 10:00:00")
    [file] = shop.read(spark).adds
    rows = pq.read_table(f"{shop.lake.uri(PURCHASES)}/{file.path}", partitioning=None).to_pylist()
    assert [(row["product"], row["time"].hour) for row in rows] == [("a", 10), ("a", 11), ("b", 11)]


def test_a_missing_database_is_one_clear_line_and_makes_no_file(spark, shop):
    shop.file.unlink()
    with pytest.raises(JobError, match=r"no purchase database at .*shop\.db; load the two CSV files first"):
        shop.read(spark)
    assert not shop.file.exists()


def test_a_missing_table_or_column_is_named(spark, shop):
    shop.run("alter table orders rename column device to gadget")
    with pytest.raises(
        JobError, match=r"table orders of .* has no column device or device_type \(it has id, order_date"
    ):
        shop.read(spark)
    shop.run("drop table orders")
    with pytest.raises(JobError, match=r"cannot be read: .*no such table: orders"):
        shop.read(spark)


def test_an_unreachable_server_is_one_clear_line_without_the_password(spark, shop):
    config = shop.config().model_copy(
        update={"purchases_url": "jdbc:postgresql://127.0.0.1:9/shop?user=me&password=secret&connectTimeout=2"}
    )
    with pytest.raises(JobError, match=r"purchase database .* cannot be read: .*refused") as caught:
        read_purchases(spark, config, shop.lake, 1, TODAY)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
