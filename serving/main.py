"""The application: one factory, which opens the store when the server starts and follows new publications."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI

from serving import VERSION
from serving.access.access import Access, SecurityHeaders
from serving.access.cors import Cors
from serving.access.tokens import Tokens
from serving.explorer import add_explorer
from serving.load.connections import REFUSALS, STATE, connection_limits
from serving.load.ending import end_on_hang_up, end_within
from serving.load.handles import raise_limit
from serving.load.heavy import SOCKET, Heavy
from serving.load.turns import TURNS, Turns
from serving.load.workload import Workload
from serving.logs import tell_no_places
from serving.observe import Metrics, Observe
from serving.openapi.documents import DESCRIPTION, EXPOSED, add_docs
from serving.reply import problems, transfer
from serving.reply.again import Again
from serving.routes import PATHS, router
from serving.settings import Settings, handed_down
from serving.state.store import Store

logger = logging.getLogger(__name__)

_START_SECONDS = 5.0
"""How long the start waits for the first publication. Meanwhile and after that ``/health/ready`` says ``loading``."""

_END_SECONDS = 8.0
"""How long a worker may take to end, once answers have had ``stop_seconds`` to do so."""

_NEW_OBJECTS = 50_000
"""How many more objects there have to be until a worker looks for garbage among the new ones; by default 700."""


def create_app(settings: Settings, heavy: str | None = None, end: Callable[[], None] = lambda: None) -> FastAPI:
    """The service over one lake. Nothing is opened until the server starts it.

    Args:
        settings: of one worker.
        heavy: where the heavy process listens; ``None``: heavy requests are answered here.
        end: called when the server stops, before anything is closed.
    """
    tokens = Tokens(settings) if settings.jwt_jwks is not None else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        store, workload = Store(settings), Workload(settings)
        app.state.store, app.state.workload = store, workload
        looked, ended = threading.Event(), threading.Event()
        what = (store, settings.poll_seconds, app.state.metrics, looked, ended)
        # A thread that the end of the process does not wait for, as those of the event loop: the lake may hang.
        threading.Thread(target=_follow, args=what, name="follow", daemon=True).start()
        # A small lake answers from the first request on; a large one must not look dead while it is opened.
        await asyncio.to_thread(looked.wait, _START_SECONDS)
        keys = asyncio.create_task(tokens.keys.follow()) if tokens is not None else None
        try:
            yield {STATE: connection_limits(settings), REFUSALS: app.state.metrics.refused, TURNS: Turns()}
        finally:
            end()
            ended.set()
            if keys is not None:
                keys.cancel()
            workload.close()
            store.close()

    app = FastAPI(
        title="CTR service",
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,
        openapi_url="/openapi.json" if settings.docs else None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.settings, app.state.tokens, app.state.heavy = settings, tokens, Heavy(heavy)
    app.add_middleware(transfer.Compress)
    app.add_middleware(transfer.Head)
    app.add_middleware(Again)
    app.add_middleware(transfer.Slices, seconds=settings.stream_seconds)
    app.add_middleware(Access, settings=settings, tokens=tokens)
    app.add_middleware(problems.Addresses, limit=settings.url_bytes, docs=settings.docs)
    if settings.cors_origins:
        app.add_middleware(Cors, origins=settings.cors_origins, exposed=EXPOSED)
    app.state.metrics = Metrics()
    app.add_middleware(Observe, metrics=app.state.metrics, paths=PATHS)
    app.add_middleware(problems.RequestId)
    app.add_middleware(SecurityHeaders)
    problems.install(app)
    app.include_router(router)
    add_docs(app, settings)
    add_explorer(app, settings.docs, settings.url_bytes)
    return app


def worker_app() -> FastAPI:
    """The service as one of several workers runs it: with its share of memory and threads."""
    threading.Thread(target=_end_with_the_service, name="end", daemon=True).start()
    end_on_hang_up()
    raise_limit()
    tell_no_places()
    app = create_app(handed_down().of_worker(), os.environ.get(SOCKET), partial(end_within, _END_SECONDS))
    # What is there now stays, and requests leave next to nothing that only the collector finds: a few objects for each connection.
    # Looking through all of it for them again and again, as Python does by default, would hold up requests by up to 0.1 s.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
    return app


def _end_with_the_service() -> None:
    """End this worker when the process that started it was killed: it would answer for ever, and keep the port."""
    service = multiprocessing.parent_process()
    if service is not None:
        service.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _follow(store: Store, seconds: float, metrics: Metrics, looked: threading.Event, ended: threading.Event) -> None:
    """Look at the lake until the end, whatever comes of one look; ``looked``: the first one has ended."""
    while not ended.is_set():
        try:
            store.poll()
            if store.builder is not None:
                metrics.built(store.builder.seconds)
        except Exception:
            logger.exception("a look at the lake failed; the next one follows")
        looked.set()
        ended.wait(seconds)
