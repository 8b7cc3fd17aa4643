"""``publish --to N``: an older state comes back as a new publication, and later runs go on from it."""

from __future__ import annotations

import argparse
import io
import sqlite3
from pathlib import Path

import pytest
from rich.console import Console

from jobs import rollback
from jobs.config import Config
from jobs.errors import JobError, UsageError
from jobs.lake import Lake
from jobs.maintain import maintain
from jobs.maintain.kept import all_publications
from jobs.progress import Stages
from jobs.publish import newest_publication, recover
from jobs.schemas import CTR_DAY, FILES, PUBLISHED, QUARANTINE, VIEWS
from tests.jobs.lakes import (
    add,
    all_rows,
    copy_lake,
    counts_by_duckdb,
    lake_of_nights,
    make_config,
    make_lake,
    multiset,
    published_rows,
    rows,
    tree,
    view,
)
from tests.jobs.test_run import DAY, World
from tests.rows import NOON, event, lines, message

pytestmark = pytest.mark.slow

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    return lake_of_nights(tmp_path_factory.mktemp("rollback") / "lake", 4)


@pytest.fixture
def lake(nights, tmp_path):
    return copy_lake(nights, tmp_path / "lake")


def put_back(lake, number, **settings):
    return rollback.put_back(make_config(lake, **settings), number, QUIET)


def command(config, *flags):
    """The job as the command line runs it: exit code and what it printed."""
    parser = argparse.ArgumentParser()
    rollback.add_parser(parser.add_subparsers())
    console = Console(file=io.StringIO(), width=140)
    arguments = parser.parse_args(["publish", *flags])
    return arguments.run(arguments, config, console), console.file.getvalue()


def test_every_table_is_as_the_publication_names_it_and_that_is_a_new_publication(lake):
    wanted = all_publications(lake)[2]
    expected = published_rows(lake, wanted)
    said = put_back(lake, 2)
    newest = newest_publication(lake)
    assert (newest["publication"], newest["job"]) == (5, "publish")
    assert all_rows(lake) == expected == published_rows(lake, newest)
    assert lake.versions() == {table.name: newest[f"{table.name}_version"] for table in PUBLISHED}
    assert said.startswith("publication 5 is publication 2 of ")
    assert "put back: views, purchases, ctr_day, coverage, quarantine, files." in said
    assert "2 event files (0.0 MB) were loaded since: the next daily reads them again" in said


def test_the_report_names_the_publication_that_was_put_back(lake):
    put_back(lake, 3)
    assert '"to": 3' in newest_publication(lake)["report"]
    assert '"forgotten": 1' in newest_publication(lake)["report"]


def test_the_state_before_a_rollback_can_be_put_back_too(lake):
    before = all_rows(lake)
    put_back(lake, 1)
    assert all_rows(lake) != before
    put_back(lake, 4)
    assert all_rows(lake) == before
    assert newest_publication(lake)["publication"] == 6


def test_the_state_that_the_lake_is_in_is_not_published_again(lake):
    assert "nothing to do" in put_back(lake, 4)
    put_back(lake, 2)
    versions = lake.versions()
    assert "nothing to do" in put_back(lake, 2)
    assert (lake.versions(), newest_publication(lake)["publication"]) == (versions, 5)


def test_recovery_finds_nothing_to_take_back_after_a_rollback(lake):
    put_back(lake, 2)
    before = all_rows(lake)
    assert recover(lake) == []
    add(lake, VIEWS, [view("of a dead run")])
    assert recover(lake) == ["views"]
    assert all_rows(lake) == before


@pytest.mark.parametrize("step", [0, 1, 3, 5])
def test_a_rollback_that_dies_is_taken_back(lake, monkeypatch, step):
    before = all_rows(lake)
    real, done = Lake.take_back, []

    def dies(self, table, version):
        if len(done) > step:
            raise RuntimeError("killed")
        changed = real(self, table, version)
        done.extend([table] if changed else [])
        return changed

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "take_back", dies)
        patched.setattr("jobs.rollback.publish", lambda *_: dies(lake, None, None))
        with pytest.raises(RuntimeError, match="killed"):
            put_back(lake, 2)
    assert recover(lake) != []
    assert all_rows(lake) == before
    assert newest_publication(lake)["publication"] == 4


def test_a_dry_run_says_what_would_come_back_and_changes_nothing(lake):
    before = tree(lake)
    code, said = command(make_config(lake), "--to", "2", "--dry-run")
    assert code == 0
    assert "would put back publication 2 of " in said
    assert "views, purchases, ctr_day, coverage, quarantine, files. 2 event files" in said
    assert "nothing to do" in command(make_config(lake), "--to", "4", "--dry-run")[1]
    assert tree(lake) == before
    put_back(lake, 2)
    assert "nothing to do" in command(make_config(lake), "--to", "2", "--dry-run")[1]


