"""Threads that yield: the event loop, which answers small requests by itself, goes before all that runs in them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from typing_extensions import ParamSpec

P = ParamSpec("P")
T = TypeVar("T")

QUERY = 2
"""Niceness of queries: two thirds of what the event loop gets of the processor, where there is not enough for both."""

HEAVY = 5
"""Niceness of heavy queries, of streams and of building the replica: a third. Not less: each of them needs Python's lock for
moments, and one that is hardly ever run while it has the lock stops all others."""

LAST = 19
"""The highest niceness."""


def yielding(name: str, count: int, niceness: int) -> ThreadPoolExecutor:
    """So many threads, started as they are needed, of lower priority by ``niceness``."""
    return ThreadPoolExecutor(count, thread_name_prefix=name, initializer=lower_priority, initargs=(niceness,))


async def run_in(threads: Executor | None, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What the work gives, done in one of the threads; ``None``: those of the event loop."""
    return await asyncio.get_running_loop().run_in_executor(threads, lambda: work(*arguments, **named))


def lower_priority(niceness: int) -> None:
    """Give the thread that calls, and those that it will start, so much more niceness than the main thread has, 19 at most."""
    with contextlib.suppress(OSError):  # a host that does not allow it answers a little less evenly
        # Linux keeps a priority for each thread; the main one has that with which the service was started, mostly 0.
        wanted = min(os.getpriority(os.PRIO_PROCESS, os.getpid()) + niceness, LAST)
        thread = threading.get_native_id()
        if wanted > os.getpriority(os.PRIO_PROCESS, thread):
            os.setpriority(os.PRIO_PROCESS, thread, wanted)
