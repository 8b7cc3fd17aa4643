"""Threads that yield: the event loop, which answers small requests by itself, goes before all that runs in them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from typing_extensions import ParamSpec

P = ParamSpec("P")
T = TypeVar("T")

QUERY = 2
"""Niceness of queries: two thirds of what the event loop gets of the processor, where there is not enough for both."""

HEAVY = 5
"""Niceness of heavy queries, of streams and of building the replica: a third. Not less: each of them needs Python's lock for
moments, and one that is hardly ever run while it has the lock stops all others."""

_LAST = 19
"""Niceness of what comes last, where the system has no better word for it."""

_GROUP = Path("/proc/self/autogroup")
"""Where Linux keeps the niceness of the group of a session (``man 7 sched``: the autogroup feature)."""

_GROUP_NICENESS = 10
"""A tenth of what another group gets: not less, or large requests would stand still while the jobs keep every core busy."""


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
        wanted = min(os.getpriority(os.PRIO_PROCESS, os.getpid()) + niceness, _LAST)
        thread = threading.get_native_id()
        if wanted > os.getpriority(os.PRIO_PROCESS, thread):
            os.setpriority(os.PRIO_PROCESS, thread, wanted)


def come_last() -> None:
    """Let this process run only where nobody else wants the processor; before it has started threads.

    A niceness, however high, is not enough: who has begun to run may do so until the next tick of the clock, which is milliseconds,
    while others wait. A process that is SCHED_IDLE mostly gives way at once, and a core that runs it counts as free. Not always:
    within one group of processes others were seen to wait for up to four ticks (Linux 6.18, a hundredth of the times they woke).
    Where each session is a group, a process that leads one has a group of its own, which yields as a whole.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):  # not Linux, or not allowed there
        lower_priority(_LAST)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # the system makes no such groups, or this one may not be changed
            _GROUP.write_text(str(_GROUP_NICENESS))
