"""jobs/audit: what a clean lake and a lake with faults make it say, and its exit code."""

from __future__ import annotations

import argparse
import os
import shutil

import pyarrow.compute as pc
import pytest
from rich.console import Console

from jobs.audit import add_parser, audit
from jobs.audit.cells import ASKED, KINDS, TOTAL, Asked, Period
from jobs.config import Config
from jobs.datafiles import write_partitions
from jobs.errors import JobError, UsageError
from jobs.lake import Lake
from jobs.publish import next_number, publish
from jobs.schemas import CTR_MINUTE
from tests.jobs.audit.worlds import World
from tests.rows import at, event, lines, message

T1, T2 = at("2016-02-01 12:00:00"), at("2016-02-01 23:30:00")
VIEWS = lines(
    message(event("a"), event("b", 1454369400000), message_id="1"),  # 23:30
    message(event("a"), message_id="2"),
    message(event("c", kind="other"), message_id="3"),
)


@pytest.fixture
def world(tmp_path):
    """Two views of a and one of b on the first of February, an order of a at noon; the lake says so."""
    world = World(tmp_path)
    world.put("x.json", VIEWS)
    world.load("x.json", T1, T2, views=3)
    world.shop(
        "insert into orders values (1, '2016-02-01 12:00:30', 'paid', 'iPhone')",
        "insert into order_items values (1, 1, 'a')",
    )
    world.claim((T1, "a", 2, 1), (T2, "b", 1, 0))
    return world


def test_a_right_lake_has_nothing_different(world):
    findings, text = world.audit()
    assert (findings.exit_code, findings.mismatches) == (0, [])
    assert {cell.kind for cell in findings.cells} == {*KINDS, TOTAL}
    assert len(findings.checked) == len(findings.cells)
    assert findings.views.views.total() >= 6
    assert findings.purchases.total() >= 3
    assert "--seed 1" in text


def test_a_count_that_is_one_too_high_is_found_with_its_files(world):
    world.replace(CTR_MINUTE, [(T1, "a", 3, 1), (T2, "b", 1, 0)])
    world.publish()
    findings, text = world.audit()
    assert findings.exit_code == 3
    assert {(cell.table, cell.product) for cell in findings.mismatches} == {("ctr_minute", "a")}
    assert "3 views, 1 purchases" in text
    assert "2 views, 1 purchases" in text
    assert "iOS/x.json" in text


def test_every_bucket_and_the_whole_day_of_a_product_that_is_asked_for_is_counted_again(world):
    findings, text = world.audit(asked=Asked(products=("a",)), days=None)
    assert findings.exit_code == 0
    assert [(cell.kind, cell.table, cell.product, cell.start, cell.minutes) for cell in findings.cells] == [
        (ASKED, "ctr_day", "a", at("2016-02-01 00:00:00"), 1440),
        (ASKED, "ctr_hour", "a", at("2016-02-01 00:00:00"), 1440),
        (ASKED, "ctr_minute", "a", at("2016-02-01 00:00:00"), 1440),
        (ASKED, "ctr_hour", "a", T1, 60),
        (ASKED, "ctr_minute", "a", T1, 1),
    ]
    assert [(findings.views.views[cell], findings.purchases[cell]) for cell in findings.cells] == [(2, 1)] * 5
    assert "2016-02-01; every cell of all platforms, a: 5 cells" in text
    assert "nothing is published" not in text


def test_all_products_of_a_platform_that_is_asked_for_are_counted_again_on_its_days(world):
    findings, _ = world.audit(asked=Asked(platforms=("iOS",)), days=None)
    assert (findings.exit_code, len(findings.cells)) == (0, 11)
    assert {cell.product for cell in findings.cells} == {"a", "b", None}
    world.replace(CTR_MINUTE, [(T1, "a", 2, 1)])
    world.publish()
    findings, _ = world.audit(asked=Asked(platforms=("iOS",)), days=None)
    assert [(cell.table, cell.product, cell.views) for cell in findings.mismatches] == [("ctr_minute", "b", 0)]
    with pytest.raises(JobError, match="no day of the period has a view or a purchase on Android"):
        world.audit(asked=Asked(platforms=("Android",)), days=None)


def test_a_product_of_which_nothing_is_published_is_said_to_be_that(world):
    findings, text = world.audit(asked=Asked(products=("a", "A")), days=None)
    assert (findings.exit_code, [cell.views for cell in findings.cells if cell.product == "A"]) == (0, [0, 0, 0])
    assert "nothing is published of A on these days" in text


def test_more_cells_than_memory_has_room_for_are_refused(world, monkeypatch):
    monkeypatch.setattr("jobs.audit.cells.MOST_CELLS", 4)
    with pytest.raises(UsageError, match=r"more than 4 cells of all platforms, a: ask for fewer days"):
        world.audit(asked=Asked(products=("a",)), days=None)


