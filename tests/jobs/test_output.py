"""Output that nobody reads to its end: commands end as they would, and say nothing about it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jobs.publish import publish
from tests.conftest import ROOT
from tests.jobs.lakes import make_lake


@pytest.mark.parametrize(
    "command",
    [["jobs/cli.py", "status"], ["jobs/cli.py", "status", "--json"], ["-m", "jobs.sql", "SELECT * FROM range(900)"]],
    ids=" ".join,
)
def test_a_command_whose_reader_goes_first_ends_with_0_and_without_a_word(tmp_path, command):
    publish(make_lake(tmp_path / "lake"), 1, "daily", {"warnings": ["look here"]})
    env = {**os.environ, "CTR_LAKE": str(tmp_path / "lake"), "CTR_PURCHASES_URL": f"jdbc:sqlite:{tmp_path}/shop.db"}
    assert ended(command, env) == (0, "")


def test_a_job_whose_reader_goes_first_goes_on_to_its_own_exit_code():
    script = "from jobs.output import Output\nfor _ in range(3): Output().print('line')\nraise SystemExit(3)"
    assert ended(["-c", script], dict(os.environ)) == (3, "")


def ended(command, env):
    """Exit code and standard error where nobody reads standard output."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output:
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=env, stdout=output, stderr=subprocess.PIPE, text=True, check=False
        )
    return done.returncode, done.stderr
