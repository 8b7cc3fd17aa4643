"""What the beginning of a record looks like in a document, learned from its whole records: where to go on after a broken one."""

from __future__ import annotations

import re

OPENING_BYTES = 1024
"""No beginning of a record is longer: the key, the white space before it, the indentation of its line."""
_KEY = re.compile(rb'\{[ \t\r\n]*("[^"\r\n]{1,200}")')
_MESSAGE_KEYS = (b'"events"', b'"message_id"', b'"mpid"', b'"batch_id"', b'"message_type"', b'"schema_version"')
"""Keys that a message may begin with and nothing inside it does (case.md, the structure)."""
_MOST_KEYS = 16


class Siblings:
    """What the beginning of a record looks like in this document: its first key, and the indentation of its line."""

    def __init__(self) -> None:
        self._keys = [*_MESSAGE_KEYS]
        self._indent: bytes | None = None
        self._pattern = re.compile(b"")
        self._learned = False
        self._compile()

    def learn(self, data: bytes, start: int, end: int) -> None:
        """Takes the whole object ``data[start:end]`` as an example: what begins it and stands nowhere inside it."""
        self._add_key(data, start, end)
        if not self._learned:
            self._learned = True
            self._set_indent(data, start, end)

    def suppose(self, data: bytes, start: int) -> None:
        """Takes the broken object that begins at ``start`` as an example, as long as there is no better one."""
        if not self._learned:
            self._add_key(data, start, start + 1)
            self._set_indent(data, start, start + 1)

    def find(self, data: bytes, start: int) -> int:
        """Where the next record seems to begin, from ``start`` on; -1 if nowhere."""
        match = self._pattern.search(data, start)
        return match.start() if match else -1

    def _add_key(self, data: bytes, start: int, end: int) -> None:
        match = _KEY.match(data, start)
        if not match or match[1] in self._keys or len(self._keys) >= _MOST_KEYS:
            return
        if not re.compile(rb"\{[ \t\r\n]*" + re.escape(match[1])).search(data, start + 1, end):
            self._keys.append(match[1])
            self._compile()

    def _set_indent(self, data: bytes, start: int, end: int) -> None:
        indent = data[data.rfind(b"\n", 0, start) + 1 : start]
        alone = len(indent) < OPENING_BYTES // 2 and not indent.strip(b" \t")
        self._indent = indent if alone and b"\n" + indent + b"{" not in data[start:end] else None
        self._compile()

    def _compile(self) -> None:
        pattern = rb"\{[ \t\r\n]*(?:" + b"|".join(map(re.escape, self._keys)) + rb")"
        if self._indent is not None:
            pattern = rb"(?<=\n" + re.escape(self._indent) + rb")\{|" + pattern
        self._pattern = re.compile(pattern)
