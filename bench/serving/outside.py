"""Requests over HTTP: the service and its peers behind the same server, the load beside them on the same cores."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from bench.document import table, verdict
from bench.errors import BenchError
from bench.machine import ROOT
from bench.serving.downloads import downloads
from bench.serving.inside import drawn
from bench.serving.lake import Size
from bench.serving.load import Loaded, load
from bench.serving.requests import BY_HOUR, kinds, path
from bench.setting import say

_START_SECONDS = 120
_DISTINCT = 200_000

_TWO = "service, replica, 2 workers"
_PEER_TWO = "the same routes over PostgreSQL, 2 workers"
_REPEATED = "service, one request repeated (cache), 1 worker"
_STATIC = "static limit (same body from memory), 1 worker"

_LEAST_A_SECOND = 1000.0
_MOST_P99 = 10.0
_LEAST_OF_PEER = 1.0
_LEAST_OF_STATIC = 0.7


@dataclass(frozen=True)
class Server:
    """One way to start a server on a port."""

    name: str
    command: list[str]
    environment: dict[str, str]


def outside(size: Size, lake: Path, replica: Path, address: str, arguments: argparse.Namespace) -> str:
    """Two tables, many small answers and some large ones, and what was wanted.

    Raises:
        BenchError: a server did not start, or an answer was not 200.
    """
    servers = _servers(lake, replica, address)
    distinct = [path(request) for request in drawn(kinds(size)[BY_HOUR], _DISTINCT)]
    found: dict[str, Loaded] = {}
    for number, server in enumerate(servers):
        port = arguments.port + number
        asked = distinct[:1] * _DISTINCT if server.name in (_REPEATED, _STATIC) else distinct
        with running(server, port):
            load(port, asked, arguments.connections, 1)
            found[server.name] = load(port, asked[1000:], arguments.connections, arguments.seconds)
        say(" | ".join(_row(server.name, found[server.name])))
    many = table(
        ["server, one product and platform, one day by hour", "requests a second", "p50 ms", "p99 ms"],
        [_row(name, loaded) for name, loaded in found.items()],
    )
    port = arguments.port + len(servers)
    with running(servers[0], port) as pid:
        large = downloads(port, pid, size)
    say(large)
    return f"{many}\n{_verdicts(found)}\n### Large answers over HTTP, 1 worker\n\n{large}"


def _servers(lake: Path, replica: Path, address: str) -> list[Server]:
    service = [sys.executable, "-m", "serving"]
    peer = [sys.executable, "-m", "bench.serving.peer", "PORT"]
    own = {"CTR_LAKE": str(lake), "CTR_REPLICA_FOLDER": str(replica)}
    uncached = {**own, "CTR_CACHE_BYTES": "0"}
    over_postgres = {**uncached, "CTR_REPLICA": "false", "BENCH_PEER": address}
    return [
        Server("service, replica, 1 worker", service, uncached),
        Server(_TWO, [*service, "--workers", "2"], uncached),
        Server("service, Delta alone, 1 worker", service, {**uncached, "CTR_REPLICA": "false"}),
        Server("the same routes over PostgreSQL, 1 worker", [*peer, "1"], over_postgres),
        Server(_PEER_TWO, [*peer, "2"], over_postgres),
        Server("a bare route over PostgreSQL, 2 workers", [*peer, "2"], {"BENCH_PEER": f"bare-{address}"}),
        Server(_REPEATED, service, own),
        Server(_STATIC, [*peer, "1"], {"BENCH_PEER": "static"}),
    ]


def _row(name: str, loaded: Loaded) -> list[str]:
    return [name, f"{loaded.a_second:.0f}", f"{loaded.p50:.1f}", f"{loaded.p99:.1f}"]


def _verdicts(found: dict[str, Loaded]) -> str:
    two = found[_TWO]
    return (
        verdict("requests a second, 2 workers", two.a_second, least=_LEAST_A_SECOND)
        + verdict("p99 / p50, 2 workers", two.p99 / two.p50, most=_MOST_P99)
        + verdict(
            "requests a second / the same routes over PostgreSQL, 2 workers",
            two.a_second / found[_PEER_TWO].a_second,
            least=_LEAST_OF_PEER,
        )
        + verdict(
            "one request repeated / static limit",
            found[_REPEATED].a_second / found[_STATIC].a_second,
            least=_LEAST_OF_STATIC,
        )
    )


@contextlib.contextmanager
def running(server: Server, port: int) -> Iterator[int]:
    """The process of a server that answers, until the block ends."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CTR_")}
    environment = {
        **kept,
        **{name: value for name, value in server.environment.items() if value},
        "CTR_PORT": str(port),
    }
    command = [str(port) if part == "PORT" else part for part in server.command]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port, process, server.name)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def _wait(port: int, process: subprocess.Popen[bytes], name: str) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
            return
        time.sleep(0.2)
    raise BenchError(f"{name}: did not start on port {port} (in use?)")
