"""Refusals take turns: however many fall due at once, between two of them the event loop serves everybody else.

Hundreds of clients that connected together are out of time together, and to refuse all of them takes half a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

TURNS = "turns"
"""Where the lifespan of the application puts its ``Turns``, for the protocol and for the answers of requests to find."""


class Turns:
    """Gives one turn in each round of the event loop, in the order in which they are asked for."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._taken = False
        """Whether this round's turn was given away."""

    def take(self, work: Callable[[], None]) -> None:
        """Do the work in its turn: now, or in a later round."""
        if self._taken:
            self._waiting.append(work)
        else:
            self._give(work)

    async def wait(self) -> None:
        """Return in one's turn."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.take(lambda: None if turn.done() else turn.set_result(None))
        await turn

    def _give(self, work: Callable[[], None]) -> None:
        self._taken = True
        asyncio.get_running_loop().call_soon(self._next_round)
        work()

    def _next_round(self) -> None:
        self._taken = False
        if self._waiting:
            self._give(self._waiting.popleft())
