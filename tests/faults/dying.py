"""``python -m tests.faults.dying STEP JOB``: the real job, whose whole process tree is killed at a named step."""

from __future__ import annotations

import os
import signal
import sys

from jobs.cli import main
from tests.faults.steps import acting
from tests.faults.tree import kill_session


def _die_at(step: str, now: str) -> None:
    if now == step:
        kill_session(os.getsid(0), spare=os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    with acting(lambda now: _die_at(sys.argv[1], now)):
        sys.exit(main(sys.argv[2:]))
