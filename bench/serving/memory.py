"""The memory of a process, as the system tells it."""

from __future__ import annotations

from pathlib import Path

from bench.errors import BenchError


def megabytes(pid: int, name: str) -> float:
    """Resident memory of a process: ``VmRSS`` now, ``VmHWM`` at its peak.

    Raises:
        BenchError: the system does not tell.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise BenchError(f"process {pid} does not tell {name}")


def forget_peak(pid: int) -> None:
    """Make ``VmHWM`` count from now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
