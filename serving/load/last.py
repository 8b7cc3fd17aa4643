"""A process that comes last: it runs where nobody else wants the processor, and does not stand still where somebody always does."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from serving.load.threads import LAST, lower_priority

_GROUP = Path("/proc/self/autogroup")
"""Where Linux keeps the niceness of the group of a session (``man 7 sched``: the autogroup feature)."""

YIELDING = LAST
"""Niceness of the group: a seventieth of what another group gets. With a tenth, 15 of a thousand small answers were late beside
large ones, by a tick of the clock (4 ms; ``make bench-abuse``), with this 7."""

INSISTING = 10
"""A tenth: while the jobs keep every core busy, large requests would stand still with less."""

_STARVES = 0.05
"""Who gets less of the cores insists."""

_THRIVES = 0.3
"""Who gets more yields again."""

_LOOK_SECONDS = 1.0


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
        lower_priority(LAST)
    _let_group(YIELDING)


def keep_going(at_work: Callable[[], bool]) -> None:
    """Look again and again how much of the cores this process gets while it is at work; insist while that is next to nothing."""
    niceness, worked = YIELDING, False
    looked, used = time.monotonic(), time.process_time()
    while True:
        time.sleep(_LOOK_SECONDS)
        now, used_now, works = time.monotonic(), time.process_time(), at_work()
        share = (used_now - used) / (now - looked) / (os.cpu_count() or 1)
        before, niceness = niceness, next_niceness(niceness, worked and works, share)
        if niceness != before:
            _let_group(niceness)
        looked, used, worked = now, used_now, works


def next_niceness(niceness: int, at_work: bool, share: float) -> int:
    """That of the group from now on, where it had that one and got such a share of all cores."""
    if not at_work or share > _THRIVES:
        return YIELDING
    return INSISTING if share < _STARVES else niceness


def _let_group(niceness: int) -> None:
    """Give the group of this process that niceness, if it leads one."""
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # the system makes no such groups, or this one may not be changed
            _GROUP.write_text(str(niceness))
