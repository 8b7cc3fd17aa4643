"""Backfill: the plan without a run, usage, pace."""

from __future__ import annotations

import pytest

from jobs import cli
from jobs.lake import Lake
from jobs.pace import Pace
from jobs.progress import how_far
from jobs.publish import publish


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
    for number, job in enumerate(("replay", "maintain", "publish"), start=5):
        publish(lake, number, job, {"seconds": 1.0, "started_at": "newest"})
    publish(lake, 8, "backfill --rebuild", {"bytes_on_disk": 1, "seconds": 1.0, "started_at": "newest"})
    assert cli.main(["backfill", "--dry-run"]) == 0
    assert "3 files, 0.0 MB: about 2.0 minutes" in capsys.readouterr().out


def test_rebuild_reads_no_file_so_a_path_is_wrong_usage(env, capsys):
    assert cli.main(["backfill", "--rebuild", "--path", "iOS/*"]) == 2
    assert "--rebuild reads no file, so it takes no --path" in capsys.readouterr().err


def test_the_time_left_follows_the_pace():
    assert Pace(100, 1.0).left(12_000) == "about 2.0 minutes"
    assert Pace(100, 1.0).left(100 * 3600 * 5) == "about 5.0 hours"
    assert Pace(0, 0.0).left(5) == "unknown time"
    assert how_far(0, 80, 10**10, 3.0) == "0 of 80 tasks"
    assert how_far(20, 80, 10**10, 10.0) == "20 of 80 tasks, 250 MB/s, about 0.5 minutes left"
    assert how_far(20, 80, 0, 10.0) == "20 of 80 tasks, about 0.5 minutes left"
