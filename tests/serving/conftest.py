"""Fixtures of the service's tests: a lake of literal rows, and the service over it on a real port."""

from __future__ import annotations

import contextlib
import socket
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

from serving.main import create_app
from serving.settings import Settings
from serving.store import Store
from tests.serving.lake import Lake

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
"""Hypothesis without limits of time: the machine may be busy with something else."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty folder for a lake."""
    return Lake(tmp_path / "lake")


@contextlib.contextmanager
def running(app: FastAPI) -> Iterator[httpx.Client]:
    """The application behind uvicorn and h11 in a thread, and a client of it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, http="h11", log_config=None, lifespan="on", timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        eventually(lambda: server.started)
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
            values = {"lake": str(lake.path), "poll_seconds": 0.05, **settings}
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
        store = Store(Settings(lake=str(lake.path), **settings))
        stores.append(store)
        store.poll()
        return store

    yield start
    for store in stores:
        store.close()


def eventually(holds: Callable[[], Any], seconds: float = 15) -> Any:
    """What ``holds`` gives, as soon as that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")
