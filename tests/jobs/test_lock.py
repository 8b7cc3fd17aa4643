"""One writer a lake."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jobs.errors import JobError
from jobs.lock import lake_lock, lock_holder

HOLD = """
import sys
from jobs.lock import lake_lock
with lake_lock(sys.argv[1], "backfill", 0, print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
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
