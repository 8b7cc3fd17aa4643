"""A run that dies at a named step, or in the middle of recovery: a plain re-run ends where an uncut run does."""

from __future__ import annotations

import random
import sys

import pytest

from jobs.lock import lock_holder
from jobs.schemas import PUBLISHED, TABLES
from tests.faults.conftest import ONE_BATCH
from tests.faults.scenario import check_same, rounds, tables
from tests.faults.steps import Killed, dying_at
from tests.faults.tree import Tree

pytestmark = [pytest.mark.faults, pytest.mark.spark, pytest.mark.slow]

PARTS = rounds(1, 10)
"""In which the steps are played, so that it is seen how far they are."""

WRITES = ("create", "commit", "append", "overwrite", "restore")


def writes(steps):
    """The steps after which something new stands in the lake; between two of them it is the same."""
    return [step for step in steps if step.startswith("after") and step.split()[1] in WRITES]


def die(uncut, spark, night, lake, step):
    with pytest.raises(Killed), dying_at(step) as died:
        uncut.nights[night].run(spark, lake, batch_bytes=ONE_BATCH)
    assert set(died) >= {step}
    assert lock_holder(str(lake)) is None


def test_the_steps_are_a_write_of_every_table_and_the_publication_last(uncut):
    for steps in uncut.steps:
        assert steps.index("after append files 1") < steps.index("before read_events 1"), (
            "the plan is written before reading"
        )
    first, second = (writes(steps) for steps in uncut.steps)
    assert first[:9] == [f"after create {table.name} 1" for table in TABLES]
    written = {step.split()[2] for step in first[9:]}
    assert written == {table.name for table in TABLES}
    assert first[-1] == "after append publications 1"
    assert first[9] == second[0] == "after append files 1"
    assert second[-1] == "after append publications 1"  # the copy of a changed file is read in the same batch


def test_a_first_run_that_dies_again_and_again_one_step_later_each_time(uncut, spark, tmp_path):
    lake = tmp_path / "lake"
    for step in writes(uncut.steps[0]):
        die(uncut, spark, 0, lake, step)
    uncut.nights[0].run(spark, lake, batch_bytes=ONE_BATCH)
    check_same(tables(lake), uncut.tables[0], "after every step")


def test_a_run_over_changed_files_and_orders_that_dies_at_any_step(uncut, spark, tmp_path):
    first_batch = uncut.steps[1][: uncut.steps[1].index("after append publications 1") + 1]
    steps = ["after read_events 1", "after write_rollups 1", *writes(first_batch)]
    assert len(steps) == 13
    for step in steps:
        lake = uncut.start(1, tmp_path / step.replace(" ", "_"))
        die(uncut, spark, 1, lake, step)
        uncut.nights[1].run(spark, lake, batch_bytes=ONE_BATCH)
        check_same(tables(lake), uncut.tables[1], step)


def test_what_a_dead_run_left_is_seen_by_no_reader(uncut, spark, tmp_path):
    lake = uncut.start(1, tmp_path / "lake")
    die(uncut, spark, 1, lake, "before append publications 1")
    check_same(tables(lake), uncut.tables[0], "before the re-run")


def test_recovery_that_dies_after_each_table_goes_on_where_it_ended(uncut, spark, tmp_path):
    lake = uncut.start(1, tmp_path / "lake")
    die(uncut, spark, 1, lake, "before append publications 1")
    for table in PUBLISHED:
        die(uncut, spark, 1, lake, f"after restore {table.name} 1")
    reports = uncut.nights[1].run(spark, lake, batch_bytes=ONE_BATCH)
    assert reports[0].recovered == []
    check_same(tables(lake), uncut.tables[1], "after recovery in pieces")


@pytest.mark.parametrize("part", range(PARTS))
def test_a_process_tree_killed_at_any_step(uncut, spark, tmp_path, part):
    steps = [(night, step) for night in (0, 1) for step in uncut.steps[night]]
    for number, (night, step) in enumerate(random.Random(0).sample(steps, rounds(3, len(steps)))[part::PARTS]):
        lake = uncut.start(night, tmp_path / f"{night}_{step.replace(' ', '_')}")
        log = tmp_path / "log"
        env = {**uncut.nights[night].env(lake), "CTR_BATCH_BYTES": str(ONE_BATCH)}
        killed = Tree([sys.executable, "-m", "tests.faults.dying", step, "daily"], env, log)
        assert killed.wait() == -9, f"night {night}, {step}: {killed.output()}"
        uncut.again(spark, night, lake, log, by_command=number % 4 == 0, batch_bytes=ONE_BATCH)
        check_same(tables(lake), uncut.tables[night], f"night {night}, {step}")