def test_an_unknown_publication_is_wrong_usage(lake, tmp_path):
    with pytest.raises(UsageError, match=r"no publication 9 in the lake .*: there are 1 to 4"):
        put_back(lake, 9)
    empty = make_lake(tmp_path / "empty")
    with pytest.raises(UsageError, match="nothing is published yet"):
        put_back(empty, 1)
    with pytest.raises(JobError, match="no lake at"):
        command(make_config(Lake(str(tmp_path / "none"))), "--to", "1")


def test_a_publication_whose_data_was_deleted_is_one_clear_error_and_nothing_changes(lake):
    short = {"keep_days": 0, "keep_publications": 2, "vacuum_grace_hours": 0}
    maintain(make_config(lake, **short), Stages(QUIET))
    before = all_rows(lake), lake.versions()
    for flags in (["--to", "1"], ["--to", "1", "--dry-run"]):
        with pytest.raises(
            JobError, match=r"publication 1 cannot be put back: maintain has deleted data of it \(ctr_day"
        ):
            command(make_config(lake), *flags)
    assert (all_rows(lake), lake.versions()) == before
    assert "publication 6 is publication 4" in put_back(lake, 4)


def test_a_publication_whose_log_is_gone_is_the_same_clear_error(lake):
    lake.open(VIEWS).create_checkpoint()
    (Path(lake.uri(VIEWS)) / "_delta_log" / f"{0:020}.json").unlink()
    with pytest.raises(JobError, match=r"deleted data of it \(views\)"):
        put_back(lake, 2)


def test_maintenance_after_a_rollback_keeps_it_and_duckdb_reads_the_same(lake):
    put_back(lake, 2)
    rejects = rows(lake, QUARANTINE).total()
    expected, ctr = counts_by_duckdb(lake, newest_publication(lake))
    config = make_config(lake, keep_days=0, keep_publications=1, vacuum_grace_hours=0)
    maintain(config, Stages(QUIET))
    maintain(config, Stages(QUIET))
    found, same = counts_by_duckdb(lake, newest_publication(lake))
    assert same == ctr
    assert found == {**expected, "quarantine": rejects - 2, "files": expected["files"] - 2}


def test_files_that_are_not_at_the_source_any_more_are_counted(lake, tmp_path):
    (tmp_path / "events" / "iOS").mkdir(parents=True)
    config = Config(events=str(tmp_path / "events"), lake=lake.root, purchases_url="jdbc:sqlite:/nowhere")
    said = command(config, "--to", "2", "--dry-run")[1]
    assert "2 of them are not there any more, and their rows with them" in said
    assert "Whether they still are there is not known" in command(make_config(lake), "--to", "2", "--dry-run")[1]


@pytest.fixture
def world(spark, tmp_path):
    return World(spark, tmp_path)


@pytest.mark.spark
@pytest.mark.slow
def test_a_rollback_and_a_daily_give_the_tables_of_a_lake_that_was_never_rolled_back(world, spark):
    world.put("iOS/a", lines(message(event(time=NOON - DAY), message_id="1"), message(event("b"), message_id="2")))
    world.run()
    world.put("iOS/a", lines(message(event("changed"), message_id="1")) + b"broken\n", changed=1_460_000_000)
    world.put("iOS/late", lines(message(event("c", NOON - 9 * DAY), message_id="9"), message(message_id="2")))
    with sqlite3.connect(world.path / "shop.db") as shop:
        shop.execute("update orders set order_date = '2016-02-03 08:00:00'")
    shop.close()
    world.run(quarantine_limit=1)
    expected = content(world.lake)
    said = rollback.put_back(world.config(), 1, QUIET)
    assert "2 event files" in said
    assert content(world.lake) != expected
    report, *_ = world.run(quarantine_limit=1)
    assert (report.recovered, report.files["loaded"]) == ([], 2)
    assert content(world.lake) == expected
    maintain(world.config(), Stages(QUIET))
    maintain(world.config(keep_days=0, keep_publications=1, vacuum_grace_hours=0), Stages(QUIET))
    assert content(world.lake) == expected
    newest = newest_publication(world.lake)
    for table in (VIEWS, CTR_DAY):  # Spark's own Delta reader, after merging, deleting and putting back
        version = newest[f"{table.name}_version"]
        frame = spark.read.format("delta").option("versionAsOf", version).load(world.lake.uri(table))
        assert frame.count() == rows(world.lake, table).total()
    assert newest["job"] == "maintain"


def content(lake):
    """The rows of every table without what says when, and by which run, they were written."""
    rejects = multiset(lake.read(QUARANTINE).drop_columns(["date", "batch"]))
    return {**all_rows(lake, skip=(QUARANTINE, FILES)), QUARANTINE.name: rejects}
