"""A bounded store of finished answers, the least recently used of which go first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

_OVERHEAD = 1000
"""Bytes that an entry takes besides its body: headers, key, place in the table."""

_SENT_OVERHEAD = 4000
"""Likewise of an answer as it was sent, whose key holds what was asked, word for word."""


@dataclass(frozen=True)
class Answer:
    """A finished answer: its body and its headers."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Sent:
    """A whole answer as it was sent for the bytes of a request: compressed or not, with its headers but that of its timing."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    timing: bytes
    """What told where the answer came from, to be followed by how long it took."""


class AnswerCache:
    """Answers by their entity tag, which names publication, request and format: an entry can never be out of date.

    Beside them answers as they were sent, by what names as much. All together are bounded.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._entries: OrderedDict[Hashable, Answer | Sent] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0
        """Answers that had to be worked out; those that are streamed are never kept, and not counted."""
        self.bytes = 0
        """What the entries take at this moment."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, tag: str) -> Answer | None:
        """The answer with that tag, if it is there."""
        found = self._find(tag)
        return found if isinstance(found, Answer) else None

    def put(self, tag: str, answer: Answer) -> None:
        """Keep an answer; one that would push out more than an eighth of the others is not kept."""
        self.misses += 1
        self._keep(tag, answer)

    def get_sent(self, key: tuple[Hashable, ...]) -> Sent | None:
        """The answer as it was sent, if it is there."""
        found = self._find(key)
        return found if isinstance(found, Sent) else None

    def put_sent(self, key: tuple[Hashable, ...], sent: Sent) -> None:
        """Keep an answer as it was sent; its key and headers have to be short, for they are not measured."""
        self._keep(key, sent)

    def _find(self, key: Hashable) -> Answer | Sent | None:
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
                self.hits += 1
            return found

    def _keep(self, key: Hashable, entry: Answer | Sent) -> None:
        size = _size(entry)
        if size > self._most_bytes // 8:
            return
        with self._lock:
            old = self._entries.pop(key, None)
            self.bytes += size - (_size(old) if old else 0)
            self._entries[key] = entry
            while self.bytes > self._most_bytes:
                _, gone = self._entries.popitem(last=False)
                self.bytes -= _size(gone)


def _size(entry: Answer | Sent) -> int:
    return len(entry.body) + (_OVERHEAD if isinstance(entry, Answer) else _SENT_OVERHEAD)
