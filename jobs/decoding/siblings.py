"""Where the next record begins after a broken one: known by how records begin in the document, or proved by being a message."""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

import msgspec

from jobs.decoding.jsonvalue import value_end
from jobs.decoding.records import Reason

OPENING_BYTES = 1024
"""No beginning of a record is longer: the key, the white space before it, the indentation of its line."""
_INDENT_BYTES = OPENING_BYTES // 2
_KEY = re.compile(rb'\{[ \t\r\n]*("[^"\r\n]{1,200}")')
_OBJECT = re.compile(rb'\{[ \t\r\n]*"')
_MESSAGE_KEYS = (b'"events"', b'"message_id"', b'"mpid"', b'"batch_id"', b'"message_type"', b'"schema_version"')
"""Keys that a message may begin with and nothing inside it does (case.md, the structure)."""
_MOST_KEYS = 16
_LOOK_COST = 1000
"""What one look for the end of an object costs beside the bytes that it reads, in bytes that could be read instead."""


def _first(keys: tuple[bytes, ...]) -> bytes:
    return rb"[ \t\r\n]*(?:" + b"|".join(map(re.escape, keys)) + rb")"


_MESSAGE = _first(_MESSAGE_KEYS)
_NO_MEMBER = rb"(?<![:\[]\{)(?<!: \{)"
"""Holds behind the brace of an object that is neither a member of an object nor the first of a list."""


class Siblings:
    """What the beginning of a record looks like in this document: its first key, and the indentation of its line."""

    def __init__(self) -> None:
        self.learned = False  # from a whole message; what broken records look like is a guess
        self._keys: tuple[bytes, ...] = ()
        self._indent: bytes | None = None
        self._pattern = re.compile(rb"\{" + _MESSAGE)

    def learn(self, data: bytes, start: int, end: int) -> None:
        """Takes the whole object ``data[start:end]`` as an example if it is a message: what begins it and nothing inside it."""
        key = _key(data, start)
        if self.learned and (not key or key in self._keys or len(self._keys) >= _MOST_KEYS):
            return
        text = data[start:end]
        if not _is_message(text):
            return
        keys = self._keys if self.learned else ()
        if key and not re.compile(rb"\{" + _first((key,))).search(text, 1):
            keys = (*keys, key)
        indent = self._indent if self.learned else _indent(data, start, end)
        self.learned = True
        self._set(keys, indent)

    def suppose(self, data: bytes, start: int) -> None:
        """Takes the broken object that begins at ``start`` as an example, as long as there is no better one."""
        if not self.learned:
            key = _key(data, start)
            self._set((key,) if key else (), _indent(data, start, start + 1))

    def find(self, data: bytes, start: int, end: int = sys.maxsize) -> int:
        """Where in ``data[start:end]`` a record seems to begin; -1 if nowhere."""
        match = self._pattern.search(data, start, end)
        return match.start() if match else -1

    def _set(self, keys: tuple[bytes, ...], indent: bytes | None) -> None:
        if (keys, indent) == (self._keys, self._indent):
            return
        self._keys, self._indent = keys, indent
        ways = [_MESSAGE]
        if keys:
            ways.append(_NO_MEMBER + _first(keys))
        if indent is not None:
            ways.append(rb"(?<=\n" + re.escape(indent) + rb"\{)")
        # All ways begin with the brace, which is found at memory speed.
        self._pattern = re.compile(rb"\{(?:" + b"|".join(ways) + rb")")


def _key(data: bytes, start: int) -> bytes:
    """The first key of the object at ``start``; empty if there is none, or one that every message may begin with."""
    match = _KEY.match(data, start)
    return match[1] if match and match[1] not in _MESSAGE_KEYS else b""


def _indent(data: bytes, start: int, end: int) -> bytes | None:
    """The indentation of the line that the object ``data[start:end]`` begins, if no line inside it begins an object alike."""
    before = data[max(start - _INDENT_BYTES, 0) : start]
    indent = before[before.rfind(b"\n") + 1 :]
    alone = len(indent) < _INDENT_BYTES and not indent.strip(b" \t")
    return indent if alone and b"\n" + indent + b"{" not in data[start:end] else None


class Search(NamedTuple):
    """What a search for a message has found: where it begins (-1: nowhere), and what that cost, in bytes read.

    ``cut`` is where the first object before it begins that the end of the text cuts and that may be one as well (-1: none).
    """

    at: int
    cut: int
    cost: int


class _Events(msgspec.Struct):
    events: msgspec.Raw = msgspec.Raw(b"")


_EVENTS = msgspec.json.Decoder(_Events)


def find_message(data: bytes, start: int, before: int, end: int, *, longest: int, budget: int) -> Search:
    """Looks for an object of at most ``longest`` bytes that is a message, whatever key it begins with.

    It must begin in ``data[start:before]`` and end by ``end``. The search is given up when it has cost more than ``budget``.
    ``data`` must come from ``mask_surrogates``.
    """
    view, cut, cost = memoryview(data), -1, 0
    while cost <= budget:
        match = _OBJECT.search(data, start, before)
        if not match:
            break
        at = match.start()
        extent = value_end(view[at:end])
        cost += extent.end + _LOOK_COST
        text = data[at : at + extent.end].rstrip()
        start = at + 1
        if len(text) > longest:
            continue
        if extent.reason is None:
            if _is_message(text):
                return Search(at, cut, cost)
            start = at + len(text)
        elif extent.reason is Reason.TRUNCATED and cut < 0:
            cut = at
    return Search(-1, cut, cost)


def _is_message(text: bytes) -> bool:
    """Whether the object in ``text`` holds a list ``events`` itself, not in something inside it."""
    return b'"events"' in text and bytes(_EVENTS.decode(text).events).startswith(b"[")
