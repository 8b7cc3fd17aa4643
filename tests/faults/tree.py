"""A job as a process tree of its own: the driver, its JVM, Python's workers. Killed as a whole, by ``kill -9``."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

DAILY = ["./spark-submit.sh", "daily"]


class Tree:
    """One process with all that it starts; workers make process groups of their own, so the session tells who belongs to it."""

    def __init__(self, command: Sequence[str], env: dict[str, str], log: Path) -> None:
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._log = log

    def wait(self, seconds: float = 300) -> int:
        """The exit code of a run that ends by itself; nothing of it may live on.

        Raises:
            AssertionError: it did not end in time.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end after {seconds} s:\n{self.output()}") from None
        self.wait_until_gone()
        return code

    def kill(self) -> None:
        """SIGKILL to every process of the tree, the driver first, until none is left."""
        self.process.kill()
        kill_session(self.process.pid)
        self.process.wait()
        assert members(self.process.pid) == []

    def kill_driver(self) -> None:
        """SIGKILL to the driver alone, as the kernel does when memory runs out; the rest has to end by itself."""
        self.process.kill()
        self.process.wait()

    def kill_jvm(self) -> None:
        """SIGKILL to Spark's JVM alone; the driver has to notice and end by itself."""
        [jvm] = [pid for pid in members(self.process.pid) if _program(pid) == "java"]
        os.kill(jvm, signal.SIGKILL)

    def wait_until_gone(self, seconds: float = 15) -> None:
        """Returns when no process of the tree is left.

        Raises:
            AssertionError: some live on.
        """
        end = time.monotonic() + seconds
        while left := members(self.process.pid):
            if time.monotonic() > end:
                kill_session(self.process.pid)
                raise AssertionError(f"processes {left} outlived their run by {seconds} s")
            time.sleep(0.05)

    def output(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


def members(session: int) -> list[int]:
    """Processes of a session that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, its_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except (OSError, ValueError):
                continue  # it has just ended
            if int(its_session) == session and state not in "ZX":
                found.append(int(entry.name))
    return found


def _program(pid: int) -> str:
    return Path(os.fsdecode((Path("/proc") / str(pid) / "cmdline").read_bytes().partition(b"\0")[0])).name


def kill_session(session: int, spare: int | None = None) -> None:
    """SIGKILL to all of a session but one, until they are gone: a worker may be born meanwhile."""
    while left := [pid for pid in members(session) if pid != spare]:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)