def test_a_file_in_which_every_view_was_overlooked_is_found(world):
    world.put("2016-02-01.json", VIEWS)
    world.load("2016-02-01.json", None, None, views=0)
    world.publish()
    findings, text = world.audit()
    assert findings.exit_code == 3
    assert "mismatch: iOS/2016-02-01.json holds 3 views, the ledger says 0" in text


def test_a_file_without_a_view_changes_nothing(world):
    world.put("2016-02-01.json", lines(message(event("c", kind="other"), message_id="3")))
    world.load("2016-02-01.json", None, None, views=0)
    world.publish()
    findings, _ = world.audit()
    assert (findings.exit_code, len(findings.checked)) == (0, len(findings.cells))


def test_only_what_is_published_counts(world):
    world.replace(CTR_MINUTE, [(T1, "a", 3, 1), (T2, "b", 1, 0)])
    findings, _ = world.audit()
    assert findings.exit_code == 0


def test_a_product_that_is_missing_from_every_rollup_shows_in_the_total(world):
    world.claim((T1, "a", 2, 1))
    findings, _ = world.audit()
    assert findings.exit_code == 3
    assert [(cell.kind, cell.views, findings.views.views[cell]) for cell in findings.mismatches] == [(TOTAL, 2, 3)]


def test_minutes_that_are_missing_show_in_a_product_s_day(world):
    world.replace(CTR_MINUTE, [(T2, "b", 1, 0)])
    world.publish()
    findings, _ = world.audit()
    assert {(cell.table, cell.product, cell.views) for cell in findings.mismatches} == {("ctr_minute", "a", 0)}


def test_a_day_of_which_nothing_is_published_is_looked_at_because_its_files_are_loaded(world):
    world.claim((at("2016-03-05 00:00:00"), "a", 0, 1))
    findings, _ = world.audit(first=T1.date(), last=T1.date())
    assert findings.exit_code == 3


def test_purchases_that_differ_say_that_the_orders_may_have_changed_since(world):
    world.shop("insert into order_items values (2, 1, 'a')")
    findings, text = world.audit()
    assert findings.exit_code == 3
    assert all(findings.purchases[cell] == 2 for cell in findings.mismatches)
    assert "orders that changed since" in text


def test_copies_of_a_message_in_two_files_count_once_and_the_smallest_counts(world):
    world.put("y.json", lines(message(event("0", 1454328000000 - 60_000), event("b", 1454369400000), message_id="1")))
    world.load("y.json", at("2016-02-01 11:59:00"), T2, views=2)
    world.claim((at("2016-02-01 11:59:00"), "0", 1, 0), (T1, "a", 1, 1), (T2, "b", 1, 0))
    findings, _ = world.audit()
    assert (findings.exit_code, len(findings.checked)) == (0, len(findings.cells))


def test_a_view_removed_from_a_file_that_kept_size_and_time_is_found(world):
    second = VIEWS.splitlines(keepends=True)[1]
    world.put("x.json", VIEWS.replace(second, b" " * (len(second) - 1) + b"\n"))
    findings, text = world.audit()
    assert findings.exit_code == 3
    assert "mismatch: iOS/x.json holds 2 views, the ledger says 3" in text
    assert {cell.product for cell in findings.mismatches} == {"a", None}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.unlink(), "iOS/x.json is gone"),
        (lambda file: file.write_bytes(VIEWS), "iOS/x.json was changed since it was loaded"),
        (lambda file: os.truncate(file, 10), "iOS/x.json was changed since it was loaded"),
        (lambda file: file.write_bytes(b"no JSON" * 100), "iOS/x.json was changed since it was loaded"),
    ],
    ids=["gone", "touched", "cut", "other"],
)
def test_a_file_that_is_gone_or_changed_makes_its_days_uncheckable(world, change, reason):
    other = at("2016-02-05 10:00:00")
    world.put("y.json", lines(message(event("a", 1454666400000))))
    world.load("y.json", other, other, views=1)
    world.claim((T1, "a", 2, 1), (T2, "b", 1, 0), (other, "a", 1, 0))
    change(world.path / "events" / "iOS" / "x.json")
    findings, text = world.audit()
    assert findings.exit_code == 0
    assert {cell.start.date() for cell in findings.checked} == {other.date()}
    assert f"not checkable: {reason}" in text


def test_damage_that_the_simple_reader_sees_differently_is_no_match_and_no_mismatch(world):
    other = at("2016-02-05 10:00:00")
    world.put("y.json", lines(message(event("a", 1454666400000)), "text"))
    world.load("y.json", other, other, views=1, broken=2)
    world.claim((T1, "a", 2, 1), (T2, "b", 1, 0), (other, "a", 1, 0))
    findings, text = world.audit()
    assert findings.exit_code == 0
    assert {cell.start.date() for cell in findings.checked} == {T1.date()}
    assert "iOS/y.json has 1 broken records by this simple reader and 2 by the ledger" in text


