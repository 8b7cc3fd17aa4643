"""Load over HTTP by wrk: some connections that are kept open, each asking as soon as it has its answer.

A client in Python takes up to 0.18 ms for each answer, of the cores of the server that it is to measure.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError

_SCRIPT = Path(__file__).with_suffix(".lua")


@dataclass(frozen=True)
class Loaded:
    """What the clients saw."""

    a_second: float
    p50: float
    """Milliseconds."""
    p99: float


def load(port: int, paths: Sequence[str], connections: int, seconds: int) -> Loaded:
    """Asks for the paths in turn, over and over, for some seconds.

    Raises:
        BenchError: an answer was a refusal, a connection broke, or wrk is not installed.
    """
    if shutil.which("wrk") is None:
        raise BenchError("the load generator wrk is not installed: run scripts/test-servers.sh")
    with tempfile.NamedTemporaryFile("w", suffix=".paths") as file:
        file.write("\n".join(paths))
        file.flush()
        how = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", str(_SCRIPT)]
        command = ["wrk", *how, f"http://127.0.0.1:{port}", "--", file.name]
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if run.returncode:
        raise BenchError(f"wrk: {run.stderr or run.stdout}")
    told = json.loads(run.stdout.splitlines()[-1])
    if told["refused"] or told["broken"]:
        raise BenchError(
            f"{told['refused']} of {told['requests']} answers were refusals, {told['broken']} connections broke"
        )
    return Loaded(told["requests"] / told["microseconds"] * 1e6, told["p50"] / 1000, told["p99"] / 1000)
