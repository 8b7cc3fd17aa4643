"""A run in one process: batches, re-delivery, replacement, recovery, reports."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import re
import sqlite3
import threading
import time
import zipfile
from contextlib import suppress
from datetime import date
from functools import partial

import pytest
from py4j.protocol import Py4JError
from rich.console import Console

from jobs import rollback
from jobs.audit import audit
from jobs.audit.cells import Period
from jobs.config import Config
from jobs.copies import _checksum
from jobs.errors import JobError
from jobs.inventory import lake_status
from jobs.lake import Lake
from jobs.ledger import REPLACED, Ledger
from jobs.maintain import maintain
from jobs.plan import Selection
from jobs.progress import Stages
from jobs.publish import newest_publication, publish
from jobs.run import Run
from jobs.schemas import COVERAGE, CTR_DAY, CTR_MINUTE, PUBLICATIONS, QUARANTINE, VIEWS
from tests.jobs.lakes import turns_while_one_waits
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
        self.console = Console(quiet=True)

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
        run = Run(self.config(**settings), job, self.spark, Stages(self.console), selection or Selection())
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


def test_messages_with_a_very_long_id_count_once_too(world):
    once = message(message_id="m" * 5000)
    world.put("iOS/a", lines(once))
    world.put("iOS/b", lines(once, message(message_id="m" * 4999)))
    world.run()
    ids = [len(row["message_id"]) for row in world.lake.read(VIEWS).to_pylist()]
    assert ids == [len("sha256:") + 64] * 3
    assert world.days() == [("02-01", "iOS", "10_001", 2, 1)]
    assert audit(world.config(), Period(), 20, 1, Console(quiet=True)).exit_code == 0


def test_an_order_that_stands_there_twice_is_told_and_counts_once_by_the_audit_too(world):
    with sqlite3.connect(world.path / "shop.db") as shop:
        shop.execute("insert into orders values (1, '2016-02-01 12:30:00', 'paid', 'iPhone')")
    shop.close()
    world.put("iOS/a", lines(message()))
    [report] = world.run()
    assert world.days() == [("02-01", "iOS", "10_001", 1, 1)]
    assert report.warnings == ["1 rows of orders have the id of another row; of each id the newest counts"]
    assert audit(world.config(), Period(), 20, 1, Console(quiet=True)).exit_code == 0


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
    assert len([report for report in world.run() if report.publication]) == 1
    assert [row[2] for row in world.days()] == ["10_001", "new product", "old"]
    assert world.states() == {"iOS/a": "loaded", "iOS/b": "loaded"}


@pytest.mark.parametrize("known", [True, False])
def test_a_copy_holds_the_rows_of_its_original_while_that_comes_again_cut(world, known):
    old, new = (gzip.compress(lines(message(event(name), message_id=None)), mtime=0) for name in ("old", "new product"))
    world.put("iOS/a.gz", old)
    if known:
        world.put("iOS/b.gz", old)
    world.run()
    world.put("iOS/a.gz", new[:-9], changed=1_460_000_000)
    world.put("iOS/b.gz", old)
    world.run()
    assert world.days() == [("02-01", "iOS", "10_001", 0, 1), ("02-01", "iOS", "old", 1, 0)]
    world.put("iOS/a.gz", new, changed=1_460_000_060)
    world.run()
    assert [row[2:] for row in world.days()] == [("10_001", 0, 1), ("new product", 1, 0), ("old", 1, 0)]


@pytest.mark.parametrize("newest", ["a", "b"])
def test_no_publication_has_the_rows_of_a_replaced_file_and_of_its_copy(world, newest):
    names = {name: f"iOS/{name}/2016-02-0{2 if name == newest else 1}" for name in ("a", "b")}
    for path in names.values():
        world.put(path, lines(message(event("old"), message_id=None)))
    world.run()
    assert world.states() == {names["a"]: "loaded", names["b"]: "duplicate"}
    world.put(names["a"], lines(message(event("new product"), message_id=None)))
    world.run(batch_bytes=1)
    published = [row["ctr_day_version"] for row in world.lake.read(PUBLICATIONS).to_pylist()]
    views = [
        sum(row["views"] for row in world.lake.read(CTR_DAY, version=version).to_pylist() if row["product"] == "old")
        for version in published
    ]
    assert len(views) > 1
    assert set(views) == {1}
    assert [row[2:] for row in world.days()] == [("10_001", 0, 1), ("new product", 1, 0), ("old", 1, 0)]


def test_late_events_touch_only_their_day(world):
    world.put("iOS/a", lines(message(message_id="1")))
    world.run()
    files = {file.path for file in world.lake.files(CTR_MINUTE)}
    world.put("iOS/b", lines(message(event(time=NOON - 300 * DAY), message_id="2")))
    [report] = world.run()
    assert report.partitions == 1
    assert files < {file.path for file in world.lake.files(CTR_MINUTE)}


def test_a_file_that_cannot_be_read_is_failed_told_and_tried_again(world):
    packed = gzip.compress(lines(message()))
    world.put("iOS/a.gz", packed[:-9])
    [report] = world.run()
    assert world.states() == {"iOS/a.gz": "failed"}
    [told] = [warning for warning in report.warnings if "iOS/a.gz" in warning]
    assert told.startswith(
        "failed_files: files that could not be read and are tried again by the next run: 1: iOS/a.gz ("
    )
    assert (report.publication, report.exit_code) == (1, 3)
    world.put("iOS/a.gz", packed)
    assert world.run()[0].exit_code == 0
    assert world.days() == [("02-01", "iOS", "10_001", 1, 1)]
    assert lake_status(world.lake.root)["files"] == {"gone": 1, "loaded": 1}


def test_a_failed_file_that_is_taken_away_is_failed_no_more_and_is_read_when_it_is_back(world):
    world.put("iOS/good", lines(message()))
    cut = gzip.compress(lines(message()))[:-9]
    world.put("iOS/a.gz", cut, changed=1_460_000_000)
    world.run()
    [failed] = lake_status(world.lake.root)["failed_files"]
    assert failed["path"] == "iOS/a.gz"
    assert "cut or damaged" in failed["reason"]
    (world.path / "events" / "iOS" / "a.gz").unlink()
    assert [report.publication for report in world.run()] == [2]
    assert lake_status(world.lake.root)["failed_files"] == []
    assert world.states()["iOS/a.gz"] == "gone"
    assert world.run()[0].publication is None
    world.put("iOS/a.gz", cut, changed=1_460_000_000)
    world.run()
    assert world.states()["iOS/a.gz"] == "failed"


def test_failed_files_of_a_source_that_is_not_mounted_stay_failed(world):
    world.put("iOS/a.gz", gzip.compress(lines(message()))[:-9])
    world.run()
    (world.path / "events").rename(world.path / "elsewhere")
    (world.path / "events").mkdir()
    assert world.run()[0].publication is None
    assert world.states() == {"iOS/a.gz": "failed"}


def zip_of(**members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_members_that_an_archive_lost_are_told_and_keep_their_rows(world):
    one, two, better = (lines(message(event(name), message_id=None)) for name in ("one", "two", "better"))
    world.put("iOS/day.zip", zip_of(one=one, two=two))
    world.run()
    world.put("iOS/day.zip", zip_of(one=one, three=better))
    [report] = world.run()
    assert report.files["removed"] == 1
    assert (
        "files that were loaded and are gone from the source (their rows stay): 1: iOS/day.zip!two" in report.warnings
    )
    assert [row[2] for row in world.days()] == ["10_001", "better", "one", "two"]
    world.put("iOS/day.zip", zip_of(one=one, two=b"", three=better))
    world.run()
    assert [row[2] for row in world.days()] == ["10_001", "better", "one"]


PLAIN, OTHER = (lines(message(event(name), message_id=None)) for name in ("plain", "other"))


@pytest.mark.parametrize(
    ("before", "after", "gone"),
    [(zip_of(one=PLAIN), OTHER, "iOS/a!one"), (PLAIN, zip_of(one=OTHER), "iOS/a")],
)
def test_an_archive_that_becomes_a_plain_file_or_the_reverse_is_told_every_night(world, before, after, gone):
    world.put("iOS/a", before)
    world.run()
    world.put("iOS/a", after)
    told = f"files that were loaded and are gone from the source (their rows stay): 1: {gone}"
    assert [told in world.run()[0].warnings for _ in range(2)] == [True, True]
    assert [row[2] for row in world.days()] == ["10_001", "other", "plain"]


def test_a_file_that_fails_again_for_the_same_reason_is_told_and_publishes_nothing(world):
    cut = gzip.compress(lines(message()))[:-9]
    world.put("iOS/a.gz", cut)
    world.put("iOS/broken.zip", b"PK\x03\x04 nonsense")
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("member.gz", cut[:-9])
    world.put("Android/all.zip", zipped.getvalue())
    world.put("MobileWeb/a.gz", cut)
    world.put("MobileWeb/copy of a.gz", cut)
    [first] = world.run()
    before = world.lake.versions()
    for _ in range(2):
        [report] = world.run()
        assert (first.publication, report.publication) == (1, None)
        assert world.lake.versions() == before
        assert report.files["failed"] == first.files["failed"] == 4
        assert [warning for warning in report.warnings if "could not be read" in warning] == [
            warning for warning in first.warnings if "could not be read" in warning
        ]
        assert report.exit_code == first.exit_code == 3
    assert world.run(fatal_limits=())[0].exit_code == 0
    world.put("iOS/good", lines(message()))
    reports = world.run(batch_bytes=1)
    assert [report.publication for report in reports].count(None) == len(reports) - 1
    assert sum(report.files["failed"] for report in reports) == 4


def test_a_file_that_fails_for_another_reason_is_news(world):
    cut = gzip.compress(lines(message()))[:-9]
    world.put("iOS/a.gz", cut, changed=1_460_000_000)
    world.run()
    world.put("iOS/a.gz", cut[:2] + b"\xff" * (len(cut) - 2), changed=1_460_000_000)
    assert world.run()[0].publication == 2
    assert world.run()[0].publication is None


def test_a_file_of_records_without_any_event_is_told(world):
    world.put("iOS/good", lines(message(events=[]), message()))
    world.put("iOS/blank", b"\n \n")
    world.put("iOS/empty", b"")
    assert not any("no event in them" in warning for warning in world.run()[0].warnings)
    world.put("iOS/cloudtrail.json", b'{"Records": [' + lines(message()).strip() + b"]}")
    for number in range(5):
        world.put(f"iOS/other-{number}.json", b'{"id": %d}\n' % number * 3)
    [report] = world.run()
    assert (report.publication, report.exit_code, report.account.decoded) == (2, 0, 16)
    assert report.warnings == [
        "files that have records but no event in them (are these event files?): 6: iOS/cloudtrail.json, "
        "iOS/other-0.json, iOS/other-1.json, iOS/other-2.json, iOS/other-3.json and 1 more"
    ]


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


def test_a_publication_says_of_which_days_files_are_still_to_be_read(world):
    def awaited():
        return json.loads(newest_publication(world.lake)["report"])["awaited"]

    for day in ("2016-02-01", "2016-02-02", "2016-02-04", "2016-02-05"):
        world.put(f"iOS/{day}/a", lines(message(event(time=NOON), message_id=day)))
    world.put("Android/2016-02-04.gz", gzip.compress(lines(message()))[:-9])
    world.put("windows/2016-02-03", lines(message()))
    world.run("backfill", Selection(first=date(2016, 2, 5)))
    assert awaited() == {
        "Android": [["2016-02-04", "2016-02-04"]],
        "iOS": [["2016-02-01", "2016-02-02"], ["2016-02-04", "2016-02-04"]],
    }
    status = lake_status(world.lake.root)["platforms"]["iOS"]
    assert status["missing_days"] == ["2016-02-01", "2016-02-02", "2016-02-04"]
    maintain(world.config(), Stages(world.console))
    publish(world.lake, 2, "replay", {})
    assert len(awaited()["iOS"]) == 2
    world.run()
    assert awaited() == {"Android": [["2016-02-04", "2016-02-04"]]}
    rollback.put_back(world.config(), 1, world.console)
    assert len(awaited()["iOS"]) == 2


def test_a_backfill_publishes_each_batch_newest_first_and_goes_on_where_it_ended(world):
    for day in (1, 2, 3):
        world.put(f"iOS/2016-02-0{day}/a", lines(message(event(f"p{day}", NOON + (day - 1) * DAY))))
    only = world.run("backfill", Selection(first=date(2016, 2, 3)))
    assert [report.publication for report in only] == [1]
    world.console = Console(file=io.StringIO(), width=200)
    reports = world.run("backfill", Selection(), batch_bytes=1)
    assert [report.publication for report in reports] == [2, 3]
    [said] = [line for line in world.console.file.getvalue().splitlines() if line.startswith("batch of")]
    assert re.fullmatch(
        r"batch of [\d.]+ MB done; \d+ MB/s so far; left: 1 batches, [\d.]+ MB, about [\d.]+ minutes", said
    )
    assert [row[2] for row in world.days()] == ["10_001", "p1", "p2", "p3"]


def test_a_job_that_waits_for_the_lake_gets_its_turn_after_the_batch(world, monkeypatch):
    for day in (1, 2, 3):
        world.put(f"iOS/2016-02-0{day}/a", lines(message(event(f"p{day}", NOON + (day - 1) * DAY))))
    work = partial(world.run, "backfill", batch_bytes=1)
    turns = turns_while_one_waits(monkeypatch, "jobs.run.publish", world.lake, 1, work)
    assert turns == [1, "daily", 2, 3]


def test_a_run_of_many_batches_takes_the_checksum_of_a_file_once(world, monkeypatch):
    for number in range(5):
        world.put(f"iOS/2016-02-01/{number}", lines(message(event(f"p{number}"), message_id=None)))
    taken = []

    def checksum(root, file):
        taken.append(file.path)
        return _checksum(root, file)

    monkeypatch.setattr("jobs.copies._checksum", checksum)
    assert len(world.run("backfill", batch_bytes=1)) == 5
    assert sorted(taken) == [f"iOS/2016-02-01/{number}" for number in range(5)]
    world.put("iOS/2016-02-01/copy", lines(message(event("p3"), message_id=None)))
    world.run()
    assert world.states()["iOS/2016-02-01/copy"] == "duplicate"


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


def test_a_run_that_cannot_list_its_files_does_not_wait_until_the_database_was_read(world, monkeypatch):
    read_whole = threading.Event()

    def long_read(spark, *_):
        time.sleep(0.5)  # as the database is asked for its columns before there is a job to cancel
        for _ in range(2):
            with suppress(Py4JError):
                spark.sparkContext.parallelize([30], 1).foreach(time.sleep)
                read_whole.set()

    def no_files(*_):
        raise JobError("no event files")

    monkeypatch.setattr("jobs.run.read_purchases", long_read)
    monkeypatch.setattr("jobs.run.make_plan", no_files)
    with pytest.raises(JobError, match="no event files"):
        world.run()
    assert not read_whole.is_set()


def test_young_files_are_left_for_a_later_run(world):
    world.put("iOS/old", lines(message(event("old"))), changed=1_460_000_000)
    world.put("iOS/young", lines(message(event("young"), message_id="2")))
    [report] = world.run(young_seconds=3600)
    assert [row[2] for row in world.days()] == ["10_001", "old"]
    assert any("iOS/young" in warning for warning in report.warnings)
    world.run()
    assert [row[2] for row in world.days()] == ["10_001", "old", "young"]


def test_files_that_are_removed_at_the_source_keep_their_rows_and_are_named(world):
    world.put("iOS/a", lines(message()))
    for number in range(7):
        world.put(f"Android/{number}", lines(message(event(f"p{number}"), message_id=None)))
    world.run()
    for number in range(7):
        (world.path / f"events/Android/{number}").unlink()
    [report] = world.run()
    assert (report.publication, report.files["removed"], report.exit_code) == (None, 7, 0)
    assert report.warnings == [
        "files that were loaded and are gone from the source (their rows stay): 7: "
        "Android/0, Android/1, Android/2, Android/3, Android/4 and 2 more"
    ]
    assert len(world.days()) == 8


def test_a_copy_that_is_removed_is_told_only_once_the_rows_are_its_own(world):
    world.put("iOS/a", lines(message()))
    world.put("iOS/copy", lines(message()))
    world.run()
    (world.path / "events/iOS/copy").unlink()
    [report] = world.run()
    assert (report.files["removed"], report.warnings) == (0, [])
    world.put("iOS/a", lines(message(event("other"), message_id="2")))
    world.run()
    [report] = world.run()
    assert report.warnings == ["files that were loaded and are gone from the source (their rows stay): 1: iOS/copy"]


def test_a_loaded_file_that_is_set_apart_is_not_removed(world):
    world.put("iOS/a", lines(message()))
    world.run()
    os.utime(world.path / "events/iOS/a")
    [report] = world.run(young_seconds=3600)
    assert (report.files["removed"], report.files["unfinished"]) == (0, 1)
    assert not any("gone from the source" in warning for warning in report.warnings)
    [report] = world.run(unfinished_names=("iOS",))
    assert (report.files["removed"], report.files["unfinished"]) == (0, 1)


def test_an_empty_source_of_a_lake_with_files_asks_for_the_mount(world):
    assert world.run()[0].warnings == []
    world.put("iOS/a", lines(message()))
    world.run()
    (world.path / "events/iOS/a").unlink()
    [report] = world.run()
    assert (report.publication, report.exit_code) == (None, 0)
    assert report.warnings == [
        "there is no event file at all, and 1 were loaded before: check that the folder of CTR_EVENTS is mounted; "
        "their rows stay"
    ]
    assert world.days() == [("02-01", "iOS", "10_001", 1, 1)]


def test_the_report_counts_views_purchases_and_partitions_by_age(world):
    world.put("iOS/a", lines(message()))
    [report] = world.run()
    old = {"over a year": 1}
    assert report.ages == {"views": old, "purchases_added": old, "purchases_removed": {}, "partitions": old}
    change_shop(world, "update orders set order_date = '2016-02-02 08:00:00'")
    [report] = world.run()
    assert report.ages == {
        "views": {},
        "purchases_added": old,
        "purchases_removed": old,
        "partitions": {"over a year": 2},
    }


@pytest.mark.parametrize(
    "loss",
    [
        "update orders set order_date = order_date || '+00'",
        "delete from order_items",
        "update orders set device = 'phone'",
        "update order_items set id = id + 1000",
    ],
)
def test_purchases_that_vanish_are_published_and_exit_3(world, loss):
    change_shop(
        world,
        "with recursive n (i) as (select 2 union all select i + 1 from n where i < 200) "
        "insert into order_items select i, 1, '10_001' from n",
    )
    assert world.run()[0].exit_code == 0
    change_shop(world, loss)
    [report] = world.run()
    assert (report.publication, report.exit_code) == (2, 3)
    [told] = [warning for warning in report.warnings if warning.startswith("purchases_lost: ")]
    assert "200 of 200 purchases are no longer in the database on their day" in told
    assert report.ages["purchases_removed"] == {"over a year": 200}


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


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_files_of_every_odd_name_are_loaded_and_what_cannot_be_read_costs_itself_alone(world):
    world.put("iOS/good", lines(message(event("good"), message_id=None)))
    world.put("iOS/sale!.json", lines(message(event("sale"), message_id=None)))
    world.put(os.fsdecode(b"iOS/vis\xe3o.json"), lines(message(event("visao"), message_id=None)))
    folder = world.path / "events/iOS"
    with zipfile.ZipFile(folder / "x!.zip", "w") as content:
        for product in ("first", "second"):
            content.writestr("a", lines(message(event(product), message_id=None)))
    with zipfile.ZipFile(folder / "y.zip", "w", zipfile.ZIP_LZMA) as content:
        content.writestr("a", random.Random(1).randbytes(5000))
    damaged = bytearray((folder / "y.zip").read_bytes())
    damaged[200:260] = b"\xff" * 60
    (folder / "y.zip").write_bytes(damaged)
    os.mkfifo(folder / "pipe")
    world.run()
    assert world.states() == {
        "iOS/good": "loaded",
        "iOS/pipe": "failed",
        "iOS/sale!!.json": "loaded",
        r"iOS/vis\xe3o.json": "loaded",
        "iOS/x!!.zip": "archive",
        "iOS/x!!.zip!a": "loaded",
        "iOS/x!!.zip!a#2": "loaded",
        "iOS/y.zip": "archive",
        "iOS/y.zip!a": "failed",
    }
    assert [row[2] for row in world.days() if row[3]] == ["first", "good", "sale", "second", "visao"]
    [again] = world.run()
    assert again.files["planned"] == 2