def test_purchases_that_differ_are_told_though_the_event_files_are_gone(world):
    shutil.rmtree(world.path / "events")
    world.shop("insert into order_items values (2, 1, 'a')")
    findings, text = world.audit()
    assert (findings.exit_code, findings.checked) == (3, [])
    assert "orders that changed since" in text


def test_when_no_cell_could_be_checked_the_audit_fails(world):
    shutil.rmtree(world.path / "events")
    with pytest.raises(JobError, match=r"no cell could be checked.*set CTR_EVENTS"):
        world.audit()


def test_without_a_publication_or_a_day_of_the_period_there_is_one_clear_line(world, tmp_path):
    with pytest.raises(JobError, match="nothing is published"):
        World(tmp_path / "other").audit()
    with pytest.raises(JobError, match="nothing to check"):
        world.audit(first=at("2017-01-01 00:00:00").date())


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"no Parquet")])
def test_a_data_file_of_the_lake_that_is_gone_or_damaged_is_one_clear_line(world, damage):
    [file] = world.lake.files(CTR_MINUTE)
    damage(world.path / "lake" / "ctr_minute" / file.path)
    with pytest.raises(
        JobError, match=r"cannot read ctr_minute of iOS 2016-02-01.*--rebuild --from 2016-02-01"
    ) as raised:
        world.audit()
    assert "\n" not in str(raised.value)


def test_the_same_seed_chooses_the_same_cells(world):
    (first, _), (second, _), (third, _) = world.audit(sample=5), world.audit(sample=5), world.audit(sample=5, seed=2)
    assert first.cells == second.cells != third.cells


def test_an_audit_changes_nothing_in_the_lake(world):
    before = {path: path.stat().st_mtime_ns for path in (world.path / "lake").rglob("*")}
    world.audit()
    assert {path: path.stat().st_mtime_ns for path in (world.path / "lake").rglob("*")} == before


def test_the_command_line_gives_the_exit_code_and_refuses_what_makes_no_sense(world, capsys):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())

    def run(*arguments):
        parsed = parser.parse_args(["audit", *arguments])
        return parsed.run(parsed, world.config(), Console(quiet=True))

    assert run() == 0
    world.claim((T1, "a", 9, 9))
    assert run("--seed", "3", "--sample", "10") == 3
    with pytest.raises(UsageError, match="earlier day first"):
        run("--from", "2016-02-02", "--to", "2016-02-01")
    with pytest.raises(SystemExit):
        run("--sample", "0")
    assert run("--platform", "ios", "--product", "b") == 3  # the lake says nothing of it
    assert run("--product", "x", "y", "--product", "z") == 0
    with pytest.raises(UsageError, match="wanted one of the two"):
        run("--product", "a", "--sample", "9")
    with pytest.raises(SystemExit) as ended:
        run("--platform", "Windows")
    assert ended.value.code == 2
    assert "'Windows' is no platform: wanted one of Android, MobileWeb, iOS" in capsys.readouterr().err


# On what the jobs really made of the sample: every layout, damage, copies and late files.


def _config(sample_lake, **other):
    return Config(**{name.removeprefix("CTR_").lower(): value for name, value in sample_lake.env.items()} | other)


@pytest.mark.path
@pytest.mark.slow
def test_the_sample_as_loaded_has_nothing_different_and_nothing_uncheckable(sample_lake):
    findings = audit(_config(sample_lake), Period(days=10), 1000, 1, Console(quiet=True))
    assert (findings.mismatches, findings.views.wrong, dict(findings.views.unchecked)) == ([], [], {})
    assert len(findings.checked) > 900


@pytest.mark.path
@pytest.mark.slow
def test_minutes_of_the_sample_that_were_tampered_with_are_found(sample_lake, tmp_path):
    lake = Lake(shutil.copytree(sample_lake.lake, str(tmp_path / "lake")))
    partition = (at("2016-02-02 00:00:00").date(), "iOS")
    rows = lake.read(CTR_MINUTE, CTR_MINUTE.columns)
    rows = rows.filter((pc.field("date") == partition[0]) & (pc.field("platform") == "iOS"))
    rows = rows.set_column(rows.column_names.index("views"), "views", pc.add(rows["views"], 1))
    written = write_partitions(lake.root, CTR_MINUTE, rows, ["product", "time"])
    lake.commit(CTR_MINUTE, 2, written, lake.files(CTR_MINUTE, {partition}))
    publish(lake, next_number(lake), "daily", {})
    findings = audit(_config(sample_lake, lake=lake.root), Period(days=10), 200, 1, Console(quiet=True))
    assert findings.exit_code == 3
    assert {(cell.table, *cell.partition) for cell in findings.mismatches} == {("ctr_minute", *partition)}
