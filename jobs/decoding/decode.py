"""Decodes an event file, or a piece of one: tells the layout by the first bytes, and hands on to what reads that layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from jobs.decoding.collect import Collector
from jobs.decoding.jsonvalue import mask_surrogates
from jobs.decoding.lines import read_lines, take
from jobs.decoding.message import Message, View, decode_event, decode_message
from jobs.decoding.records import RAW_BYTES, Account, Batch, Fault, Reason, Reject, Views
from jobs.decoding.scan import Scanner
from jobs.decoding.siblings import Siblings, find_message
from jobs.decoding.unpack import HEAD_BYTES, UTF8_BOM, Source, is_plain, unpack
from jobs.errors import UnreadableFile

__all__ = [
    "RAW_BYTES",
    "Account",
    "Batch",
    "Fault",
    "Message",
    "Reason",
    "Reject",
    "View",
    "Views",
    "decode",
    "decode_event",
    "decode_message",
    "splittable",
]

_LAYOUT_LOOKS = 16
"""How often, on the average, a byte of the first 64 kB may be read in search of a message."""


def decode(
    stream: BinaryIO, account: Account, *, record_bytes: int, start: int = 0, end: int | None = None
) -> Iterator[Batch]:
    """Yields the views and rejects of a file in batches of some 20,000, and fills ``account`` as it goes.

    Args:
        stream: the file's bytes as they lie on the disk; it must be seekable only when ``start`` or ``end`` is given.
        account: a fresh account; complete when the iterator has ended.
        record_bytes: a longer record is quarantined, and is never held whole.
        start: with ``end``: only the records of plain JSON lines (see ``splittable``) that begin in ``[start, end)``.
        end: likewise. Pieces that cover a file give together what the whole gives.

    Raises:
        UnreadableFile: the file cannot be read to its end. What was yielded before must then be thrown away.
    """
    collector = Collector(account)
    if start == 0 and end is None:
        batches = _decode_whole(stream, collector, record_bytes)
    else:
        batches = _decode_piece(stream, collector, record_bytes, start, end)
    yield from batches
    if not collector.empty:
        yield collector.take()


def splittable(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (64 kB, or all of it) is plain JSON lines, so that pieces can be decoded apart."""
    return is_plain(head) and b"\n" in head[:HEAD_BYTES] and _layout(head[:HEAD_BYTES]) == "lines"


def _decode_whole(stream: BinaryIO, collector: Collector, record_bytes: int) -> Iterator[Batch]:
    source, wrappers = unpack(stream)
    head = source.peek(HEAD_BYTES)
    layout, skip = _layout(head), _mark(head)
    collector.account.layout = "/".join([layout, *wrappers])
    if layout == "lines":
        yield from read_lines(source, collector, record_bytes, skip=skip)
        return
    counting = _Counting(source, collector.account)
    counting.read(skip)
    for piece in Scanner(counting, record_bytes, array=layout == "array", base=skip):
        yield from take(collector, piece)


def _decode_piece(
    stream: BinaryIO, collector: Collector, record_bytes: int, start: int, end: int | None
) -> Iterator[Batch]:
    try:
        stream.seek(max(start - 1, 0))
    except OSError as error:
        raise UnreadableFile(f"cannot read the file: {error}") from error
    source = Source(stream)
    base = start - 1 + _pass_line(source) if start else 0
    collector.account.layout = "lines"
    skip = 0 if start else _mark(source.peek(len(UTF8_BOM)))
    yield from read_lines(source, collector, record_bytes, base=base, end=end, skip=skip)


def _pass_line(source: Source) -> int:
    """Passes over the rest of a line, its line break included; its length."""
    length = 0
    while True:
        ahead = source.peek(HEAD_BYTES)
        newline = ahead.find(b"\n") + 1
        length += len(source.read(newline or len(ahead)))
        if newline or not ahead:
            return length


def _layout(head: bytes) -> str:
    """The layout of a document that begins with ``head``; one shorter than 64 kB is all of it."""
    text = head[_mark(head) :]
    lines = text.split(b"\n")
    if len(head) >= HEAD_BYTES and len(lines) > 1:
        lines.pop()
    lines = [line for line in map(bytes.strip, lines) if line]
    if not text:
        return "empty"
    if b"\n" in text and 2 * sum(line[:1] == b"{" and line[-1:] == b"}" for line in lines) > len(lines):
        return "lines"
    first = text.lstrip(b" \t\r\n")[:1]
    if first == b"[":
        return "array"
    # A document whose beginning is damaged is known by a message in it.
    return "objects" if first == b"{" or _holds_message(mask_surrogates(text)) else "lines"


def _holds_message(text: bytes) -> bool:
    if Siblings().find(text, 0) >= 0:
        return True
    return find_message(text, 0, len(text), len(text), longest=HEAD_BYTES, budget=_LAYOUT_LOOKS * HEAD_BYTES).at >= 0


def _mark(head: bytes) -> int:
    """The length of the byte order mark of UTF-8 at the beginning of ``head``."""
    return len(UTF8_BOM) if head.startswith(UTF8_BOM) else 0


class _Counting:
    """A source that counts bytes and lines as they are read."""

    def __init__(self, source: Source, account: Account) -> None:
        self._source = source
        self._account = account
        self._last = b"\n"

    def read(self, size: int, /) -> bytes:
        """As the source's; a last line without a line break counts when the end is met."""
        data = self._source.read(size)
        self._account.bytes += len(data)
        self._account.lines += data.count(b"\n")
        if data:
            self._last = data[-1:]
        elif size and self._last != b"\n":
            self._account.lines += 1
            self._last = b"\n"
        return data
