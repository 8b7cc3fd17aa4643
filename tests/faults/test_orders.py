"""Orders that are added, cancelled, moved, changed, deleted: exactly the partitions that they touch get new files."""

from __future__ import annotations

import pytest

from jobs.lake import Lake
from jobs.schemas import CTR_DAY, PURCHASES, ROLLUPS, VIEWS
from tests.faults.scenario import DAY, Night
from tests.rows import NOON, event, lines, message

pytestmark = [pytest.mark.faults, pytest.mark.spark, pytest.mark.slow]

ORDER = "insert into orders (id, order_date, status, device)"

CHANGES = (
    ("nothing", "select 1", set()),
    ("cancelled", "update orders set status = 'Cancelled' where id = 1", {("02-01", "iOS")}),
    ("paid after all", "update orders set status = 'paid' where id = 1", {("02-01", "iOS")}),
    ("added", f"{ORDER} values (9, '2016-02-02 10:00:00', 'paid', 'Android')", set()),
    ("its item added", "insert into order_items values (9, 9, 'p')", {("02-02", "Android")}),
    (
        "moved to another day",
        "update orders set order_date = '2016-02-03 23:59:59' where id = 2",
        {("02-02", "iOS"), ("02-03", "iOS")},
    ),
    (
        "moved to a day that nothing is known of",
        "update orders set order_date = '2012-02-29 10:00:00' where id = 2",
        {("02-03", "iOS"), ("02-29", "iOS")},
    ),
    ("moved by a second", "update orders set order_date = '2012-02-29 10:00:01' where id = 2", {("02-29", "iOS")}),
    (
        "bought on another platform",
        "update orders set device = 'Android' where id = 3",
        {("02-03", "iOS"), ("02-03", "Android")},
    ),
    ("bought on a desktop", "update orders set device = 'Desktop' where id = 3", {("02-03", "Android")}),
    ("another product", "update order_items set code_color = 'q' where order_id = 4", {("02-01", "Android")}),
    ("deleted", "delete from orders where id = 4", {("02-01", "Android")}),
    ("its item deleted", "delete from order_items where order_id = 4", set()),
    ("a column that no purchase has", "update orders set note = 'gift'", set()),
)
"""A change after the other, and the (day, platform) that it touches."""


def files(lake, table):
    """The data files of each partition."""
    found = {}
    for file in lake.files(table):
        found.setdefault((f"{file.date:%m-%d}", file.platform), set()).add(file.path)
    return found


def touched(before, after):
    return {key for key in {*before, *after} if before.get(key) != after.get(key)}


def purchases(lake):
    rows = lake.read(CTR_DAY).to_pylist()
    return {(f"{row['date']:%m-%d}", row["platform"], row["product"]): row["purchases"] for row in rows}


def test_a_changed_order_touches_exactly_its_partitions(spark, tmp_path):
    night, lake = Night(tmp_path), Lake(str(tmp_path / "lake"))
    for platform in ("iOS", "Android"):
        for day in range(3):
            view = message(event("p", NOON + day * DAY), message_id=f"{platform} {day}")
            night.put(f"{platform}/2016-02-0{day + 1}/a", lines(view))
    night.sql(
        "create table orders (id integer, order_date text, status text, device text, note text default '')",
        "create table order_items (id integer, order_id integer, code_color text)",
        f"{ORDER} values (1, '2016-02-01 10:00:00', 'paid', 'iPhone')",
        f"{ORDER} values (2, '2016-02-02 10:00:00', 'paid', 'iPhone')",
        f"{ORDER} values (3, '2016-02-03 10:00:00', 'paid', 'iPhone')",
        f"{ORDER} values (4, '2016-02-01 10:00:00', 'paid', 'Android')",
        *[f"insert into order_items values ({n}, {n}, 'p')" for n in (1, 2, 3, 4)],
    )

    def run():
        return night.run(spark, tmp_path / "lake", excluded_statuses=("cancelled",))

    run()
    for name, statement, wanted in CHANGES:
        before = {table: files(lake, table) for table in (PURCHASES, *ROLLUPS, VIEWS)}
        night.sql(statement)
        [report] = run()
        after = {table: files(lake, table) for table in before}
        news = bool(wanted) or name == "its item deleted"  # without its order it was in the quarantine, which it leaves
        assert (report.publication is not None) == news, name
        assert report.partitions == len(wanted), name
        for table in (PURCHASES, *ROLLUPS):
            assert touched(before[table], after[table]) == wanted, f"{name}: {table.name}"
        assert before[VIEWS] == after[VIEWS], name
    assert {key: count for key, count in purchases(lake).items() if count} == {
        ("02-01", "iOS", "p"): 1,
        ("02-02", "Android", "p"): 1,
        ("02-29", "iOS", "p"): 1,
    }
