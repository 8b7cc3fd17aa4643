"""How many may be at something at once, how many wait for it, and how long."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from random import uniform

from serving.errors import Busy

_SPREAD = 0.3
"""Of the longest wait in a queue, the share by which waits differ: a hundred who came together are not refused together, or the
making of their refusals would hold up everybody else, and again when they come back together."""


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
