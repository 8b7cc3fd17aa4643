"""Opens what an event file is wrapped in: gzip, zstd, UTF-16. Told by the first bytes, streamed, with bounded memory."""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import zlib
from typing import Protocol

import zstandard

from jobs.errors import UnreadableFile

HEAD_BYTES = 65_536
"""How much of a file decides what it is."""

CHUNK_BYTES = 256 << 10
"""How much of the unpacked text is read at a time: with larger chunks, which leave a core's cache, reading takes twice as long."""

UTF8_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_ZSTD = (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + n]) + b"\x2a\x4d\x18" for n in range(16)))
_UTF16_BOM = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}

DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError)
"""What decompressors raise for content that is cut or damaged."""

_INPUT_BYTES = 1 << 20
_ZSTD_INPUT_BYTES = 512
"""zstd gives out all that its input holds, at most some 32 kB for each byte: so it is fed little at a time."""


class Readable(Protocol):
    """What can be read: the only thing that unpacking asks of a stream."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


def read_on(source: Readable, held: int, longest: int) -> bytes:
    """The next chunk for a reader who holds ``held`` bytes of a record that may have ``longest``; empty at the end.

    Twice as much each time, so that a long record is not begun anew too often; never much beyond a whole record.
    """
    return source.read(max(CHUNK_BYTES, min(held, longest - held)))


class Source:
    """A stream that gives as many bytes as asked for, or looks ahead; every failure to read becomes ``UnreadableFile``."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._ahead = b""

    def read(self, size: int, /) -> bytes:
        """Exactly ``size`` bytes, fewer only at the end."""
        if len(self._ahead) < size:
            parts, missing = [self._ahead], size - len(self._ahead)
            while missing > 0:
                part = self._read(missing)
                if not part:
                    break
                parts.append(part)
                missing -= len(part)
            self._ahead = b"".join(parts)
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        return data

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, which stay to be read."""
        self._ahead = self.read(size) + self._ahead
        return self._ahead

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except DAMAGED as error:
            raise UnreadableFile(f"the compressed file is cut or damaged: {error}; deliver it again") from error
        except OSError as error:
            raise UnreadableFile(f"cannot read the file: {error}") from error


class _ZstdStream:
    """One or more zstd frames as one stream. Unlike zstandard's own reader it notices a cut frame."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._input = b""
        self._at = 0
        self._begun = False

    def read(self, size: int, /) -> bytes:
        """Some ``size`` bytes, and at most what one step of the decompressor gives more; none at the end."""
        parts: list[bytes] = []
        count = 0
        while count < size and self._more_input():
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            fed = self._input[self._at : self._at + _ZSTD_INPUT_BYTES]
            part = self._frame.decompress(fed)
            self._at += len(fed) - len(self._frame.unused_data)
            self._begun = not self._frame.eof
            parts.append(part)
            count += len(part)
        return b"".join(parts)

    def _more_input(self) -> bool:
        if self._at < len(self._input):
            return True
        self._input, self._at = self._stream.read(_INPUT_BYTES), 0
        if not self._input and self._begun:
            raise EOFError("the last zstd frame has no end")
        return bool(self._input)


class _Utf16Stream:
    """UTF-16 as UTF-8. What is no UTF-16 comes out as bytes that are no UTF-8, so that it costs only its record."""

    def __init__(self, stream: Readable, encoding: str) -> None:
        self._stream = stream
        self._half = b""
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """The next bytes, none at the end; three for each two of the input at most."""
        while not self._ended:
            data = self._half + self._stream.read(max(size // 3 * 2, 4))
            self._ended = len(data) == len(self._half)
            whole = len(data) & ~1
            self._half = data[whole:]
            text = self._decoder.decode(data[:whole], final=False).encode("utf-8", "surrogatepass")
            if self._ended and (self._half or self._decoder.getstate()[0]):
                text += b"\xff"
            if text:
                return text
        return b""


def unpack(stream: Readable) -> tuple[Source, list[str]]:
    """The UTF-8 bytes in ``stream`` and what they were wrapped in, outermost first. A byte order mark of UTF-8 stays."""
    source, wrappers = Source(stream), []
    magic = source.peek(4)
    if magic.startswith(_GZIP):
        source, wrappers = Source(gzip.GzipFile(fileobj=_as_file(source))), ["gzip"]
    elif magic.startswith(_ZSTD):
        source, wrappers = Source(_ZstdStream(source)), ["zstd"]
    head = source.peek(HEAD_BYTES)
    encoding = _UTF16_BOM.get(head[:2])
    if encoding:
        source.read(2)
    else:
        encoding = utf16_without_mark(head)
    if encoding:
        return Source(_Utf16Stream(source, encoding)), [*wrappers, encoding]
    return source, wrappers


def utf16_without_mark(head: bytes) -> str | None:
    """The UTF-16 encoding that the NULs in ``head`` betray: JSON is mostly ASCII, so every second byte is NUL."""
    pairs = len(head) // 2
    high_first = head[0 : 2 * pairs : 2].count(0)
    high_last = head[1 : 2 * pairs : 2].count(0)
    if high_last > pairs // 2 and high_first * 16 < pairs:
        return "utf-16-le"
    if high_first > pairs // 2 and high_last * 16 < pairs:
        return "utf-16-be"
    return None


def is_plain(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is wrapped in nothing."""
    wrapped = head.startswith((_GZIP, *_ZSTD, *_UTF16_BOM))
    return not wrapped and utf16_without_mark(head[:HEAD_BYTES]) is None


def _as_file(source: Source) -> io.BufferedReader:
    class _File(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object, /) -> int:
            view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # any writable buffer
            data = source.read(len(view))
            view[: len(data)] = data
            return len(data)

    return io.BufferedReader(_File(), _INPUT_BYTES)
