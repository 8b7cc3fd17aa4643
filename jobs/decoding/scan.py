"""Finds the records of a document that is no JSON lines: objects one after another, or an array of them, in any formatting.

Exact where the document is valid: msgspec says where each value ends. Where it is damaged the scanner looks for the beginning
of the next record, known by the records before it, and gives what lies between as one broken record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from jobs.decoding.collect import Typed, decode_typed, is_utf8
from jobs.decoding.jsonvalue import Extent, mask_surrogates, value_end
from jobs.decoding.records import RAW_BYTES, Fault, Reason
from jobs.decoding.siblings import OPENING_BYTES, Siblings, find_message
from jobs.decoding.unpack import Readable, read_on

_SPACE = b" \t\r\n"
_GAP = _SPACE + b","
_NOT_GAP = re.compile(rb"[^ \t\r\n,]")
_OPENING = re.compile(rb'\{[ \t\r\n]*"[^"]{1,200}"')
_RUN_RECORDS = 1000
_LOOK_BYTES = 256 << 20
_LOOKS = 8
"""How often, on the average, a byte of the document may be read in search of ends and beginnings around broken records.

``_LOOK_BYTES`` are free: they take some tenths of a second.
"""


class Piece(NamedTuple):
    """One record that needs the full rules, or with a ``fault`` a broken one: its bytes (cut if so) and true length."""

    offset: int
    raw: bytes
    length: int
    fault: Fault | None = None


@dataclass
class Run:
    """Some neighbouring records that the typed decoder has read."""

    messages: list[Typed] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    raws: list[bytes] = field(default_factory=list)


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
        self._base = self._start = base
        self._looked = 0
        self._at = 0
        self._inside = False
        self._cut = False
        self._separator: bytes | None = None
        self._gap = self._reach = 0
        self._siblings = Siblings()

    def __iter__(self) -> Iterator[Piece | Run]:
        while self._next_record():
            byte = self._data[self._at]
            if self._array and not self._inside and byte == ord("["):
                self._inside = True
                self._at += 1
            elif self._inside and byte == ord("]"):
                self._inside = False
                self._at += 1
            elif byte == ord("{"):
                run = self._regular()
                if run.messages:
                    yield run
                else:
                    yield self._object()
            else:
                yield self._other()
        if self._inside and not self._cut:
            yield Piece(self._base + self._at, b"", 0, Fault(Reason.TRUNCATED, "the array has no closing bracket"))

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
        start = max(self._at - OPENING_BYTES, 0)  # what stands before a record tells whether it begins a line
        held = self._raw[start:]
        chunk = read_on(self._source, len(held), self._record_bytes)
        if not chunk:
            self._source = None
            return False
        self._base += start
        self._at -= start
        self._raw = held + chunk
        self._data = mask_surrogates(self._raw)
        return True

    def _extent(self) -> Extent:
        """How far the value at the position reaches, reading on as long as it may be whole."""
        while True:
            text = self._in_sight()
            extent = value_end(text)
            if extent.reason is None:
                end = len(self._data[self._at : self._at + extent.end].rstrip(_SPACE))
                # Only a number or a literal may go on beyond the last byte that was read.
                if end < len(text) or self._data[self._at] in b'{["' or not self._more():
                    return Extent(end)
                continue
            self._looked += extent.end
            if extent.reason is not Reason.TRUNCATED or self._at + len(text) < len(self._data):
                return extent
            if len(text) > self._record_bytes:
                return extent._replace(reason=Reason.TOO_LONG)
            if not self._more():
                return extent

    def _in_sight(self) -> memoryview:
        """What is read from the position on.

        A record without its end may look like one that goes on through all the records after it. Where looking for the ends of such
        records has taken too long (it never does in a valid document), the beginning of the next record ends the view.
        """
        text = memoryview(self._data)[self._at :]
        if self._looks_left < 0:
            found = self._siblings.find(self._data, self._at + 1)
            if found >= 0:
                return text[: found - self._at]
        return text

    @property
    def _looks_left(self) -> int:
        """How many bytes may still be read in search of ends and beginnings around broken records."""
        return _LOOK_BYTES + _LOOKS * (self._base + self._at - self._start) - self._looked

    def _object(self) -> Piece:
        extent = self._extent()
        if extent.reason is not None:
            self._siblings.suppose(self._data, self._at)
            return self._broken(extent)
        start, self._at = self._at, self._at + extent.end
        self._siblings.learn(self._data, start, self._at)
        self._separator = None
        gap = _NOT_GAP.search(self._data, self._at)
        opening = gap and _OPENING.match(self._data, gap.start())
        if opening:
            self._separator = self._data[self._at - 1 : opening.end()]
            self._gap = opening.start() - self._at
            self._reach = 16 * extent.end + OPENING_BYTES
        return self._whole(start, self._at)

    def _regular(self) -> Run:
        """The objects from the position on that end where they should in a regular document.

        A guess that is proved: what stands between two separators and decodes as one value is one record.
        """
        run = Run()
        if self._separator is None:
            return run
        data, raw, at, base = self._data, self._raw, self._at, self._base
        while len(run.messages) < _RUN_RECORDS:
            end = data.find(self._separator, at, at + self._reach) + 1
            if not 0 < end - at <= self._record_bytes:
                break
            text = raw[at:end]
            typed = decode_typed(text)
            if typed is None:
                break
            run.messages.append(typed)
            run.offsets.append(base + at)
            run.raws.append(text)
            at = end + self._gap
        self._at = at
        return run

    def _whole(self, start: int, end: int) -> Piece:
        raw, length = self._raw[start : min(end, start + max(RAW_BYTES, self._record_bytes))], end - start
        fault = Fault(Reason.TOO_LONG, f"found {length} bytes") if length > self._record_bytes else None
        return Piece(self._base + start, raw, length, fault)

    def _other(self) -> Piece:
        """A value that is no object, if it is one and stands alone; else text as far as the next record."""
        extent = self._extent()
        if extent.reason is not None:
            return self._broken(extent if self._data[self._at] in b'["' else extent._replace(reason=Reason.STRAY_TEXT))
        if self._at + extent.end == len(self._data):
            self._more()  # to see what comes after the value
        start, end = self._at, self._at + extent.end
        if self._data[end : end + 1] not in (b"", b" ", b"\t", b"\r", b"\n", b",", b"]", b"{"):
            return self._broken(Extent(-1, Reason.STRAY_TEXT, "a value with text right after it"))
        if self._inside and self._data[start] == ord("[") and self._holds_records(start, end):
            return self._broken(Extent(-1, Reason.STRAY_TEXT, "an array of records inside the array"))
        self._at = end
        return self._whole(start, end)

    def _holds_records(self, start: int, end: int) -> bool:
        """Whether records stand in ``data[start:end]``, an array: by how they begin in this document, or proved by a message."""
        if self._siblings.find(self._data, start, end) >= 0:
            return True
        message = find_message(self._data, start, end, end, longest=self._record_bytes, budget=self._looks_left)
        self._looked += message.cost
        return message.at >= 0

    def _broken(self, extent: Extent) -> Piece:
        """Everything from the position to the beginning of the next record, as one broken record."""
        offset, kept, length, gap, ended = self._base + self._at, b"", 0, 0, False
        while True:
            found, passed = self._next_beginning(self._at + (length == 0), ended=ended)
            passing = self._raw[self._at : passed]
            kept, length = kept + passing[: RAW_BYTES - len(kept)], length + len(passing)
            text = passing.rstrip(_GAP)
            gap = len(passing) - len(text) + (0 if text else gap)
            self._at = passed
            if found or ended:
                break
            ended = not self._more()
        self._cut = not found
        return self._broken_piece(offset, kept[: length - gap], length - gap, extent)

    def _next_beginning(self, start: int, *, ended: bool) -> tuple[bool, int]:
        """Whether and where the next record begins from ``start`` on; if nowhere, up to where it surely does not."""
        data, longest = self._data, self._record_bytes
        sibling = self._siblings.find(data, start)
        before = sibling if sibling >= 0 else len(data)
        # No message reaches over the beginning of another, but a guess may lie inside one.
        end = before if self._siblings.learned else len(data)
        message = find_message(data, start, before, end, longest=longest, budget=self._looks_left)
        self._looked += message.cost
        if message.cut >= 0 and end == len(data) and not ended:
            return False, max(min(message.cut, end - OPENING_BYTES), self._at)
        if message.at >= 0 or sibling >= 0:
            return True, message.at if message.at >= 0 else sibling
        return False, before if ended else max(before - OPENING_BYTES, self._at)

    def _broken_piece(self, offset: int, kept: bytes, length: int, extent: Extent) -> Piece:
        reason, detail = extent.reason, extent.detail
        if length > self._record_bytes:
            reason = Reason.TOO_LONG
        elif length > len(kept):
            reason = Reason.TRUNCATED if reason is Reason.TOO_LONG else reason
        elif not is_utf8(kept):
            reason, detail = Reason.NOT_UTF8, ""
        else:
            if self._cut and self._inside and kept.endswith(b"]") and not _goes_on(kept):
                kept = kept[:-1].rstrip(_GAP)  # that bracket closes the array
                length = len(kept)
            # What was read beyond the record has no say in why it is broken.
            alone = value_end(mask_surrogates(kept))
            if alone.reason is not None and reason is not Reason.STRAY_TEXT:
                reason, detail = alone.reason, alone.detail
        assert reason is not None  # only broken values come here
        return Piece(offset, kept, length, Fault(reason, detail or f"found {length} bytes"))


def _goes_on(text: bytes) -> bool:
    """Whether ``text`` is right as far as it goes, and only ends too early."""
    return value_end(mask_surrogates(text)).reason is Reason.TRUNCATED
