"""A run in one process: batches, re-delivery, replacement, recovery, reports."""

from __future__ import annotations

import os
import sqlite3
from datetime import date

import pytest
from rich.console import Console

from jobs.config import Config
from jobs.errors import JobError
from jobs.lake import Lake
from jobs.ledger import REPLACED, Ledger
from jobs.maintain import maintain
from jobs.plan import Selection
from jobs.progress import Stages
from jobs.publish import newest_publication
from jobs.run import Run
from jobs.schemas import COVERAGE, CTR_DAY, CTR_MINUTE, PUBLICATIONS, QUARANTINE, VIEWS
from tests.rows import NOON, event, lines, message

pytestmark = [pytest.mark.spark, pytest.mark.slow]

DAY = 86_400_000


class World:
    """An events folder, a database with one order, a lake, and runs over them."""

    def __init__(self, spark, path):
        self.spark, self.path = spark, path
        (path / "events" / "iOS").mkdir(parents=True)
        with sqlite3.connect(path / "shop.db") as shop:
            shop.execute("create table orders (id integer, order_date text, status text, device text)")
            shop.execute("create table order_items (id integer, order_id integer, code_color text)")
            shop.execute("insert into orders values (1, '2016-02-01 12:30:00', 'paid', 'iPhone')")
            shop.execute("insert into order_items values (1, 1, '10_001')")
        shop.close()
        self.lake = Lake(str(path / "lake"))

    def put(self, path, content, changed=None):
        file = self.path / "events" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if changed:
            os.utime(file, (changed, changed))

    def config(self, **settings):
        shop = f"jdbc:sqlite:{self.path / 'shop.db'}"
        return Config(events=str(self.path / "events"), lake=self.lake.root, purchases_url=shop, **settings)

    def run(self, job="daily", selection=None, **settings):
        run = Run(self.config(**settings), job, self.spark, Stages(Console(quiet=True)), selection or Selection())
        return run(lambda report: report.show(Console(quiet=True)))

    def days(self):
        rows = self.lake.read(CTR_DAY).to_pylist()
        return sorted(
            (f"{row['date']:%m-%d}", row["platform"], row["product"], row["views"], row["purchases"]) for row in rows
        )

    def states(self):
        """The state of each path; what was there before and was replaced counts where nothing else is said."""
        statements = Ledger.read(self.lake).statements.values()
        return {known.path: known.state for known in sorted(statements, key=lambda known: known.state != REPLACED)}


@pytest.fixture
def world(spark, tmp_path):
    return World(spark, tmp_path)


def test_a_first_run_publishes_views_and_purchases(world):
    world.put("iOS/a", lines(message(event(), event("b"), message_id="1"), message(event(kind="other"))))
    [report] = world.run()
    assert world.days() == [("02-01", "iOS", "10_001", 1, 1), ("02-01", "iOS", "b", 1, 0)]
    assert (report.account.records, report.account.views, report.account.ignored, report.partitions) == (2, 2, 1, 1)
    assert (report.publication, report.exit_code) == (1, 0)
    newest = newest_publication(world.lake)
    assert all(newest[f"{name}_version"] == version for name, version in world.lake.versions().items())
    assert world.lake.read(COVERAGE).to_pylist()[0]["views"] == 2


def test_a_second_run_reads_nothing_and_commits_nothing(world):
    world.put("iOS/a", lines(message()))
    world.put("windows/b", lines(message()))
    world.run()
    before = world.lake.versions()
    [report] = world.run()
    assert report.publication is None
    assert report.files["planned"] == 0
    assert world.lake.versions() == before
    assert world.lake.read(PUBLICATIONS).num_rows == 1


def test_messages_delivered_again_in_another_file_count_once(world):
    world.put("iOS/a", lines(message(message_id="1")))
    world.run()
    world.put("iOS/b", lines(message(message_id="1"), message(message_id="2")))
    world.run()
    assert world.lake.read(VIEWS).num_rows == 3
    assert world.days() == [("02-01", "iOS", "10_001", 2, 1)]


