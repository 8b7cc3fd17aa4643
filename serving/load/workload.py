"""Keeps the work of all requests in bounds: how many queries run and wait, how long each may take, who still listens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from time import monotonic
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from serving.errors import Busy, ClientGone, QueryTimeout
from serving.load.budget import Budget, Watchdog
from serving.load.gate import Gate
from serving.load.threads import HEAVY, QUERY, run_in, yielding
from serving.reply.encode import Stream, disconnected
from serving.settings import Settings

T = TypeVar("T")

_QUICK_SECONDS = 0.05
"""Answers that take less are not watched for a client that goes away: the watching would cost more than it saves."""

_LATE_SECONDS = 0.3
"""How long after the limit a query may still end by itself; then the client is told without waiting for its end."""


Elsewhere = Callable[[Budget], Awaitable[Response | None]]
"""What may do the work of a request in another process; ``None``: that is not possible now."""


class Workload:
    """The queries and streams of one process."""

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.query_seconds
        self._stream_seconds = settings.stream_seconds
        self._queue_seconds = settings.queue_seconds
        self.watchdog = Watchdog()
        self.queries = Gate(settings.queries, settings.queue, settings.queue_seconds, "queries")
        self.heavy = Gate(settings.heavy_queries, settings.queue, settings.queue_seconds, "heavy_queries")
        self.streams = Gate(settings.streams, 0, 0, "streams")
        self.openings = Gate(1, settings.queue, settings.queue_seconds, None)
        """Of older publications, which are opened one at a time: no query waits for that with its slot taken."""
        self._threads = yielding("query", settings.queries, QUERY)
        self._heavy_threads = yielding("heavy", settings.heavy_queries, HEAVY)
        self._stream_threads = yielding("stream", settings.streams, HEAVY)
        self._opening_threads = yielding("opening", 1, QUERY)

    async def open(self, request: Request, work: Callable[[], None]) -> None:
        """Let ``work`` open an older publication, before ``run`` answers from it.

        Raises:
            Busy: too many wait for that.
            QueryTimeout: it took too long.
            ClientGone: nobody waits for the answer any more.
        """
        await self.openings.enter()
        budget = Budget(self.watchdog, self._seconds, 0)
        task = asyncio.create_task(run_in(self._opening_threads, work))
        task.add_done_callback(lambda _: self.openings.leave())
        await _heard(request, budget, task)

    async def run(
        self,
        request: Request,
        rows: int,
        work: Callable[[Budget], Response],
        *,
        heavy: bool = False,
        elsewhere: Elsewhere | None = None,
        may_stream: bool = False,
    ) -> Response:
        """What ``work`` answers with at most so many rows, made in a thread; ended early when the client goes away.

        Heavy work has slots and threads of its own, so that no other waits behind it, and may be done ``elsewhere``, unless that
        gives ``None``. What may become a stream is not begun while there is no room for one.

        Raises:
            Busy: too many queries or streams at once.
            QueryTimeout: the query took too long.
            ClientGone: nobody waits for the answer any more.
        """
        if may_stream:
            # As long as in a queue: hundreds who are refused at once come back at once, and that holds up everybody else.
            await self.streams.room(self._queue_seconds)
        gate, threads = (self.heavy, self._heavy_threads) if heavy else (self.queries, self._threads)
        await gate.enter()
        budget = Budget(self.watchdog, self._seconds, rows)
        task = asyncio.create_task(_work(threads, work, elsewhere, budget))
        task.add_done_callback(lambda _: gate.leave())
        response = await _heard(request, budget, task)
        if isinstance(response, Stream):
            await self._admit(response, budget)
        return response

    async def _admit(self, stream: Stream, budget: Budget) -> None:
        try:
            await self.streams.enter()
        except Busy:
            stream.close()
            raise
        stream.limit(self._stream_seconds, self._stream_threads, budget.cancel, self.streams.leave)

    def close(self) -> None:
        """End all queries, then the watchdog."""
        for threads in (self._threads, self._heavy_threads, self._stream_threads, self._opening_threads):
            threads.shutdown(wait=False, cancel_futures=True)
        self.watchdog.close()


async def _work(
    threads: Executor, work: Callable[[Budget], Response], elsewhere: Elsewhere | None, budget: Budget
) -> Response:
    response = await elsewhere(budget) if elsewhere is not None else None
    return response if response is not None else await run_in(threads, work, budget)


async def _heard(request: Request, budget: Budget, task: asyncio.Task[T]) -> T:
    """What the task gives; without waiting for it any longer when the client is gone or the time is over for sure."""
    gone: asyncio.Task[None] | None = None
    try:
        await asyncio.wait({task}, timeout=min(_QUICK_SECONDS, budget.seconds))
        if not task.done():
            gone = asyncio.create_task(disconnected(request.receive))
            left = budget.deadline - monotonic() + _LATE_SECONDS
            await asyncio.wait({task, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return await task
        if gone is not None and gone.done():
            raise ClientGone
        raise QueryTimeout(budget.seconds)
    finally:
        if not task.done():  # nobody waits for it any more, but its slot is taken until it has ended
            budget.cancel()
            task.add_done_callback(_forget)
        if gone is not None:
            gone.cancel()


def _forget(task: asyncio.Task[T]) -> None:
    """Give back what an answer holds that came too late."""
    if task.cancelled() or task.exception() is not None:
        return
    response = task.result()
    if isinstance(response, Stream):
        response.close()
