"""A standalone Spark cluster on this machine, for as long as a benchmark needs it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.errors import BenchError
from bench.product import environment

_START_SECONDS = 120.0


@dataclass(frozen=True)
class Cluster:
    """A running cluster: its address for ``--master``, the pids of its master and workers."""

    url: str
    pids: tuple[int, ...]


@contextmanager
def standalone(workers: int, folder: Path, prefix: Sequence[str] = ()) -> Iterator[Cluster]:
    """A master and some workers with one core each, on loopback; ended at the end. ``prefix`` starts each command.

    Raises:
        BenchError: they do not come up; their words are in ``folder``.
    """
    port, page = _free_port(), _free_port()
    url = f"spark://127.0.0.1:{port}"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        master = ["master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page)]
        pids = [stack.enter_context(_process(folder, "master", prefix, *master))]
        _wait(page, 0, folder)
        for number in range(workers):
            options = ["--host", "127.0.0.1", "--cores", "1", "--memory", "2g", "--work-dir", str(folder / "work")]
            options += ["--webui-port", str(_free_port()), url]
            pids.append(stack.enter_context(_process(folder, f"worker-{number}", prefix, "worker.Worker", *options)))
        _wait(page, workers, folder)
        yield Cluster(url, tuple(pids))


@contextmanager
def _process(folder: Path, name: str, prefix: Sequence[str], main: str, *options: str) -> Iterator[int]:
    spec = find_spec("pyspark")
    assert spec is not None  # the product needs it
    assert spec.origin is not None
    home = Path(spec.origin).parent
    command = [*prefix, str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{main}", *options]
    settings = environment(SPARK_HOME=str(home), PYSPARK_PYTHON=sys.executable)
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, env=settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(page: int, workers: int, folder: Path) -> None:
    """Returns when the master knows of so many workers."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{page}/json/", timeout=5) as answer:
                if json.load(answer)["aliveworkers"] >= workers:
                    return
        except (OSError, ValueError):  # not yet
            pass
        time.sleep(0.2)
    raise BenchError(f"the cluster did not come up in {_START_SECONDS:.0f} s; its words are in {folder}")


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