def test_a_copy_under_another_name_adds_nothing_even_without_message_ids(world):
    world.put("iOS/a", lines(message(message_id=None)))
    world.put("iOS/a (1)", lines(message(message_id=None)))
    world.run()
    world.put("iOS/c", lines(message(message_id=None)))
    world.run()
    assert world.days() == [("02-01", "iOS", "10_001", 1, 1)]
    assert sorted(world.states().values()) == ["duplicate", "duplicate", "loaded"]


def test_a_changed_file_replaces_its_own_rows_and_touches_old_and_new_days(world):
    world.put("iOS/a", lines(message(event(time=NOON - DAY), message_id=None)) + b"broken\n")
    world.put("iOS/b", lines(message(event("other"), message_id=None)))
    world.run(quarantine_limit=1)
    world.put("iOS/a", lines(message(message_id=None), message(message_id=None)), changed=1_460_000_000)
    world.run()
    assert world.days() == [("02-01", "iOS", "10_001", 2, 1), ("02-01", "iOS", "other", 1, 0)]
    assert world.lake.read(QUARANTINE).num_rows == 0
    empty = [row for row in world.lake.read(COVERAGE).to_pylist() if row["date"] == date(2016, 1, 31)]
    assert [(row["views"], row["purchases"], row["first_view"]) for row in empty] == [(0, 0, None)]


def test_a_copy_takes_the_place_of_an_original_that_was_replaced(world):
    world.put("iOS/a", lines(message(event("old"), message_id=None)))
    world.put("iOS/b", lines(message(event("old"), message_id=None)))
    world.run()
    world.put("iOS/a", lines(message(event("new product"), message_id=None)))
    world.run()
    assert [row[2] for row in world.days()] == ["10_001", "new product", "old"]
    assert world.states() == {"iOS/a": "loaded", "iOS/b": "loaded"}


def test_late_events_touch_only_their_day(world):
    world.put("iOS/a", lines(message(message_id="1")))
    world.run()
    files = {file.path for file in world.lake.files(CTR_MINUTE)}
    world.put("iOS/b", lines(message(event(time=NOON - 300 * DAY), message_id="2")))
    [report] = world.run()
    assert report.partitions == 1
    assert files < {file.path for file in world.lake.files(CTR_MINUTE)}


def test_a_file_that_cannot_be_read_is_failed_told_and_tried_again(world):
    import gzip

    packed = gzip.compress(lines(message()))
    world.put("iOS/a.gz", packed[:-9])
    [report] = world.run()
    assert world.states() == {"iOS/a.gz": "failed"}
    assert any("iOS/a.gz" in warning for warning in report.warnings)
    world.put("iOS/a.gz", packed)
    world.run()
    assert world.days() == [("02-01", "iOS", "10_001", 1, 1)]


def test_a_dead_run_is_taken_back_and_a_plain_run_repeats_it(world, monkeypatch):
    world.put("iOS/a", lines(message(message_id=None)))

    def die(*_):
        raise RuntimeError("killed")

    for step in ("recompute", "record", "conclusions", "publish", "read_events"):
        with monkeypatch.context() as patched:
            patched.setattr(f"jobs.run.{step}", die)
            with pytest.raises(RuntimeError):
                world.run()
    assert newest_publication(world.lake) is None
    monkeypatch.undo()
    [report] = world.run()
    assert "taken back: " in report.warnings[0]
    assert world.days() == [("02-01", "iOS", "10_001", 1, 1)]
    assert world.lake.read(VIEWS).num_rows == 1


def test_a_share_of_quarantine_above_the_limit_publishes_and_exits_3(world):
    world.put("iOS/a", lines(message()) + b"broken\n")
    [report] = world.run(quarantine_limit=0.4)
    assert (report.publication, report.exit_code) == (1, 3)
    assert any("quarantine_limit" in warning for warning in report.warnings)


def test_a_backfill_publishes_each_batch_newest_first_and_goes_on_where_it_ended(world):
    for day in (1, 2, 3):
        world.put(f"iOS/2016-02-0{day}/a", lines(message(event(f"p{day}", NOON + (day - 1) * DAY))))
    only = world.run("backfill", Selection(first=date(2016, 2, 3)))
    assert [report.publication for report in only] == [1]
    reports = world.run("backfill", Selection(), batch_bytes=1)
    assert [report.publication for report in reports] == [2, 3]
    assert [row[2] for row in world.days()] == ["10_001", "p1", "p2", "p3"]


