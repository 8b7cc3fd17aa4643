"""Checksums of content that can be made piece by piece, in parallel: a file that several tasks read still has one checksum."""

from __future__ import annotations

import io
from typing import BinaryIO

import xxhash

LEAF = 16 << 20
"""Bytes under one leaf; pieces of a file begin at multiples of it."""


BEGINNING = 64 << 10
"""First bytes of a content that mostly tell it from others."""


def combine(leaves: list[str]) -> str:
    """The checksum of a content from the checksums of its leaves, in order."""
    return xxhash.xxh3_128_hexdigest("".join(leaves).encode())


def content_checksum(stream: BinaryIO) -> str:
    """The checksum of a stream that is read to its end."""
    hashing = HashingReader(stream, 0, None)
    while hashing.read(1 << 20):
        pass
    return combine(hashing.leaves())


def beginning_checksum(stream: BinaryIO) -> str:
    """The checksum of a stream's first ``BEGINNING`` bytes; equal contents have equal ones."""
    return xxhash.xxh3_128_hexdigest(stream.read(BEGINNING))


class HashingReader(io.RawIOBase):
    """Passes a stream's bytes through and takes the checksums of the leaves in ``[start, end)``.

    Bytes count once, when they are first read in order; a seek back does not disturb. ``end`` None: to the end of the stream.
    """

    def __init__(self, stream: BinaryIO, start: int, end: int | None) -> None:
        self._stream = stream
        self._at = 0
        self._next, self._end = start, end
        self._leaves: list[str] = []
        self._leaf = xxhash.xxh3_128()
        self._filled = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """As the stream below."""
        return self._stream.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves in the stream below."""
        self._at = self._stream.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        return super().read(size) or b""

    def readinto(self, buffer: object) -> int:
        """Reads into a buffer; 0 at the end."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # any writable buffer
        count = self._stream.readinto(view)  # type: ignore[attr-defined]  # buffered and raw streams have it
        begin, self._at = self._at, self._at + count
        if begin <= self._next < self._at:
            stop = self._at if self._end is None else min(self._at, self._end)
            self._update(view[self._next - begin : max(stop - begin, 0)])
            self._next = max(self._next, stop)
        return int(count)

    def drain(self) -> None:
        """Reads what is left of ``[start, end)``, so that every leaf is whole."""
        if self._at != self._next:
            self.seek(self._next)
        while (self._end is None or self._next < self._end) and self.read(1 << 20):
            pass

    def leaves(self) -> list[str]:
        """The checksums of the leaves so far, the last one perhaps of a shorter leaf."""
        return [*self._leaves, self._leaf.hexdigest()] if self._filled else list(self._leaves)

    def _update(self, data: memoryview) -> None:
        while len(data):
            taken = data[: LEAF - self._filled]
            self._leaf.update(taken)
            self._filled += len(taken)
            if self._filled == LEAF:
                self._leaves.append(self._leaf.hexdigest())
                self._leaf, self._filled = xxhash.xxh3_128(), 0
            data = data[len(taken) :]
