"""32 clients of a service with two workers, while new files arrive and are compacted, and old data is deleted.

Short here; ``make test-soak`` takes ten minutes. Memory is what all processes of the service have written, pages that they share
counted once (``Pss_Anon``). Pages of libraries are left out: the jobs map the same ones, so that the service's part of them rises
whenever a job ends. The cache of answers is so small that it is full before memory is first compared: filling it is no growth.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import httpx
import pytest

from tests.conftest import ROOT
from tests.serving.conftest import eventually
from tests.soak.lake import GrowingLake
from tests.soak.traffic import FORMATS, Traffic, check

pytestmark = [pytest.mark.path, pytest.mark.spark, pytest.mark.slow]

MINUTES = float(os.environ.get("SOAK_MINUTES", "0.75"))
CLIENTS = 32
_LONG_MINUTES = 3
"""From so many on, the memory after the start is compared with that at the end."""

_MAY_GROW = 1.15


@pytest.fixture
def grown(tmp_path: Path) -> GrowingLake:
    """A lake with one publication."""
    lake = GrowingLake(tmp_path)
    lake.grow()
    lake.run("daily")
    return lake


@pytest.fixture
def service(grown: GrowingLake, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """The service with two workers, its address and its log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "CTR_PORT": str(port),
        "CTR_WORKERS": "2",
        "CTR_REPLICA_FOLDER": str(tmp_path / "replica"),
        "CTR_STREAM_ROWS": "50",
        "CTR_STREAMS": "64",
        "CTR_QUEUE_SECONDS": "30",
        "CTR_CACHE_BYTES": "4m",
    }
    log = tmp_path / "service.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving"],
            cwd=ROOT,
            env={**os.environ, **grown.env, **settings},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: _is_ready(address), 60)
        yield process, address, log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def _memory(parent: int) -> int:
    """Bytes that a process and its children have written, shared pages divided among those that share them."""
    children = [pid for file in Path(f"/proc/{parent}/task").glob("*/children") for pid in file.read_text().split()]
    return sum(_written(pid) for pid in (str(parent), *children))


def _written(pid: str) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss_Anon:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"no Pss_Anon of {pid}")


def test_answers_are_those_of_one_publication_each_while_jobs_run_and_memory_stays_flat(grown, service):
    process, address, log = service
    traffic = Traffic(address)
    memory: list[int] = []

    async def jobs(until: asyncio.Event) -> None:
        end = time.monotonic() + MINUTES * 60
        while time.monotonic() < end or len(grown.published) < 4:
            for job in (("daily",), ("daily",), ("maintain", "--short-retention")):
                if job == ("daily",):
                    grown.grow()
                await asyncio.to_thread(grown.run, *job)
        until.set()

    async def watch(until: asyncio.Event) -> None:
        while not until.is_set():
            memory.append(_memory(process.pid))
            await asyncio.sleep(1)

    async def story() -> None:
        until = asyncio.Event()
        everything = [asyncio.create_task(one) for one in (jobs(until), watch(until), traffic.run(CLIENTS, until))]
        try:
            await asyncio.gather(*everything)
        finally:
            until.set()

    asyncio.run(story())
    quarter = len(memory) // 4
    early, late = median(memory[quarter : 2 * quarter]), median(memory[-quarter:])
    print(
        f"{sum(traffic.kinds.values())} requests, {len(traffic.answers)} different answers of {len(grown.published)} publications: "
        f"{dict(sorted(traffic.kinds.items()))}, read with {dict(traffic.sources)}; "
        f"memory {early / 1e6:.0f} MB early, {late / 1e6:.0f} MB late, "
        f"at most {max(memory) / 1e6:.0f} MB"
    )
    assert traffic.unexpected == []
    check(traffic, grown)
    assert "Traceback" not in log.read_text()
    served = {version for _, version, _ in traffic.answers}
    assert len(served) > 2
    assert traffic.sources["replica"] > 0, "the local copy answered some of the time"
    asked = " ".join(traffic.kinds)
    streams = [f"{format}, stream" for format in FORMATS]
    for kind in (*streams, "json, whole", "asOf", "changes", "304", "aborted"):
        assert kind in asked
    if MINUTES >= _LONG_MINUTES:
        assert late <= early * _MAY_GROW
