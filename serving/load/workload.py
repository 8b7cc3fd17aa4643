"""Keeps the work of all requests in bounds: how many queries run and wait, how long each may take, who still listens."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from math import inf
from random import uniform
from time import monotonic
from typing import Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from serving.errors import Busy, ClientGone, QueryTimeout
from serving.load.threads import HEAVY, QUERY, run_in, yielding
from serving.reply.encode import Stream, disconnected
from serving.settings import Settings

T = TypeVar("T")

_TICK_SECONDS = 0.1
"""How often the watchdog looks: a time limit holds within this."""

_INSIST_SECONDS = 0.02
"""How often a query that has to end is interrupted again: an interrupt that comes before its start is lost."""

_QUICK_SECONDS = 0.05
"""Answers that take less are not watched for a client that goes away: the watching would cost more than it saves."""


_SPREAD = 0.3
"""Of the longest wait in a queue, the share by which waits differ: a hundred who came together are not refused together, or the
making of their refusals would hold up everybody else, and again when they come back together."""

_LATE_SECONDS = 0.3
"""How long after the limit a query may still end by itself; then the client is told without waiting for its end."""


_END_SECONDS = 5.0
"""How long the end of the service waits for queries that have been interrupted."""


class Interruptible(Protocol):
    """Something that a thread waits for: a cursor of DuckDB, a link to the heavy process."""

    def interrupt(self) -> None:
        """End the waiting. Another thread calls it, perhaps several times."""


class Budget:
    """What the queries of one request may use: rows and seconds. ``reading`` stands around each use of a cursor."""

    def __init__(self, watchdog: Watchdog | None, seconds: float, rows: int) -> None:
        self._watchdog = watchdog
        self.rows = rows
        self.seconds = seconds
        self.begin()
        self.cancelled = False

    def begin(self) -> None:
        """Let the time start anew."""
        self.deadline = monotonic() + self.seconds

    def cancel(self) -> None:
        """End the query, because nobody waits for its answer any more."""
        self.cancelled = True
        if self._watchdog is not None:
            self._watchdog.wake()

    @property
    def over(self) -> bool:
        """Whether the query has to end."""
        return self.cancelled or monotonic() >= self.deadline

    @contextmanager
    def reading(self, cursor: Interruptible) -> Iterator[None]:
        """Interrupt what runs on the cursor when the time is over.

        Raises:
            QueryTimeout: that happened.
            ClientGone: the request was cancelled.
        """
        if self._watchdog is None:
            yield
            return
        self._watchdog.add(self, cursor)
        try:
            yield
        except Exception as error:
            if not self.over:
                raise
            raise (ClientGone() if self.cancelled else QueryTimeout(self.seconds)) from error
        finally:
            self._watchdog.remove(self)

    def each(self, chunks: Iterator[bytes], cursor: Interruptible) -> Iterator[bytes]:
        """The same chunks; each of them has the whole time to itself."""
        while True:
            self.begin()
            with self.reading(cursor):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk


UNLIMITED = Budget(None, inf, sys.maxsize)
"""For callers that are no clients."""


Elsewhere = Callable[[Budget], Awaitable[Response | None]]
"""What may do the work of a request in another process; ``None``: that is not possible now."""


class Watchdog:
    """One thread that interrupts queries whose time is over, again and again until they have ended."""

    def __init__(self) -> None:
        self._watched: dict[Budget, Interruptible] = {}
        self._condition = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def add(self, budget: Budget, cursor: Interruptible) -> None:
        """Budget what runs on a cursor."""
        with self._condition:
            self._watched[budget] = cursor

    def remove(self, budget: Budget) -> None:
        """The query has ended; its cursor is not touched from now on."""
        with self._condition:
            self._watched.pop(budget, None)

    def wake(self) -> None:
        """Look now instead of at the next tick."""
        with self._condition:
            self._condition.notify()

    def close(self) -> None:
        """End all that runs, then the thread; what cannot be interrupted is waited for a few seconds."""
        self._closed = True
        self.wake()
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        with self._condition:
            while self._watched or not self._closed:
                due = [cursor for budget, cursor in self._watched.items() if budget.over or self._closed]
                for cursor in due:
                    cursor.interrupt()
                self._condition.wait(_INSIST_SECONDS if due else _TICK_SECONDS)


def _patience(longest: float) -> float:
    """How many seconds one waits in a queue, of the longest that anybody does."""
    return uniform(1 - _SPREAD, 1) * longest


class Gate:
    """So many at once, so many more that wait, each so long at most; whoever comes beyond that is told to come again."""

    def __init__(self, slots: int, queue: int, seconds: float, setting: str | None) -> None:
        """``setting``: says how many slots there are, if one does."""
        self._slots = slots
        self._queue = queue
        self._seconds = seconds
        self._setting = setting
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._hoping: deque[asyncio.Future[None]] = deque()
        self.running = 0
        """How many are inside."""

    @property
    def full(self) -> bool:
        """Whether whoever comes now has to wait, or is refused."""
        return self.running >= self._slots

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Take a slot, after some waiting where none is free; ``leave`` gives it back.

        Raises:
            Busy: the queue is full, or the wait was too long.
        """
        if self.running < self._slots:
            self.running += 1
            return
        if len(self._waiting) >= self._queue:
            await asyncio.sleep(uniform(0, _SPREAD) * self._seconds)
            raise Busy(self._slots, self._setting, self._queue)
        await self._wait_in(self._waiting, self._seconds, self.leave)

    async def room(self, seconds: float) -> None:
        """Wait until a slot is free, without taking it.

        Raises:
            Busy: none was in so many seconds.
        """
        if self.full:
            await self._wait_in(self._hoping, seconds, self._tell_next)

    async def _wait_in(self, queue: deque[asyncio.Future[None]], longest: float, pass_on: Callable[[], None]) -> None:
        """Wait to be told; who was told and does not wait any longer passes it on.

        Raises:
            Busy: that took too long.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await asyncio.wait({turn}, timeout=_patience(longest))
        except asyncio.CancelledError:
            if turn.done():
                pass_on()
            raise
        finally:
            if not turn.done():
                queue.remove(turn)
        if not turn.done():
            raise Busy(self._slots, self._setting, seconds=longest)

    def leave(self) -> None:
        """Give a slot back: the one who has waited longest gets it."""
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self.running -= 1
            self._tell_next()

    def _tell_next(self) -> None:
        if self._hoping:
            self._hoping.popleft().set_result(None)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A slot for the time of a block.

        Raises:
            Busy: there was none in time.
        """
        await self.enter()
        try:
            yield
        finally:
            self.leave()


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
