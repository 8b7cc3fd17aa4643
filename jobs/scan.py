"""Finds the records of a document that is no JSON lines: objects one after another, or an array of them, in any formatting.

Exact where the document is valid: msgspec says where each value ends. Where it is damaged the scanner looks for the beginning
of the next record, known by the records before it, and gives what lies between as one broken record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from jobs.batch import Typed, decode_typed, is_utf8
from jobs.message import Extent, Fault, mask_surrogates, value_end
from jobs.records import RAW_BYTES, Reason

CHUNK_BYTES = 4 << 20
_SPACE = b" \t\r\n"
_GAP = _SPACE + b","
_NOT_GAP = re.compile(rb"[^ \t\r\n,]")
_OPENING = re.compile(rb'\{[ \t\r\n]*"[^"]*"')
_KEY = re.compile(rb'\{[ \t\r\n]*("[^"]*")')
_MESSAGE_KEY = b'"events"'
_OVERLAP = 1024
"""No beginning of a record is longer: the key, the white space before it, the indentation of its line."""
_MOST_KEYS = 8


class Readable(Protocol):
    """Where the document comes from."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


@dataclass(frozen=True)
class Piece:
    """One record: its bytes (cut if broken and long) and true length; ``typed`` if it is read already, ``fault`` if broken."""

    offset: int
    raw: bytes
    length: int
    typed: Typed | None = None
    fault: Fault | None = None


class Siblings:
    """What the beginning of a record looks like in this document: its first key, and the indentation of its line."""

    def __init__(self) -> None:
        self._keys = [_MESSAGE_KEY]
        self._indent: bytes | None = None
        self._pattern = re.compile(b"")
        self._first = True
        self._compile()

    def learn(self, data: bytes, start: int, end: int) -> None:
        """Takes the whole object ``data[start:end]`` as an example."""
        match = _KEY.match(data, start, end)
        if match and match[1] not in self._keys and len(self._keys) < _MOST_KEYS:
            inner = re.compile(rb"\{[ \t\r\n]*" + re.escape(match[1]))
            if not inner.search(data, start + 1, end):
                self._keys.append(match[1])
                self._compile()
        if self._first:
            self._first = False
            self._learn_indent(data, start, end)

    def _learn_indent(self, data: bytes, start: int, end: int) -> None:
        line = data.rfind(b"\n", 0, start) + 1
        indent = data[line:start]
        if len(indent) < _OVERLAP // 2 and not indent.strip(b" \t") and b"\n" + indent + b"{" not in data[start:end]:
            self._indent = indent
            self._compile()

    def _compile(self) -> None:
        pattern = rb"\{[ \t\r\n]*(?:" + b"|".join(map(re.escape, self._keys)) + rb")"
        if self._indent is not None:
            pattern = rb"(?<=\n" + re.escape(self._indent) + rb")\{|" + pattern
        self._pattern = re.compile(pattern)

    def find(self, data: bytes, start: int) -> int:
        """Where the next record seems to begin, from ``start`` on; -1 if nowhere."""
        match = self._pattern.search(data, start)
        return match.start() if match else -1


