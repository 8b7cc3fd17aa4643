"""Making the replica: how long it takes, and how much memory."""

from __future__ import annotations

import contextlib
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from bench.serving.inside import opened
from bench.serving.memory import megabytes


@dataclass(frozen=True)
class Built:
    """What making a replica took."""

    seconds: float
    before_mb: float
    """Memory of the process that did it, libraries included, before it began."""
    peak_mb: float
    """The most that it had at once."""


def build(lake: Path, folder: Path) -> Built:
    """What it takes until every segment of the replica is made and attached, in a process that does nothing else."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_build, lake, folder).result()


def _build(lake: Path, folder: Path) -> Built:
    with contextlib.ExitStack() as stack:
        before = megabytes(os.getpid(), "VmRSS")
        store = opened(stack, lake, folder)
        began = time.perf_counter()
        while True:
            store.poll()
            with store.lease() as lease:
                if lease.snapshot.held == frozenset(lease.snapshot.segments):
                    return Built(time.perf_counter() - began, before, megabytes(os.getpid(), "VmHWM"))
            time.sleep(0.2)
