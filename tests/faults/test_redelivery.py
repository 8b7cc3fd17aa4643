"""Files that come again: cut and whole, as a copy, as what they were; clocks that go wrong."""

from __future__ import annotations

import gzip
from datetime import timedelta

import pytest
from rich.console import Console

from jobs.lake import rows_of
from jobs.ledger import LOADED, PLANNED, Ledger
from jobs.progress import Stages
from jobs.run import Run
from jobs.schemas import FILES, QUARANTINE
from jobs.status import lake_status
from jobs.tasks import make_tasks
from tests.jobs.test_run import World
from tests.rows import NOON, event, lines, message

pytestmark = [pytest.mark.faults, pytest.mark.spark, pytest.mark.slow]

THEN = 1_460_000_000
IN_2040 = 2_209_032_000_000


@pytest.fixture
def world(spark, tmp_path):
    return World(spark, tmp_path)


def views(*products):
    return lines(*[message(event(product), message_id=None) for product in products])


def products(world):
    return [row[2] for row in world.days() if row[3]]


def test_a_file_that_cannot_be_read_is_tried_once_a_run_though_it_fills_a_batch(world):
    world.put("iOS/2016-02-02/cut.gz", gzip.compress(views("new"))[:-9])
    world.put("iOS/2016-02-01/a", views("old"))
    reports = world.run(batch_bytes=1)
    assert [(report.files["failed"], report.files["loaded"]) for report in reports] == [(1, 0), (0, 1)]
    [again] = world.run(batch_bytes=1)
    assert again.files["failed"] == 1
    assert products(world) == ["old"]


def test_a_file_that_grows_all_the_while_is_tried_once_a_run_though_it_fills_a_batch(world, monkeypatch):
    world.put("iOS/2016-02-02/live", views("live"))
    growing = world.path / "events/iOS/2016-02-02/live"
    world.put("iOS/2016-02-01/a", views("old"))

    def grows(*arguments):
        with growing.open("ab") as stream:
            stream.write(views("more"))
        return make_tasks(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("jobs.run.make_tasks", grows)
        reports = world.run(batch_bytes=1)
    assert [(report.files["failed"], report.files["loaded"]) for report in reports] == [(1, 0), (0, 1)]
    assert products(world) == ["old"]
    [again] = world.run(batch_bytes=1)
    assert again.files["failed"] == 0
    assert products(world) == ["live", "more", "old"]


def test_a_changed_file_that_cannot_be_read_keeps_its_old_rows_and_does_not_keep_the_run(world):
    world.put("iOS/a.gz", gzip.compress(views("old")), changed=THEN)
    world.run()
    world.put("iOS/a.gz", gzip.compress(views("new"))[:-9])
    [report] = world.run()
    assert report.files["failed"] == 1
    assert products(world) == ["old"]
    world.put("iOS/a.gz", gzip.compress(views("new")))
    world.run()
    assert products(world) == ["new"]


def test_a_copy_of_a_file_that_cannot_be_read_is_tried_once_as_well(world):
    cut = gzip.compress(views("x"))[:-9]
    for path in ("iOS/2016-02-01/a.gz", "iOS/2016-02-02/a.gz", "iOS/2016-02-03/a.gz"):
        world.put(path, cut)
    world.put("iOS/2016-01-01/b", views("b"))
    assert len(world.run(batch_bytes=1)) == 2
    assert products(world) == ["b"]


def test_copies_are_recorded_in_the_batch_that_reads_their_original(world):
    world.put("iOS/2016-02-09/a", views("a"))
    world.put("iOS/2016-02-01/b", views("b"))
    world.put("iOS/2016-02-01/c", views("b"))
    reports = world.run(batch_bytes=1)
    assert [report.files["duplicate"] for report in reports] == [0, 1]


def test_a_file_that_becomes_a_copy_of_another_loses_its_own_rows(world):
    world.put("iOS/a", views("a"), changed=THEN)
    world.put("iOS/b", views("b"))
    world.run()
    world.put("iOS/a", views("b"))
    world.run()
    assert world.days()[-1] == ("02-01", "iOS", "b", 1, 0)
    assert products(world) == ["b"]


def test_a_file_that_is_put_back_from_a_backup_with_its_old_time_is_read_again(world):
    world.put("iOS/a", views("right"), changed=THEN)
    world.run()
    world.put("iOS/a", views("wrong"))
    world.run()
    assert products(world) == ["wrong"]
    world.put("iOS/a", views("right"), changed=THEN)
    world.run()
    assert products(world) == ["right"]


def test_the_newest_batch_holds_though_the_clock_went_back(world):
    world.put("iOS/a", views("a"))
    world.run()
    behind = world.lake.read(FILES).to_pylist()
    assert {row["state"] for row in behind} == {PLANNED, LOADED}
    for row in behind:  # as if the clock had been put back by a day between the plan and the end of the batch
        if row["state"] == LOADED:
            row["recorded_at"] -= timedelta(days=1)
    world.lake.overwrite(FILES, rows_of(FILES, behind), 1)
    assert [known.state for known in Ledger.read(world.lake).statements.values()] == [LOADED]


def test_rejects_of_a_replaced_file_go_though_its_run_had_begun_days_before(world, spark):
    world.put("iOS/a", views("a") + b"broken product\n", changed=THEN)
    run = Run(world.config(quarantine_limit=1), "backfill", spark, Stages(Console(quiet=True)))
    run.started -= timedelta(days=3)
    run(lambda _: None)
    assert world.lake.read(QUARANTINE).num_rows == 1
    world.put("iOS/a", views("a"))
    world.run()
    assert world.lake.read(QUARANTINE).num_rows == 0


def test_a_clock_in_2040_is_counted_and_moves_no_watermark(world):
    world.put("iOS/a", views("p"))
    world.run()
    before = lake_status(world.lake.root)["platforms"]["iOS"]
    world.put("iOS/b", lines(message(event("clock", IN_2040), event("p", NOON - 1), message_id="clock")))
    world.run()
    after = lake_status(world.lake.root)["platforms"]["iOS"]
    assert after["views"] == before["views"] + 2
    for mark in ("views_watermark", "purchases_watermark", "last_day", "missing_days"):
        assert after[mark] == before[mark], mark
