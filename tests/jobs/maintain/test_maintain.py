"""Maintain: fewer files, the same rows; what is deleted nobody can ask for; a kill at any step costs nothing."""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from jobs import maintain
from jobs.errors import AccountError, JobError, UsageError
from jobs.lake import CHECKPOINT_COMMITS, Lake
from jobs.lock import lake_lock
from jobs.maintain.kept import all_publications
from jobs.progress import Stages
from jobs.publish import newest_publication, next_number, publish
from jobs.schemas import CTR_DAY, FILES, PUBLICATIONS, PURCHASES, QUARANTINE, VIEWS
from tests.jobs.lakes import (
    DAY,
    TODAY,
    add,
    all_rows,
    copy_lake,
    counts_by_duckdb,
    lake_of_nights,
    make_config,
    make_lake,
    published_rows,
    rows,
    tree,
    turns_while_one_waits,
    view,
)

pytestmark = pytest.mark.slow

NIGHTS = 6


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """A lake of an earlier version, whose commits write few checkpoints."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("jobs.lake.CHECKPOINT_COMMITS", 100)
        return lake_of_nights(tmp_path_factory.mktemp("maintain") / "lake", NIGHTS)


@pytest.fixture
def lake(nights, tmp_path):
    return copy_lake(nights, tmp_path / "lake")


def run(lake, **settings):
    return maintain.maintain(make_config(lake, **settings), Stages(Console(quiet=True)))


def command(lake, *flags, **settings):
    """The job as the command line runs it: exit code and what it printed."""
    parser = argparse.ArgumentParser()
    maintain.add_parser(parser.add_subparsers())
    console = Console(file=io.StringIO(), width=140)
    arguments = parser.parse_args(["maintain", *flags])
    return arguments.run(arguments, make_config(lake, **settings), console), console.file.getvalue()


def test_small_files_are_merged_and_no_row_of_any_table_changes(lake):
    before = all_rows(lake, skip=(QUARANTINE, FILES))
    rejects = rows(lake, QUARANTINE)
    [result] = run(lake)
    assert all_rows(lake, skip=(QUARANTINE, FILES)) == before
    assert rows(lake, QUARANTINE).total() == NIGHTS
    assert rows(lake, QUARANTINE) < rejects
    for table in (VIEWS, PURCHASES, QUARANTINE, CTR_DAY):
        partitions = [(file.date, file.platform) for file in lake.files(table)]
        assert len(partitions) == len(set(partitions))
    assert result.compacted["views"]["files_before"] == NIGHTS
    assert (result.compacted["views"]["partitions"], result.compacted["views"]["files_after"]) == (1, 1)
    assert "ctr_day" not in result.compacted


def test_merged_views_are_sorted_by_product_and_time(lake):
    run(lake)
    [file] = lake.files(VIEWS, [(DAY, "iOS")])
    merged = pq.read_table(Path(lake.uri(VIEWS)) / file.path, partitioning=None).select(["product", "time"]).to_pylist()
    assert len(merged) == NIGHTS * 20
    assert merged == sorted(merged, key=lambda row: (row["product"], row["time"]))


def test_everything_ends_in_one_publication_and_a_second_run_changes_nothing(lake):
    run(lake)
    newest = newest_publication(lake)
    assert (newest["publication"], newest["job"]) == (NIGHTS + 1, "maintain")
    assert all(newest[f"{name}_version"] == version for name, version in lake.versions().items())
    assert json.loads(newest["report"])["compacted"]["purchases"]["files_after"] == 1
    before = tree(lake)
    [again] = run(lake)
    assert again.publication is None
    assert tree(lake) == before


def test_rejects_older_than_quarantine_days_go_and_those_of_the_last_day_stay(lake):
    edge = TODAY - timedelta(days=90)
    add(lake, QUARANTINE, [{"date": day, "platform": "iOS", "raw": b"x"} for day in (edge, edge - timedelta(days=1))])
    publish(lake, next_number(lake), "daily", {})
    [result] = run(lake)
    days = {row["date"] for row in lake.read(QUARANTINE).to_pylist()}
    assert days == {TODAY, edge}
    assert result.rejects["rows"] == NIGHTS + 1


def test_the_ledger_keeps_the_newest_statement_of_each_file(lake):
    [result] = run(lake)
    assert result.superseded == NIGHTS
    assert rows(lake, FILES).total() == NIGHTS
    assert {row["state"] for row in lake.read(FILES).to_pylist()} == {"loaded"}


def test_data_of_kept_publications_stays_and_is_read_by_duckdb_and_that_of_older_ones_is_deleted(lake):
    expected = {row["publication"]: published_rows(lake, row) for row in all_publications(lake)}
    readable = {row["publication"]: counts_by_duckdb(lake, row) for row in all_publications(lake)[:3]}
    run(lake)
    settings = {"keep_days": 0, "keep_publications": 4, "vacuum_grace_hours": 0}
    [result] = run(lake, **settings)
    assert result.kept == [NIGHTS - 2, NIGHTS - 1, NIGHTS, NIGHTS + 1]
    assert result.deleted["files"] >= NIGHTS
    for row in all_publications(lake)[1:4]:
        assert published_rows(lake, row) == expected[row["publication"]]
        assert counts_by_duckdb(lake, row) == readable[row["publication"]]
    newest, ctr = counts_by_duckdb(lake, newest_publication(lake))
    assert ctr == readable[NIGHTS][1]
    assert newest == {name: found.total() for name, found in all_rows(lake).items()}
    with pytest.raises(duckdb.Error):
        counts_by_duckdb(lake, all_publications(lake)[-2])


def test_by_default_the_data_of_a_week_is_kept(lake):
    [result] = run(lake)
    assert result.deleted["files"] == 0
    assert result.kept == list(range(1, NIGHTS + 2))


def test_files_of_dead_runs_are_deleted_after_a_day(lake):
    orphan = Path(lake.uri(VIEWS)) / f"date={DAY}" / "platform=iOS" / "dead.parquet"
    orphan.write_bytes(b"half a file")
    assert run(lake)[-1].deleted["files"] == 0
    then = time.time() - 25 * 3600
    os.utime(orphan, (then, then))
    assert run(lake)[-1].deleted == {"files": 1, "bytes": 11}
    assert not orphan.exists()


def test_a_long_history_is_published_in_parts_and_the_lake_is_free_in_between(lake):
    for second in range(3):
        add(lake, VIEWS, [view(second=second, day=DAY + timedelta(days=40))])
    publish(lake, next_number(lake), "daily", {})
    before = rows(lake, VIEWS)
    results = run(lake, batch_bytes=1)
    assert [result.publication for result in results] == [NIGHTS + 2, NIGHTS + 3, NIGHTS + 4, NIGHTS + 5]
    assert [result.left for result in results] == [3, 2, 1, 0]
    assert rows(lake, VIEWS) == before


def test_a_job_that_waits_for_the_lake_gets_its_turn_between_two_publications(lake, monkeypatch):
    for second in range(3):
        add(lake, VIEWS, [view(second=second, day=DAY + timedelta(days=40))])
    first = publish(lake, next_number(lake), "daily", {}) + 1
    work = partial(run, lake, batch_bytes=1)
    turns = turns_while_one_waits(monkeypatch, "jobs.maintain.publish", lake, first, work)
    assert turns == [first, "daily", first + 1, first + 2, first + 3]


def test_a_dry_run_changes_nothing_and_says_the_same_numbers(lake):
    before = tree(lake), lake.versions()
    settings = {"keep_days": 0, "keep_publications": 4, "vacuum_grace_hours": 0}
    planned = maintain.preview(make_config(lake, **settings))
    code, said_then = command(lake, "--dry-run", "--short-retention", **settings)
    assert (code, tree(lake), lake.versions()) == (0, *before)
    assert "what would be done" in said_then
    [result] = run(lake)
    for name, row in result.compacted.items():
        assert planned.compacted[name] == {key: value for key, value in row.items() if key != "bytes_after"}
    same = ("rejects", "superseded", "checkpoints", "publication_files", "logs")
    assert [getattr(planned, name) for name in same] == [getattr(result, name) for name in same]
    assert (planned.kept, planned.publication, planned.left) == ([3, 4, 5, 6], None, 0)


def test_a_dry_run_looks_at_what_is_published_and_does_not_wait_for_a_run(lake):
    add(lake, VIEWS, [view("of a run at work")])
    with lake_lock(lake.root, "daily", 0, print):
        assert maintain.preview(make_config(lake)).compacted["views"]["files_before"] == NIGHTS


def test_tables_are_checkpointed_and_the_publications_table_becomes_one_file(lake):
    for _ in range(15):
        publish(lake, next_number(lake), "daily", {})
    before = rows(lake, PUBLICATIONS)
    [result] = run(lake)
    assert before < rows(lake, PUBLICATIONS)
    assert len(lake.open(PUBLICATIONS).file_uris()) == 1
    assert result.publication_files == NIGHTS + 15 + 1
    for table in (VIEWS, FILES, PUBLICATIONS):
        checkpoints = [path.name for path in (Path(lake.uri(table)) / "_delta_log").glob("*.checkpoint.parquet")]
        assert max(int(name[:20]) for name in checkpoints) > CHECKPOINT_COMMITS
        assert table.name in result.checkpoints


STEPS = (
    ("jobs.maintain.compact.merge", 0),
    ("jobs.lake.Lake.commit", 0),
    ("jobs.lake.Lake.commit", 2),
    ("jobs.lake.Lake.overwrite", 0),
    ("jobs.maintain.publish", 0),
    ("jobs.maintain.compact_publications", 0),
    ("jobs.maintain.write_checkpoint", 0),
    ("jobs.maintain.find_kept", 0),
    ("pathlib.Path.unlink", 0),
    ("pathlib.Path.unlink", 2),
    ("jobs.maintain.clean_logs", 2),
)


@pytest.mark.parametrize(("step", "calls"), STEPS)
def test_a_run_that_dies_at_any_step_loses_nothing_and_a_plain_run_repeats_it(lake, monkeypatch, step, calls):
    before = all_rows(lake, skip=(QUARANTINE, FILES))
    kept = {row["publication"]: published_rows(lake, row) for row in all_publications(lake)[:2]}
    settings = {"keep_days": 0, "keep_publications": 3, "vacuum_grace_hours": 0}
    real, left = _find(step), [None] * calls

    def dies(*arguments, **named):
        if not left:
            raise RuntimeError("killed")
        left.pop()
        return real(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(step, dies)
        with pytest.raises(RuntimeError, match="killed"):
            run(lake, **settings)
    result = run(lake, **settings)[-1]
    assert all_rows(lake, skip=(QUARANTINE, FILES)) == before
    assert (rows(lake, QUARANTINE).total(), rows(lake, FILES).total()) == (NIGHTS, NIGHTS)
    assert (len(lake.files(VIEWS, [(DAY, "iOS")])), len(lake.files(PURCHASES))) == (1, 1)
    assert result.kept == [NIGHTS - 1, NIGHTS, NIGHTS + 1]
    assert {row["publication"]: published_rows(lake, row) for row in all_publications(lake)[1:3]} == kept


def _find(step):
    parts = step.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for name in parts[cut:]:
            found = getattr(found, name)
        return found
    raise AssertionError(step)


def test_an_error_leaves_the_lake_as_it_was(lake, monkeypatch):
    before = all_rows(lake)

    def fails(*_):
        raise AccountError("not so many rows")

    monkeypatch.setattr("jobs.maintain.compact.merge", fails)
    with pytest.raises(AccountError):
        run(lake)
    assert all_rows(lake) == before
    assert newest_publication(lake)["publication"] == NIGHTS


def test_what_a_dead_run_left_is_taken_back_first_and_told(lake):
    add(lake, VIEWS, [view("of a dead run")])
    [result] = run(lake)
    assert "taken back: views" in result.warnings[0]
    assert "of a dead run" not in lake.read(VIEWS)["product"].to_pylist()


def test_the_command_prints_a_table_and_exits_0(lake):
    code, printed = command(lake)
    assert code == 0
    for text in ("publication 7", "compact views", "6 files", "old rejects", "6 rows", "kept"):
        assert text in printed
    assert "nothing to rewrite" in command(lake)[1]


def test_a_short_retention_has_to_be_asked_for(lake):
    with pytest.raises(UsageError, match="keep_days is 6: wanted at least 7"):
        command(lake, keep_days=6)
    assert command(lake, "--short-retention", keep_days=6)[0] == 0


def test_without_a_lake_or_a_publication_there_is_one_clear_error(tmp_path):
    with pytest.raises(JobError, match=r"no lake at .*: run ./spark-submit.sh daily first"):
        command(Lake(str(tmp_path / "none")))
    empty = make_lake(tmp_path / "empty")
    with pytest.raises(JobError, match="nothing is published"):
        command(empty, "--dry-run")
    assert command(empty)[0] == 0
    assert newest_publication(empty) is None


def test_publications_whose_logs_are_gone_are_named(lake):
    lake.open(CTR_DAY).create_checkpoint()
    (Path(lake.uri(CTR_DAY)) / "_delta_log" / f"{0:020}.json").unlink()
    [result] = run(lake)
    assert "the logs of publications 1, 2, 3, 4, 5 are gone" in result.warnings[0]
    assert result.kept == [NIGHTS, NIGHTS + 1]
