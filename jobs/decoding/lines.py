"""JSON lines: each line is a record. Blocks of clean lines are decoded at once, a bad line costs its block some time only."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import numpy.typing as npt

from jobs.decoding.collect import DECODER, Collector, Typed, decode_typed, is_utf8
from jobs.decoding.records import RAW_BYTES, Batch, Fault, Reason
from jobs.decoding.scan import Piece, Run, Scanner
from jobs.decoding.unpack import Readable, read_on

_BLOCK_LINES = 256
_SPACE = b" \t\r\n"
_NO_VALUE = (Reason.NOT_UTF8, Reason.TRUNCATED, Reason.TOO_DEEP, Reason.INVALID_JSON)
"""A line with such a fault may hold several values, some of them good."""
_NEWLINE, _RETURN, _OPEN, _CLOSE = b"\n\r{}"

_Positions = npt.NDArray[np.int64]


def read_lines(
    source: Readable, collector: Collector, record_bytes: int, *, base: int = 0, end: int | None = None, skip: int = 0
) -> Iterator[Batch]:
    """The batches of the lines that begin before ``end``. ``source`` stands at the beginning of a line, at offset ``base``.

    ``skip`` bytes of the first line (a byte order mark) are no part of its record.
    """
    held = b""
    while end is None or base < end:
        chunk = read_on(source, len(held), record_bytes)
        data = held + chunk
        cut = _whole_lines(data, None if end is None else end - base, last=not chunk)
        if cut:
            yield from _read_chunk(data[:cut], base, collector, record_bytes, skip)
            skip = 0
        held, base = data[cut:], base + cut
        if not chunk:
            return
        if len(held) > record_bytes and (end is None or base < end):
            held, base = _pass_long_line(source, collector, held, base, skip)
            skip = 0


def _whole_lines(data: bytes, limit: int | None, *, last: bool) -> int:
    """How many bytes of ``data`` are whole lines that begin before ``limit``; ``last``: nothing comes after ``data``."""
    if limit is not None and len(data) >= limit:
        cut = data.find(b"\n", limit - 1) + 1
        if cut:
            return cut
    return len(data) if last else data.rfind(b"\n") + 1


def _pass_long_line(source: Readable, collector: Collector, held: bytes, base: int, skip: int) -> tuple[bytes, int]:
    """Quarantines a line that begins with ``held`` without holding more of it; what follows it, and where that begins."""
    raw, length, rest = held[skip : skip + RAW_BYTES], len(held), b""
    broken = False
    while not broken:
        chunk = read_on(source, 0, 0)
        if not chunk:
            break
        line, newline, rest = chunk.partition(b"\n")
        raw += line[: RAW_BYTES - len(raw)]
        length += len(line)
        broken = bool(newline)
    collector.account.lines += 1
    collector.account.bytes += length + broken
    fault = Fault(Reason.TOO_LONG, f"found {length - skip} bytes")
    collector.quarantine(base + skip, fault, raw, length - skip)
    return rest, base + length + broken


def _read_chunk(data: bytes, base: int, collector: Collector, record_bytes: int, skip: int) -> Iterator[Batch]:
    """The batches of the lines in ``data``."""
    codes = np.frombuffer(data, np.uint8)
    breaks = np.flatnonzero(codes == _NEWLINE)
    starts = np.concatenate((np.zeros(1, np.int64), breaks + 1))
    ends = breaks
    if starts[-1] == len(data):
        starts = starts[:-1]
    else:
        ends = np.append(breaks, len(data))
    starts[0] = skip
    collector.account.bytes += len(data)
    collector.account.lines += len(starts)
    written = ends - starts > (codes[ends - 1] == _RETURN)
    if not written.all():
        starts, ends = starts[written], ends[written]
        collector.blank(len(written) - len(starts))
    clean = _look_clean(codes, starts, ends, record_bytes)
    for low in range(0, len(starts), _BLOCK_LINES):
        high = min(low + _BLOCK_LINES, len(starts))
        block = _Block(data, base, starts[low:high].tolist(), ends[low:high].tolist())
        messages = block.decode() if clean[low:high].all() else None
        if messages is not None:
            yield from collector.typed(messages, block.offsets(), block.raw)
            continue
        yield from _read_one_by_one(block, collector, record_bytes)


def _look_clean(
    codes: npt.NDArray[np.uint8], starts: _Positions, ends: _Positions, record_bytes: int
) -> npt.NDArray[np.bool_]:
    """Which lines, none of them empty, begin with ``{`` and end with ``}``."""
    last = ends - 1
    last = last - (codes[last] == _RETURN)
    clean: npt.NDArray[np.bool_] = (codes[starts] == _OPEN) & (codes[last] == _CLOSE) & (ends - starts <= record_bytes)
    return clean


class _Block:
    """Some neighbouring lines of a chunk, the empty ones left out."""

    def __init__(self, data: bytes, base: int, starts: list[int], ends: list[int]) -> None:
        self._data = data
        self._base = base
        self.starts = starts
        self._ends = ends

    def decode(self) -> list[Typed] | None:
        """The messages, one of each line; None when some line needs another way.

        Lines must look clean: as no value holds ``}``, a line break and ``{`` in a row, no value then reaches over a line's end,
        and as many values as lines means one of each.
        """
        text = self._data[self.starts[0] : self._ends[-1]]
        if not is_utf8(text):
            return None
        try:
            messages = DECODER.decode_lines(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return messages if len(messages) == len(self.starts) else None

    def offsets(self) -> list[int]:
        base = self._base
        return [base + start for start in self.starts]

    def line(self, index: int) -> bytes:
        return self._data[self.starts[index] : self._ends[index]]

    def raw(self, index: int) -> bytes:
        return self.line(index).rstrip(_SPACE)


def _read_one_by_one(block: _Block, collector: Collector, record_bytes: int) -> Iterator[Batch]:
    """The batches of a block in which some lines need another way: the others still come together."""
    offsets, run = block.offsets(), Run()
    for index, offset in enumerate(offsets):
        line = block.line(index)
        typed = decode_typed(line) if line[:1] == b"{" and len(line) <= record_bytes else None
        if typed is not None:
            run.messages.append(typed)
            run.offsets.append(offset)
            run.raws.append(line)
            continue
        yield from take(collector, run)
        run = Run()
        yield from _read_line(line, offset, collector, record_bytes)
        if collector.full:
            yield collector.take()
    yield from take(collector, run)


def _read_line(line: bytes, start: int, collector: Collector, record_bytes: int) -> Iterator[Batch]:
    if len(line) > record_bytes:
        fault = Fault(Reason.TOO_LONG, f"found {len(line)} bytes")
        collector.quarantine(start, fault, line[:RAW_BYTES], len(line))
        return
    text = line.strip(_SPACE)
    if not text:
        collector.blank()
        return
    offset = start + len(line) - len(line.lstrip(_SPACE))
    try:
        yield from collector.record(text, offset)
    except Fault as fault:
        if fault.reason in _NO_VALUE:
            yield from _read_values(text, offset, collector, record_bytes)
        else:
            collector.quarantine(offset, fault, text)


def _read_values(text: bytes, offset: int, collector: Collector, record_bytes: int) -> Iterator[Batch]:
    """Reads a line that is not one value: several, or text after a value, or none."""
    found = False
    for piece in Scanner(None, record_bytes, data=text, base=offset):
        yield from take(collector, piece)
        found = True
    if not found:
        collector.quarantine(offset, Fault(Reason.STRAY_TEXT, "found commas only"), text)


def take(collector: Collector, found: Piece | Run) -> Iterator[Batch]:
    """Counts what a scanner has found."""
    if isinstance(found, Run):
        yield from collector.typed(found.messages, found.offsets, lambda index: found.raws[index].rstrip(_SPACE))
    elif found.fault is not None:
        collector.quarantine(found.offset, found.fault, found.raw, found.length)
    else:
        typed = decode_typed(found.raw)
        if typed is None:
            yield from collector.any_record(found.raw, found.offset)
        else:
            yield from collector.typed([typed], [found.offset], lambda _: found.raw)
    if collector.full:
        yield collector.take()
