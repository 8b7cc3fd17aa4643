"""A bounded store of finished answers, the least recently used of which go first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

_OVERHEAD = 1000
"""Bytes that an entry takes besides its body: headers, key, place in the table."""


@dataclass(frozen=True)
class Answer:
    """A finished answer: its body and its headers."""

    body: bytes
    headers: Mapping[str, str]


class AnswerCache:
    """Answers by their entity tag, which names publication, request and format: an entry can never be out of date."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0
        """Answers that had to be worked out; those that are streamed are never kept, and not counted."""
        self.bytes = 0
        """What the entries take at this moment."""

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, tag: str) -> Answer | None:
        """The answer with that tag, if it is there."""
        with self._lock:
            answer = self._answers.get(tag)
            if answer is None:
                return None
            self._answers.move_to_end(tag)
            self.hits += 1
            return answer

    def put(self, tag: str, answer: Answer) -> None:
        """Keep an answer; one that would push out more than an eighth of the others is not kept."""
        self.misses += 1
        size = _size(answer)
        if size > self._most_bytes // 8:
            return
        with self._lock:
            old = self._answers.pop(tag, None)
            self.bytes += size - (_size(old) if old else 0)
            self._answers[tag] = answer
            while self.bytes > self._most_bytes:
                _, gone = self._answers.popitem(last=False)
                self.bytes -= _size(gone)


def _size(answer: Answer) -> int:
    return len(answer.body) + _OVERHEAD
