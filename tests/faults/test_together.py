"""Nightly run and backfill at once on one lake: as one after the other; and what the lock is for."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from jobs.errors import JobError
from tests.faults.conftest import ONE_BATCH
from tests.faults.scenario import check_same, rounds, tables
from tests.faults.steps import acting
from tests.faults.tree import DAILY, Tree

pytestmark = [pytest.mark.faults, pytest.mark.spark, pytest.mark.slow]


@pytest.mark.parametrize("number", range(rounds(2, 20)))
def test_nightly_run_and_backfill_started_together(uncut, tmp_path, number):
    night = number % 2
    lake = uncut.start(night, tmp_path / "lake")
    env = uncut.nights[night].env(lake)
    nightly = Tree(DAILY, env, tmp_path / "nightly.log")
    backfill = Tree(["./spark-submit.sh", "backfill", "--batch-bytes", "200k"], env, tmp_path / "backfill.log")
    assert nightly.wait() == 0, nightly.output()
    assert backfill.wait() == 0, backfill.output()
    check_same(tables(lake), uncut.tables[night], f"round {number}")


def run_inside_another(uncut, spark, lake, step):
    """A nightly run, and at a step of it a whole backfill; the error of each, or None."""
    inner = []

    def act(now):
        if now == step and not inner:
            inner.append(None)  # the backfill's own steps come here too
            inner[0] = attempt("backfill")

    def attempt(job):
        try:
            uncut.nights[1].run(spark, lake, job, batch_bytes=ONE_BATCH, lock_wait_seconds=0)
        except JobError as error:
            return error
        return None

    with acting(act):
        outer = attempt("daily")
    assert inner, f"no step {step}"
    return outer, inner[0]


STEP = "after commit views 1"


def test_the_lock_keeps_a_second_run_out_of_a_batch(uncut, spark, tmp_path):
    lake = uncut.start(1, tmp_path / "lake")
    outer, inner = run_inside_another(uncut, spark, lake, STEP)
    assert outer is None
    assert "is in use by daily" in str(inner)
    check_same(tables(lake), uncut.tables[1], "a run that was let alone")


def test_without_the_lock_the_same_two_runs_spoil_the_lake(uncut, spark, tmp_path, monkeypatch):
    @contextmanager
    def no_lock(*_):
        yield

    monkeypatch.setattr("jobs.change.lake_lock", no_lock)
    lake = uncut.start(1, tmp_path / "lake")
    run_inside_another(uncut, spark, lake, STEP)
    with pytest.raises(AssertionError, match=r"publications|has \d+ rows"):
        check_same(tables(lake), uncut.tables[1], "two runs at once")
