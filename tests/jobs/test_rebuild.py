"""Rollups made anew: batches of days, the same tables however they are cut, a dry run that changes nothing."""

from __future__ import annotations

import io
from datetime import date, timedelta
from functools import partial

import pytest
from rich.console import Console

from jobs import cli
from jobs.datafiles import DataFile
from jobs.lake import Lake
from jobs.progress import Stages
from jobs.publish import newest_publication, newest_runs, next_number, publish
from jobs.rebuild import JOB, Range, cut_days, rebuild
from jobs.schemas import COVERAGE, CTR_DAY, PURCHASES, ROLLUPS, VIEWS
from tests.jobs.lakes import (
    DAY,
    add,
    all_rows,
    copy_lake,
    make_config,
    make_lake,
    rows,
    tree,
    turns_while_one_waits,
    view,
)

DAYS = 4
FOLLOW = (*ROLLUPS, COVERAGE)
"""The tables that are made from others."""


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    """A lake of four days of two platforms, published after a defect had lost all that follows from the rows."""
    lake = make_lake(tmp_path_factory.mktemp("rebuild") / "lake")
    for number in range(DAYS):
        day = DAY + timedelta(days=number)
        add(lake, VIEWS, [view(f"p{n % 3}", n * 60, day, file_id="f", offset=n) for n in range(10 + number)])
        add(lake, VIEWS, [view("q", number, day, "Android", offset=number)])
    add(lake, PURCHASES, [{**view("p1"), "item_id": "1"}])
    publish(lake, 1, "defect", {})
    return lake


@pytest.fixture
def lake(spoiled, tmp_path):
    return copy_lake(spoiled, tmp_path / "lake")


def run(lake, spark, first=None, last=None, **settings):
    console = Console(file=io.StringIO(), width=140)
    rebuild(make_config(lake, **settings), spark, Stages(console), Range(first, last))
    return console.file.getvalue()


def follows(lake):
    return {table.name: rows(lake, table) for table in FOLLOW}


def file(day, size, platform="iOS"):
    return DataFile(f"{platform}-{day}-{size}", size, 1, date(2016, 2, day), platform)


def test_days_are_cut_by_bytes_newest_first_and_none_is_torn():
    files = [file(1, 10), file(2, 10), file(2, 10, "Android"), file(3, 100), file(4, 5), file(5, 5)]
    cut = cut_days(files, 30)
    assert [[day.day for day in days.dates] for days in cut] == [[4, 5], [3], [1, 2]]
    assert [days.bytes for days in cut] == [10, 100, 30]
    assert (date(2016, 2, 2), "Android") in cut[2].partitions
    assert cut_days([], 30) == []


@pytest.mark.spark
@pytest.mark.slow
def test_many_batches_make_the_same_tables_as_one(lake, spark, tmp_path):
    whole = copy_lake(lake, tmp_path / "whole")
    others = all_rows(lake, skip=FOLLOW)
    assert "rebuilt 2016-02-01 to 2016-02-04, 8 days of platforms: publication 2\n" in run(whole, spark)
    said = run(lake, spark, batch_bytes=1)
    assert follows(lake) == follows(whole)
    assert follows(lake)["coverage"].total() == 2 * DAYS
    assert [run["job"] for run in newest_runs(lake)] == [JOB] * DAYS + ["defect"]
    assert [line.split(",")[0] for line in said.splitlines() if line.startswith("rebuilt")] == [
        f"rebuilt 2016-02-0{day} to 2016-02-0{day}" for day in (4, 3, 2, 1)
    ]
    assert said.count("MB/s so far; left: ") == DAYS - 1
    assert all_rows(lake, skip=FOLLOW) == others


@pytest.mark.spark
@pytest.mark.slow
def test_a_range_is_rebuilt_and_the_days_beside_it_stay(lake, spark):
    run(lake, spark, date(2016, 2, 2), date(2016, 2, 3), batch_bytes=1)
    assert {row[0] for row in follows(lake)["ctr_day"]} == {date(2016, 2, 2), date(2016, 2, 3)}


