"""The application: one factory, which opens the store when the server starts and follows new publications."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from serving import VERSION, problems
from serving.documents import DESCRIPTION, add_docs
from serving.routes import router
from serving.settings import Settings
from serving.store import Store


def create_app(settings: Settings) -> FastAPI:
    """The service over one lake. Nothing is opened until the server starts it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store = Store(settings)
        app.state.store = store
        await asyncio.to_thread(store.poll)
        following = asyncio.create_task(_follow(store, settings.poll_seconds))
        try:
            yield
        finally:
            following.cancel()
            store.close()

    app = FastAPI(
        title="CTR service",
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.add_middleware(problems.RequestId)
    problems.install(app)
    app.include_router(router)
    add_docs(app)
    return app


async def _follow(store: Store, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(store.poll)
