"""``kill -9`` of a real run at random moments, the whole process tree, the driver or its JVM alone; then a plain run."""

from __future__ import annotations

import random
import time

import pytest

from jobs.lock import lock_holder
from tests.faults.scenario import check_same, rounds, tables
from tests.faults.tree import DAILY, Tree
from tests.path.product import Outcome

pytestmark = [pytest.mark.faults, pytest.mark.spark, pytest.mark.slow]


def seconds_until_locked(lake, tree):
    begin = time.monotonic()
    while lock_holder(str(lake)) is None and tree.process.poll() is None:
        time.sleep(0.02)
    return time.monotonic() - begin


@pytest.fixture(scope="module")
def durations(uncut, tmp_path_factory):
    """Seconds that the real command needs until it holds the lake, and from there to its end."""
    root = tmp_path_factory.mktemp("durations")
    tree = Tree(DAILY, uncut.nights[0].env(root / "lake"), root / "log")
    start = seconds_until_locked(root / "lake", tree)
    begin = time.monotonic()
    assert tree.wait() == 0, tree.output()
    check_same(tables(root / "lake"), uncut.tables[0], "the real command, in several batches")
    return start, time.monotonic() - begin


def check_killed_and_repeated(uncut, durations, spark, folder, seed, kill):
    """Kills a real run at a random moment in the way of ``kill``, and checks what a plain run makes of it; the killed one."""
    night = seed % 2
    moment = random.Random(seed).uniform(-0.1, 1.0)  # of the time in which it holds the lake; below 0: before that
    lake, log = uncut.start(night, folder / "lake"), folder / "log"
    killed = Tree(DAILY, uncut.nights[night].env(lake), log)
    if moment < 0:
        time.sleep(-moment * 10 * durations[0])
    else:
        seconds_until_locked(lake, killed)
        time.sleep(moment * durations[1])
    kill(killed)
    uncut.again(spark, night, lake, log, by_command=seed % 4 == 3)
    check_same(tables(lake), uncut.tables[night], f"seed {seed}, night {night}, moment {moment:.3f}")
    return killed


@pytest.mark.parametrize("seed", range(rounds(6, 100)))
def test_a_run_killed_at_a_random_moment_is_repeated_by_a_plain_run(uncut, durations, spark, tmp_path, seed):
    check_killed_and_repeated(uncut, durations, spark, tmp_path, seed, Tree.kill)


@pytest.mark.parametrize("seed", range(rounds(1, 10)))
def test_a_run_whose_driver_alone_is_killed_is_repeated_by_a_plain_run(uncut, durations, spark, tmp_path, seed):
    check_killed_and_repeated(uncut, durations, spark, tmp_path, seed, Tree.kill_driver).wait_until_gone()


@pytest.mark.parametrize("seed", range(rounds(1, 10)))
def test_a_run_whose_jvm_is_killed_says_so_in_one_line_and_is_repeated_by_a_plain_run(
    uncut, durations, spark, tmp_path, seed
):
    night = seed % 2
    moment = random.Random(seed).uniform(
        0, 0.6
    )  # of the time in which it holds the lake: later the JVM may be stopping
    lake, log = uncut.start(night, tmp_path / "lake"), tmp_path / "log"
    killed = Tree(DAILY, uncut.nights[night].env(lake), log)
    seconds_until_locked(lake, killed)
    time.sleep(moment * durations[1])
    killed.kill_jvm()
    ended = Outcome(killed.wait(), log.read_text())
    assert ended.code == 1, ended.text
    assert ended.line("error: ").startswith("error: the JVM of Spark ended in the middle of the run"), ended.text
    uncut.nights[night].run(spark, lake)
    check_same(tables(lake), uncut.tables[night], f"seed {seed}, night {night}, moment {moment:.3f}, JVM alone")