class Scanner:
    """Iterates over the records of a document.

    Args:
        source: where more of the document comes from, or None if ``data`` is all of it.
        record_bytes: a longer record comes as a fault, its bytes cut.
        array: whether ``[`` where a record should begin opens an array of records.
        data: the beginning of the document.
        base: the offset of ``data`` in the file.
    """

    def __init__(
        self, source: Readable | None, record_bytes: int, *, array: bool = False, data: bytes = b"", base: int = 0
    ) -> None:
        self._source = source
        self._record_bytes = record_bytes
        self._array = array
        self._raw = data
        self._data = mask_surrogates(data)
        self._base = base
        self._at = 0
        self._inside = False
        self._cut = False
        self._separator: bytes | None = None
        self._siblings = Siblings()

    def __iter__(self) -> Iterator[Piece]:
        while self._next_record():
            byte = self._data[self._at]
            if self._array and not self._inside and byte == ord("["):
                self._inside = True
                self._at += 1
            elif self._inside and byte == ord("]"):
                self._inside = False
                self._at += 1
            elif byte == ord("{"):
                yield self._object()
            else:
                yield self._other()
        if self._inside and not self._cut:
            yield Piece(
                self._base + self._at, b"", 0, fault=Fault(Reason.TRUNCATED, "the array has no closing bracket")
            )

    def _next_record(self) -> bool:
        """Passes over white space and commas; False at the end of the document."""
        while True:
            match = _NOT_GAP.search(self._data, self._at)
            if match:
                self._at = match.start()
                return True
            self._at = len(self._data)
            if not self._more():
                return False

    def _more(self) -> bool:
        """Reads on, forgets what lies before the position; False at the end of the document."""
        if self._source is None:
            return False
        held = self._raw[self._at :]
        chunk = self._source.read(max(CHUNK_BYTES, len(held)))
        if not chunk:
            self._source = None
            return False
        self._base += self._at
        self._raw, self._at = held + chunk, 0
        self._data = mask_surrogates(self._raw)
        return True

    def _extent(self) -> Extent:
        """How far the value at the position reaches, reading on as long as it may be whole."""
        while True:
            text = memoryview(self._data)[self._at :]
            extent = value_end(text)
            if extent.reason is None:
                end = len(self._data[self._at : self._at + extent.end].rstrip(_SPACE))
                # Only a number or a literal may go on beyond the last byte that was read.
                if end < len(text) or self._data[self._at] in b'{["' or not self._more():
                    return Extent(end)
            elif extent.reason is not Reason.TRUNCATED:
                return extent
            elif len(text) > self._record_bytes:
                return Extent(-1, Reason.TOO_LONG, extent.detail)
            elif not self._more():
                return extent

    def _object(self) -> Piece:
        quick = self._quick_object()
        if quick is not None:
            return quick
        extent = self._extent()
        if extent.reason is not None:
            return self._broken(extent)
        start, self._at = self._at, self._at + extent.end
        self._siblings.learn(self._data, start, self._at)
        self._separator = None
        opening = _OPENING.search(self._data, self._at)
        if opening and not _NOT_GAP.search(self._data, self._at, opening.start()):
            self._separator = self._data[self._at - 1 : opening.end()]
        return self._whole(start, self._at)

    def _quick_object(self) -> Piece | None:
        """The object at the position if it ends where it should in a regular document; decoding it proves that it does."""
        if self._separator is None:
            return None
        end = self._data.find(self._separator, self._at) + 1
        if not 0 < end - self._at <= self._record_bytes:
            return None
        raw = self._raw[self._at : end]
        typed = decode_typed(raw)
        if typed is None:
            return None
        piece = Piece(self._base + self._at, raw, len(raw), typed=typed)
        self._at = end
        return piece

    def _whole(self, start: int, end: int) -> Piece:
        if end - start > self._record_bytes:
            fault = Fault(Reason.TOO_LONG, f"found {end - start} bytes")
            return Piece(self._base + start, self._raw[start : start + RAW_BYTES], end - start, fault=fault)
        raw = self._raw[start:end]
        return Piece(self._base + start, raw, len(raw), typed=decode_typed(raw))

    def _other(self) -> Piece:
        """A value that is no object, if it is one and stands alone; else text as far as the next record."""
        extent = self._extent()
        if extent.reason is not None:
            return self._broken(extent if self._data[self._at] in b'["' else extent._replace(reason=Reason.STRAY_TEXT))
        start, end = self._at, self._at + extent.end
        if self._data[end : end + 1] not in (b"", b" ", b"\t", b"\r", b"\n", b",", b"]", b"{"):
            return self._broken(Extent(-1, Reason.STRAY_TEXT, "a value with text right after it"))
        self._at = end
        return self._whole(start, end)

    def _broken(self, extent: Extent) -> Piece:
        """Everything from the position to the beginning of the next record, as one broken record."""
        offset, kept, length = self._base + self._at, b"", 0
        while True:
            found = self._siblings.find(self._data, self._at + (length == 0))
            passed = found if found >= 0 else max(len(self._data) - _OVERLAP, self._at)
            passing = self._raw[self._at : passed]
            kept, length = kept + passing[: RAW_BYTES - len(kept)], length + len(passing)
            self._at = passed
            if found >= 0:
                break
            if not self._more():
                passing = self._raw[self._at :]
                kept, length = kept + passing[: RAW_BYTES - len(kept)], length + len(passing)
                self._at = len(self._data)
                self._cut = True
                break
        length -= len(passing) - len(passing.rstrip(_GAP))
        return self._broken_piece(offset, kept[:length], length, extent)

    def _broken_piece(self, offset: int, kept: bytes, length: int, extent: Extent) -> Piece:
        reason, detail = extent.reason, extent.detail
        if length > self._record_bytes:
            reason = Reason.TOO_LONG
        elif length > len(kept):
            reason = Reason.TRUNCATED if reason is Reason.TOO_LONG else reason
        elif not is_utf8(kept):
            reason, detail = Reason.NOT_UTF8, ""
        elif reason is not Reason.STRAY_TEXT:
            # What was read beyond the record has no say in why it is broken.
            reason, detail = value_end(mask_surrogates(kept))[1:]
        assert reason is not None
        return Piece(offset, kept, length, fault=Fault(reason, detail or f"found {length} bytes"))