@pytest.mark.spark
@pytest.mark.slow
def test_counts_of_a_day_that_has_no_rows_are_taken_away(lake, spark):
    day = DAY + timedelta(days=20)
    count = {**view(day=day), "views": 1, "purchases": 0}
    add(lake, CTR_DAY, [{name: count[name] for name in CTR_DAY.columns}])
    publish(lake, 2, "defect", {})
    assert "1 days of platforms" in run(lake, spark, day, day)
    assert day not in {row[0] for row in follows(lake)["ctr_day"]}


@pytest.mark.spark
@pytest.mark.slow
def test_what_a_stopped_rebuild_has_published_stays_and_a_plain_run_repeats_it(lake, spark, tmp_path, monkeypatch):
    whole = copy_lake(lake, tmp_path / "whole")
    run(whole, spark)

    def die_in_the_third(lake, number, *rest):
        if number == 4:
            raise RuntimeError("killed")
        return publish(lake, number, *rest)

    with monkeypatch.context() as patched:
        patched.setattr("jobs.rebuild.publish", die_in_the_third)
        with pytest.raises(RuntimeError, match="killed"):
            run(lake, spark, batch_bytes=1)
    assert newest_publication(lake)["publication"] == 3
    said = run(lake, spark, batch_bytes=1)
    assert "warning: a run died before this one; taken back: " in said
    assert follows(lake) == follows(whole)


@pytest.mark.spark
@pytest.mark.slow
def test_a_job_that_waits_for_the_lake_gets_its_turn_after_the_batch(lake, spark, monkeypatch):
    work = partial(run, lake, spark, batch_bytes=1)
    turns = turns_while_one_waits(monkeypatch, "jobs.rebuild.publish", lake, 2, work)
    assert turns == [2, "daily", 3, 4, 5]


@pytest.mark.spark
@pytest.mark.slow
def test_a_range_without_rows_is_told_and_publishes_nothing(spark, tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    assert run(lake, spark) == "nothing to rebuild: no views, no purchases and no counts in this range\n"
    assert newest_publication(lake) is None


def command(lake, monkeypatch, *flags):
    monkeypatch.setenv("CTR_LAKE", lake.root)
    return cli.main(["backfill", "--rebuild", "--dry-run", *flags])


def test_a_dry_run_lists_the_batches_newest_first_and_changes_nothing(lake, monkeypatch, capsys):
    before = tree(lake), lake.versions()
    assert command(lake, monkeypatch, "--batch-bytes", "1", "--to", "2016-02-03") == 0
    out = capsys.readouterr().out
    assert out.index("2016-02-03") < out.index("2016-02-02") < out.index("2016-02-01")
    assert "2016-02-04" not in out
    assert "3 batches, 3 days, 0.0 MB: unknown time" in out
    assert (tree(lake), lake.versions()) == before
    assert command(lake, monkeypatch) == 0
    assert "1 batches, 4 days" in capsys.readouterr().out


def test_the_estimate_of_a_dry_run_goes_by_the_newest_rebuild(lake, monkeypatch, capsys):
    size = sum(file.size for table in (VIEWS, PURCHASES) for file in lake.files(table))
    for seconds in (120.0, 240.0):
        report = {"bytes_on_disk": size / 2, "seconds": seconds, "started_at": "then"}
        publish(lake, next_number(lake), JOB, report)
    publish(lake, next_number(lake), "daily", {"bytes_on_disk": 1, "seconds": 1.0, "started_at": "later"})
    assert command(lake, monkeypatch) == 0
    assert "about 4.0 minutes" in capsys.readouterr().out


def test_a_dry_run_without_rows_or_without_a_lake_says_so(lake, monkeypatch, capsys):
    assert command(lake, monkeypatch, "--from", "2016-03-01") == 0
    assert capsys.readouterr().out == "nothing to rebuild: no views, no purchases and no counts in this range\n"
    assert command(Lake(f"{lake.root}/none"), monkeypatch) == 1
    assert "no lake at" in capsys.readouterr().err
