"""One writer a lake."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from jobs.errors import JobError
from jobs.lock import NAME, QUEUE, give_way, lake_lock, lock_holder

HOLD = """
import sys
from jobs.lock import lake_lock
with lake_lock(sys.argv[1], "backfill", 0, print):
    print("held", flush=True)
    sys.stdin.read()
"""

BATCHES = """
import sys, time
from jobs.lock import give_way, lake_lock
root, job, batches = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for number in range(batches):
    if number:
        give_way(root, 60)
    with lake_lock(root, job, 60, lambda _: None):
        with open(f"{root}/turns", "a") as turns:
            turns.write(f"{job}\\n")
        time.sleep(0.2)
"""


def started(program, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def holder(tmp_path):
    process = started(HOLD, str(tmp_path))
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


class Runs:
    """Processes that take and free a lake's lock as a run of batches does, and whose turn it was."""

    def __init__(self, root):
        self.root = root
        self.processes = []

    def start(self, job, batches):
        """A process that does so many batches from now on."""
        process = started(BATCHES, str(self.root), job, str(batches))
        self.processes.append(process)
        assert process.stdout.readline() == "ready\n"
        self.before = len(self.turns())
        process.stdin.write("go\n")
        process.stdin.flush()
        return process

    def turns(self):
        file = self.root / "turns"
        return file.read_text().split() if file.exists() else []

    def until(self, reached):
        end = time.monotonic() + 30
        while not reached():
            assert time.monotonic() < end
            time.sleep(0.01)

    def in_queue(self):
        """Whether somebody stands in the queue now."""
        with (self.root / QUEUE).open("a") as queue:
            try:
                fcntl.flock(queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


@pytest.fixture
def runs(tmp_path):
    runs = Runs(tmp_path)
    yield runs
    for process in runs.processes:
        process.kill()
        process.communicate()


def test_a_second_run_names_the_holder_and_gives_up(tmp_path, holder):
    said = []
    with (
        pytest.raises(JobError, match=rf"in use by backfill \(pid {holder.pid} on .*waited 0.6 s"),
        lake_lock(str(tmp_path), "daily", 0.6, said.append),
    ):
        pass
    assert len(said) == 1
    assert "waiting for backfill" in said[0]


def test_the_lock_of_a_killed_holder_is_free_at_once(tmp_path, holder):
    assert lock_holder(str(tmp_path))["pid"] == holder.pid
    holder.kill()
    holder.wait()
    assert lock_holder(str(tmp_path)) is None
    with lake_lock(str(tmp_path), "daily", 0, print):
        pass


def test_who_holds_the_lock_after_a_run_that_failed_or_was_killed_is_not_told_to_be_that_run(tmp_path, holder):
    root, waits = str(tmp_path), []
    with (tmp_path / NAME).open("a") as backup:

        def during_a_backup():
            fcntl.flock(backup, fcntl.LOCK_EX)
            assert lock_holder(root) is None
            with (
                pytest.raises(JobError, match="in use by a program that is no run"),
                lake_lock(root, "b", 0, waits.append),
            ):
                pass
            fcntl.flock(backup, fcntl.LOCK_UN)

        holder.kill()
        holder.wait()
        during_a_backup()
        with pytest.raises(JobError, match="full"), lake_lock(root, "daily", 0, print):
            raise JobError("the disk is full")
        assert (tmp_path / NAME).read_text() == ""
        during_a_backup()


def test_the_lock_can_be_taken_again_after_use(tmp_path):
    for _ in range(2):
        with lake_lock(str(tmp_path), "daily", 0, print):
            assert lock_holder(str(tmp_path))["pid"] == os.getpid()
        assert lock_holder(str(tmp_path)) is None


def test_a_lake_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(JobError, match=r"cannot make the lake .*set CTR_LAKE"),
        lake_lock(str(tmp_path / "file"), "daily", 0, print),
    ):
        pass


def test_who_waits_gets_its_turn_after_the_batch_that_is_being_done(runs):
    runs.start("backfill", 100)
    runs.until(runs.turns)
    for job in ("daily", "maintain", "replay"):
        assert runs.start(job, 1).wait(30) == 0
        assert runs.turns().index(job) <= runs.before + 1  # one may have begun before the job stood in the queue


@pytest.mark.slow
def test_runs_of_many_batches_take_turns_and_all_end(runs):
    jobs = ("a", "b", "c")
    for job in jobs:
        runs.start(job, 10)
    assert [process.wait(60) for process in runs.processes] == [0, 0, 0]
    turns = runs.turns()
    all_there = turns[max(map(turns.index, jobs)) : len(turns) - max(turns[::-1].index(job) for job in jobs)]
    assert len(all_there) > 10


def test_nobody_in_the_queue_is_no_wait(tmp_path):
    with lake_lock(str(tmp_path), "backfill", 0, print):
        pass
    start = time.monotonic()
    give_way(str(tmp_path), 60)
    assert time.monotonic() - start < 0.1


def test_a_waiter_that_died_or_is_stopped_holds_up_nobody_for_ever(runs, holder, tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.lock._PATIENCE_SECONDS", 0.5)
    waiter = runs.start("daily", 1)
    runs.until(runs.in_queue)
    waiter.send_signal(signal.SIGSTOP)
    holder.kill()
    holder.wait()
    start = time.monotonic()
    give_way(str(tmp_path), 60)
    assert 0.4 < time.monotonic() - start < 5
    waiter.kill()
    waiter.wait()
    assert not runs.in_queue()


def test_a_look_at_the_lock_makes_no_run_fail_even_one_that_does_not_wait(tmp_path):
    with (tmp_path / NAME).open("a") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        threading.Timer(0.1, fcntl.flock, (look, fcntl.LOCK_UN)).start()
        said = []
        with lake_lock(str(tmp_path), "daily", 0, said.append):
            assert lock_holder(str(tmp_path))["job"] == "daily"
        assert said == []