def test_orders_that_change_touch_their_days(world):
    world.put("iOS/a", lines(message()))
    world.run()
    with sqlite3.connect(world.path / "shop.db") as shop:
        shop.execute("update orders set order_date = '2016-02-02 08:00:00'")
    shop.close()
    [report] = world.run()
    assert report.partitions == 2
    assert world.days() == [("02-01", "iOS", "10_001", 1, 0), ("02-02", "iOS", "10_001", 0, 1)]


def change_shop(world, *statements):
    with sqlite3.connect(world.path / "shop.db") as shop:
        for statement in statements:
            shop.execute(statement)
    shop.close()


def rejected(world):
    return sorted((row["source"], row["reason"]) for row in world.lake.read(QUARANTINE).to_pylist())


def test_one_data_file_loses_an_item_that_became_good_and_records_of_a_replaced_file(world):
    change_shop(world, "insert into order_items values (2, 1, null), (3, 1, '')")
    world.put("iOS/a", b"broken\n" + lines(message()), changed=1_460_000_000)
    world.put("iOS/b", b"broken too\n" + lines(message(message_id="b")), changed=1_460_000_000)
    world.run(quarantine_limit=1)
    maintain(world.config(), Stages(Console(quiet=True)))
    assert len(world.lake.files(QUARANTINE)) == 1
    change_shop(world, "update order_items set code_color = 'x' where id = 2")
    world.put("iOS/a", lines(message()), changed=1_470_000_000)
    world.run()
    assert rejected(world) == [("events", "stray_text"), ("purchases", "product_missing")]


def test_an_item_that_leaves_the_quarantine_is_reason_enough_to_publish(world):
    change_shop(world, "insert into order_items values (2, 1, null)")
    world.run()
    change_shop(world, "delete from order_items where id = 2")
    assert world.run()[0].publication == 2
    assert rejected(world) == []
    assert world.run()[0].publication is None


def test_an_unreachable_database_publishes_nothing(world):
    world.put("iOS/a", lines(message()))
    (world.path / "shop.db").unlink()
    with pytest.raises(JobError, match="no purchase database"):
        world.run()
    assert newest_publication(world.lake) is None
    assert world.lake.read(VIEWS).num_rows == 0
    assert world.states() == {}


def test_young_files_are_left_for_a_later_run(world):
    world.put("iOS/old", lines(message(event("old"))), changed=1_460_000_000)
    world.put("iOS/young", lines(message(event("young"), message_id="2")))
    [report] = world.run(young_seconds=3600)
    assert [row[2] for row in world.days()] == ["10_001", "old"]
    assert any("iOS/young" in warning for warning in report.warnings)
    world.run()
    assert [row[2] for row in world.days()] == ["10_001", "old", "young"]


def test_a_file_that_is_removed_at_the_source_keeps_its_rows_and_is_counted(world):
    world.put("iOS/a", lines(message()))
    world.run()
    (world.path / "events/iOS/a").unlink()
    [report] = world.run()
    assert (report.publication, report.files["removed"]) == (None, 1)
    assert world.days() == [("02-01", "iOS", "10_001", 1, 1)]


def test_the_report_counts_views_and_partitions_by_age(world):
    world.put("iOS/a", lines(message()))
    [report] = world.run()
    assert report.ages == {"views": {"over a year": 1}, "partitions": {"over a year": 1}}


def test_limits_warn_or_exit_3_as_configured(world):
    world.put("iOS/a", lines(message(event(time=NOON - DAY)), message(event(time=NOON + DAY), message_id="2")))
    [report] = world.run()
    assert report.exit_code == 0
    assert any(warning.startswith("purchases_without_views: ") for warning in report.warnings)
    world.put("iOS/b", lines(message(event(time=NOON + 2 * DAY), message_id="3"), message(event("c"), message_id="4")))
    with sqlite3.connect(world.path / "shop.db") as shop:
        shop.execute("insert into order_items values (2, 1, 'c'), (3, 1, 'c')")
    shop.close()
    [report] = world.run(fatal_limits=("ctr_above_1",))
    assert report.exit_code == 3
