"""The moving windows of rate limits, in memory, as the library ``limits`` wants them from a storage."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from limits.storage import MemoryStorage


@dataclass
class _Window:
    seconds: int
    times: deque[float] = field(default_factory=deque)
    """When its entries came, the oldest first."""

    def until(self, now: float) -> deque[float]:
        """The entries that are still in it."""
        while self.times and self.times[0] <= now - self.seconds:
            self.times.popleft()
        return self.times


class Windows(MemoryStorage):
    """Moving windows for one thread, that of the event loop.

    The library's own start a thread for every request that comes 10 ms after another, and that thread copies every window of every
    client: the event loop waited for it, 3 to 10 ms.
    """

    def __init__(self) -> None:
        super().__init__()
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        """By key, the one that was least recently taken from first."""

    def __len__(self) -> int:
        return len(self._windows)

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Enter so many into the window of a key, of so many seconds; ``False``: there is no room for them below the limit."""
        now = time.time()
        self._forget(now)
        window = self._windows.setdefault(key, _Window(expiry))
        self._windows.move_to_end(key)
        times = window.until(now)
        if len(times) + amount > limit:
            return False
        times.extend([now] * amount)
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest entry in the window of a key came, and how many there are; now and 0 where there is none."""
        now = time.time()
        window = self._windows.get(key)
        times = window.until(now) if window is not None else None
        return (times[0], len(times)) if times else (now, 0)

    def _forget(self, now: float) -> None:
        """Drop windows in which nothing is any more. Looks at no more than two for each entry."""
        for _ in range(2):
            key = next(iter(self._windows), None)
            if key is None:
                return
            if self._windows[key].until(now):
                return
            del self._windows[key]
