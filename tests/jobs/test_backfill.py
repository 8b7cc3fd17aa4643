"""Backfill: the plan without a run, rollups made anew, usage, pace."""

from __future__ import annotations

from datetime import date

import pytest
from rich.console import Console

from jobs import cli
from jobs.backfill import rebuild
from jobs.lake import Lake
from jobs.pace import Pace
from jobs.progress import Stages
from jobs.publish import newest_publication, publish
from jobs.schemas import CTR_DAY, CTR_MINUTE
from tests.jobs.test_run import DAY, World
from tests.rows import NOON, event, lines, message


@pytest.fixture
def env(tmp_path, monkeypatch):
    monkeypatch.setenv("CTR_EVENTS", str(tmp_path / "events"))
    monkeypatch.setenv("CTR_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("CTR_PURCHASES_URL", f"jdbc:sqlite:{tmp_path}/shop.db")
    for day in (1, 2, 3):
        folder = tmp_path / "events" / "iOS" / f"2016-02-0{day}"
        folder.mkdir(parents=True)
        (folder / "a").write_bytes(b"x" * day * 1000)
    return tmp_path


def test_a_dry_run_shows_the_batches_newest_first_and_makes_nothing(env, capsys):
    assert cli.main(["backfill", "--dry-run", "--batch-bytes", "3500"]) == 0
    out = capsys.readouterr().out
    assert out.index("2016-02-03") < out.index("2016-02-02") < out.index("2016-02-01")
    assert "2 batches, 3 files, 0.0 MB: unknown time" in out
    assert not (env / "lake").exists()


def test_a_dry_run_takes_the_selection(env, capsys):
    assert cli.main(["backfill", "--dry-run", "--from", "2016-02-02", "--path", "iOS/*-02/*"]) == 0
    assert "1 batches, 1 files" in capsys.readouterr().out


def test_the_estimate_goes_by_the_newest_run_that_read_files_all_its_batches_together(env, capsys):
    lake = Lake(str(env / "lake"))
    lake.create()
    minute = {"bytes": 9_000_000, "bytes_on_disk": 3000, "seconds": 60.0}  # 6000 bytes: two minutes
    publish(lake, 1, "daily", {**minute, "started_at": "old", "seconds": 0.1})
    publish(lake, 2, "backfill", {**minute, "started_at": "new"})
    publish(lake, 3, "backfill", {**minute, "started_at": "new", "seconds": 120.0})
    publish(lake, 4, "daily", {"bytes": 0, "bytes_on_disk": 0, "seconds": 20.0, "started_at": "newer"})
    for number, job in enumerate(("replay", "maintain", "publish", "backfill --rebuild"), start=5):
        publish(lake, number, job, {"seconds": 1.0, "started_at": "newest"})
    assert cli.main(["backfill", "--dry-run"]) == 0
    assert "3 files, 0.0 MB: about 2.0 minutes" in capsys.readouterr().out


def test_rebuild_reads_no_file_so_a_path_is_wrong_usage(env, capsys):
    assert cli.main(["backfill", "--rebuild", "--path", "iOS/*"]) == 2
    assert "--rebuild goes with --from and --to only" in capsys.readouterr().err


@pytest.mark.spark
@pytest.mark.slow
def test_rebuild_makes_the_rollups_of_a_range_anew(spark, tmp_path):
    world = World(spark, tmp_path)
    for day in (1, 2):
        world.put(f"iOS/{day}", lines(message(event(f"p{day}", NOON + (day - 1) * DAY), message_id=str(day))))
    world.run()
    before = world.days()
    for table in (CTR_DAY, CTR_MINUTE):  # as if a defect had lost them
        world.lake.commit(table, 1, removes=world.lake.files(table))
    publish(world.lake, 2, "defect", {})
    line = rebuild(world.config(), spark, Stages(Console(quiet=True)), date(2016, 2, 1), date(2016, 2, 1))
    assert line == "rebuilt 1 days of platforms: publication 3"
    assert world.days() == [row for row in before if row[0] == "02-01"]
    rebuild(world.config(), spark, Stages(Console(quiet=True)), None, None)
    assert world.days() == before
    assert newest_publication(Lake(world.lake.root))["job"] == "backfill --rebuild"


@pytest.mark.spark
@pytest.mark.slow
def test_a_range_without_rows_is_told_and_publishes_nothing(spark, tmp_path):
    world = World(spark, tmp_path)
    assert rebuild(world.config(), spark, Stages(Console(quiet=True)), None, None).startswith("nothing to rebuild")
    assert newest_publication(world.lake) is None


def test_the_time_left_follows_the_pace():
    assert Pace(100, 1.0).left(12_000) == "about 2.0 minutes"
    assert Pace(100, 1.0).left(100 * 3600 * 5) == "about 5.0 hours"
    assert Pace(0, 0.0).left(5) == "unknown time"
