"""What one query may use, and the thread that ends it when its time is over."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Protocol

from serving.errors import ClientGone, QueryTimeout

_TICK_SECONDS = 0.1
"""How often the watchdog looks: a time limit holds within this."""

_INSIST_SECONDS = 0.02
"""How often a query that has to end is interrupted again: an interrupt that comes before its start is lost."""

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

    @property
    def at_work(self) -> bool:
        """Whether any query runs."""
        return bool(self._watched)

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
