"""jobs/audit/orders.py: purchases of cells from the database."""

from __future__ import annotations

import pytest

from jobs.audit.cells import TOTAL, Cell
from jobs.audit.orders import count_purchases
from jobs.errors import JobError
from tests.jobs.audit.worlds import World
from tests.rows import at

DAY = Cell("any", "ctr_day", "iOS", "a", at("2016-02-01 00:00:00"), 1440, 0, 0)
ALL = Cell(TOTAL, "ctr_day", "iOS", None, at("2016-02-01 00:00:00"), 1440, 0, 0)
NOON = Cell("any", "ctr_minute", "iOS", "a", at("2016-02-01 12:00:00"), 1, 0, 0)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def count(world, *orders, items=None, **settings):
    """Counts of the three cells; each order is (date, status, device) and has one item, of product a."""
    for number, (date, status, device) in enumerate(orders):
        text = "null" if date is None else f"'{date}'"
        world.shop(f"insert into orders values ({number}, {text}, '{status}', '{device}')")
        for item in items or ["'a'"]:
            world.shop(f"insert into order_items values ({number}, {number}, {item})")
    counts = count_purchases(world.config(**settings), [DAY, ALL, NOON])
    return [counts[cell] for cell in (DAY, ALL, NOON)]


def test_an_item_counts_in_the_cells_of_its_time_platform_and_product(world):
    orders = [
        ("2016-02-01 12:00:59.9", "paid", "iPhone"),
        ("2016-02-01T12:01:00", "canceled", " IOS "),
        ("2016-02-01", "", "ipad"),
        ("2016-02-02 00:00:00", "", "iOS"),
        ("2016-02-01 12:00:00", "", "Android"),
        ("2016-02-01 12:00:00", "", "Desktop"),
    ]
    assert count(world, *orders) == [3, 3, 1]


def test_every_item_of_an_order_counts_but_those_without_a_product(world):
    assert count(world, ("2016-02-01 12:00:00", "", "iOS"), items=["'a'", "'a'", "'b'", "null", "' '"]) == [2, 3, 2]


def test_orders_without_a_time_count_nowhere(world):
    assert count(world, *((date, "", "iOS") for date in (None, "", "noon", "2016-02-30", "2016-02-01 25:00:00"))) == [
        0,
        0,
        0,
    ]


def test_an_item_without_its_order_counts_nowhere(world):
    world.shop("insert into order_items values (1, 99, 'a')")
    assert count(world) == [0, 0, 0]


def test_an_order_that_stands_there_twice_is_its_newest_row(world):
    copies = [
        "(0, '2016-02-01 12:00:00', '', 'iOS')",
        "(0, null, 'z', 'iOS')",
        "(0, '2016-01-31 12:00:00', 'z', 'iOS')",
    ]
    world.shop(*(f"insert into orders values {copy}" for copy in copies))
    assert count(world, ("2016-02-01 12:00:00", "", "iOS")) == [1, 1, 1]
    world.shop("delete from order_items", "insert into order_items values (0, 0, 'a')")
    world.shop("insert into orders values (0, '2016-02-02 12:00:00', '', 'iOS')")
    assert count(world) == [0, 0, 0]


def test_excluded_statuses_are_left_out_in_any_case(world):
    orders = [("2016-02-01 12:00:00", status, "iOS") for status in ("Canceled ", "paid")]
    assert count(world, *orders, excluded_statuses=("cancelED",)) == [1, 1, 1]


def test_dates_are_read_in_the_configured_zone_a_doubled_hour_the_first_time(world):
    assert count(world, ("2016-02-01 10:00:10", "", "iOS"), orders_timezone="America/Sao_Paulo") == [1, 1, 1]
    world.shop("delete from orders", "delete from order_items")
    assert count(world, ("2016-02-01 23:00:00", "", "iOS"), orders_timezone="America/Sao_Paulo") == [0, 0, 0]


def test_other_names_of_tables_and_columns_are_found(world):
    world.shop(
        'create table "O" ("Id" text, "order_date" text, order_status text, device_type text)',
        'create table "I" (order_id text, code_color text)',
        "insert into \"O\" values ('x', '2016-02-01 12:00:00', 'paid', 'iOS')",
        "insert into \"I\" values ('x', 'a')",
    )
    assert count(world, orders_table="O", order_items_table="I") == [1, 1, 1]


def test_a_column_that_is_missing_is_named(world):
    world.shop("alter table orders rename column device to gadget")
    with pytest.raises(JobError, match=r"table orders has no column device or device_type \(it has id, .*gadget\)"):
        count(world)


def test_a_table_that_is_missing_is_one_clear_line(world):
    with pytest.raises(JobError, match="nowhere"):
        count(world, orders_table="nowhere")
