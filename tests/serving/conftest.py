"""Fixtures of the service's tests: a lake of literal rows, and the service over it on a real port."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, settings

from serving.load.connections import BoundedProtocol
from serving.main import create_app
from serving.settings import ROOT, Settings
from serving.state.store import Store
from tests.serving.lake import Lake

pytest.register_assert_rewrite("tests.serving.reading", "tests.serving.wanted")

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
"""Hypothesis without limits of time: the machine may be busy with something else."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty folder for a lake."""
    return Lake(tmp_path / "lake")


@contextlib.contextmanager
def running(app: FastAPI, looked: bool = True) -> Iterator[httpx.Client]:
    """The application behind uvicorn and h11 in a thread, and a client of it; once it has looked at its lake."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        options = {"lifespan": "on", "timeout_graceful_shutdown": 5, "proxy_headers": False}
        options["h11_max_incomplete_event_size"] = app.state.settings.header_bytes
        config = uvicorn.Config(app, http=BoundedProtocol, log_config=None, **options)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        eventually(lambda: server.started and (app.state.store.looked or not looked))
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=20) as client:
            yield client
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Callable[..., httpx.Client]]:
    """Starts the service over a lake, with any settings; gives a client that knows its store. All end with the test."""
    with contextlib.ExitStack() as stack:

        def start(lake: Lake, **settings: Any) -> httpx.Client:
            values = {"lake": str(lake.path), "poll_seconds": 0.05, "replica": False, **settings}
            app = create_app(Settings(**values))
            client = stack.enter_context(running(app))
            client.store = app.state.store  # type: ignore[attr-defined]
            return client

        yield start


@pytest.fixture
def open_store() -> Iterator[Callable[..., Store]]:
    """Opens a store over a lake and looks at it once."""
    stores: list[Store] = []

    def start(lake: Lake, **settings: Any) -> Store:
        store = Store(Settings(**{"lake": str(lake.path), "replica": False, **settings}))
        stores.append(store)
        store.poll()
        return store

    yield start
    for store in stores:
        store.close()


@pytest.fixture
def no_long_files() -> Iterator[None]:
    """A system that says of each file above 100 kB that it cannot be written."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def environment(tmp_path: Path, **settings: str) -> dict[str, str]:
    """The variables of a service of its own, with a configuration file and a cache below the folder."""
    conf = tmp_path / "conf" / "ctr.toml"
    conf.parent.mkdir(exist_ok=True)
    conf.write_text("[serving]\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CTR_")}
    return {
        **kept,
        "CTR_CONF": str(conf),
        "CTR_LAKE": str(tmp_path / "lake"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        **settings,
    }


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], str, Path]]]:
    """Starts ``python -m serving`` on a free port; gives the process, its address and its log."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **settings: str) -> tuple[subprocess.Popen[bytes], str, Path]:
        log = tmp_path / f"log{len(started)}"
        with log.open("wb") as out:
            started.append(
                subprocess.Popen(
                    # below nohup, hang-ups are ignored, by all that is started as well
                    ["env", "--default-signal=HUP", sys.executable, "-m", "serving", *arguments],
                    cwd=ROOT,
                    env=environment(tmp_path, CTR_PORT="0", **settings),
                    stdout=out,
                    stderr=subprocess.STDOUT,
                )
            )
        found = eventually(lambda: re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text()), 60)
        return started[-1], found[1], log

    yield start
    for one in started:
        one.kill()
        one.wait()


def eventually(holds: Callable[[], Any], seconds: float = 15) -> Any:
    """What ``holds`` gives, as soon as that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")
