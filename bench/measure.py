"""Runs a command and says what it took: wall time, CPU time, and the peak memory of the whole tree of its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError

_INTERVAL = 0.2
_SETTLE_SECONDS = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")

Process = tuple[int, int]
"""A process: its pid and its time of start, as pids come again."""


@dataclass(frozen=True)
class Measured:
    """What one run took. ``output`` is what it wrote to standard output."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """Largest sum, over the tree's processes at one moment, of the proportional set size: shared pages count once."""
    output: str


def measure(
    command: Sequence[str], *, env: Mapping[str, str], log: Path, timeout: float = 7200, beside: Sequence[int] = ()
) -> Measured:
    """Runs a command to its end and waits until all that it started is gone, too.

    Args:
        command: the command and its arguments.
        env: its environment.
        log: where its standard error goes; the same name ending in ``.out`` holds its standard output.
        timeout: seconds after which it is killed.
        beside: pids whose trees count as well (a cluster that does the command's work).

    Raises:
        BenchError: its exit code was not 0, or it had to be killed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    out = log.with_suffix(".out")
    with log.open("wb") as errors, out.open("wb") as output:
        began = time.perf_counter()
        child = subprocess.Popen(
            command, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True
        )
        tree = Tree([child.pid, *beside])
        with _Sampling(tree):
            try:
                child.wait(timeout)
            except subprocess.TimeoutExpired:
                raise BenchError(f"{' '.join(command)}: killed after {timeout:.0f} s; its words are in {log}") from None
            finally:
                seconds = time.perf_counter() - began
                _end(child)
        tree.wait_for_end(set(beside), _SETTLE_SECONDS)
    text = out.read_text(encoding="utf-8", errors="replace")
    if child.returncode != 0:
        tail = (text + log.read_text(encoding="utf-8", errors="replace"))[-3000:]
        raise BenchError(f"{' '.join(command)}: exit code {child.returncode}; its last words:\n{tail}")
    return Measured(seconds, tree.cpu_seconds, tree.peak_bytes, text)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kills a command that still runs, with everything in its session."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


class Tree:
    """The processes that descend from some roots. One that was seen once stays in it, even when its parent has died."""

    def __init__(self, roots: Sequence[int]) -> None:
        self._roots = set(roots)
        self._known: dict[Process, float] = {}
        self.peak_bytes = 0
        self.sample()
        self._before = sum(self._known.values())

    @property
    def cpu_seconds(self) -> float:
        """CPU time that the tree has used since the beginning, ended processes included as they were last seen."""
        return sum(self._known.values()) - self._before

    def sample(self) -> set[Process]:
        """Looks at all processes once; those of the tree that live."""
        processes = _processes()
        members = self._members(processes)
        for process in members:
            self._known[process] = processes[process][1]
        self.peak_bytes = max(self.peak_bytes, sum(_pss_bytes(pid) for pid, _ in members))
        return members

    def wait_for_end(self, kept: set[int], seconds: float) -> None:
        """Returns when the tree is gone, save what descends from the pids in ``kept``."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            left = Tree(list(kept)).sample() if kept else set()
            if not self.sample() - left:
                return
            time.sleep(_INTERVAL)

    def _members(self, processes: dict[Process, tuple[int, float]]) -> set[Process]:
        children: dict[int, list[Process]] = {}
        for process, (parent, _) in processes.items():
            children.setdefault(parent, []).append(process)
        members: set[Process] = set()
        waiting = [process for process in processes if process[0] in self._roots or process in self._known]
        while waiting:
            process = waiting.pop()
            if process not in members:
                members.add(process)
                waiting += children.get(process[0], [])
        return members


class _Sampling:
    """Samples a tree in a thread while the body runs."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._tree.sample()


def _processes() -> dict[Process, tuple[int, float]]:
    """Every process with its parent's pid and the CPU seconds that it has used itself."""
    found: dict[Process, tuple[int, float]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:  # it has ended
                continue
            fields = text.rpartition(")")[2].split()
            if fields[0] != "Z":
                used = (int(fields[11]) + int(fields[12])) / _TICKS
                found[int(folder.name), int(fields[19])] = int(fields[1]), used
    return found


def _pss_bytes(pid: int) -> int:
    try:
        text = Path("/proc", str(pid), "smaps_rollup").read_text(encoding="ascii")
    except (OSError, ValueError):  # it has ended
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    return 0
