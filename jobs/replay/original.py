"""The event file that a quarantined record came from, read again at the record's place, if it still is the file that was loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from jobs.decoding.jsonvalue import mask_surrogates, value_end
from jobs.decoding.records import Reason
from jobs.decoding.unpack import CHUNK_BYTES, Source, unpack
from jobs.discover import EventFile, open_file
from jobs.errors import UnreadableFile

GONE = "its event file is gone"
CHANGED = "its event file is another than the one that was loaded"
UNREADABLE = "its event file cannot be read"

_LOOK_BYTES = 64 << 10
_SPACE = b" \t\r\n"


class Original:
    """The unpacked bytes of a file, read from its beginning to its end: each offset asked for is at or behind the last one."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._source, wrappers = unpack(stream)
        self._seekable = not wrappers and stream.seekable()
        self._at = 0

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset`` on, fewer only at the end of the file.

        Raises:
            UnreadableFile: the file cannot be read so far.
        """
        if self._seekable and offset - self._at > CHUNK_BYTES:
            self._stream.seek(offset)
            self._source, self._at = Source(self._stream), offset
        while self._at < offset:
            passed = len(self._source.read(min(offset - self._at, CHUNK_BYTES)))
            if not passed:
                return b""
            self._at += passed
        return self._source.peek(size)[:size]

    def message(self, offset: int, record_bytes: int) -> bytes:
        """The JSON value that begins at ``offset``; where it has no end within ``record_bytes``, so much of it.

        Raises:
            UnreadableFile: the file cannot be read so far.
        """
        size = min(_LOOK_BYTES, record_bytes)
        while True:
            text = self.read(offset, size)
            extent = value_end(mask_surrogates(text))
            if extent.reason is None:
                return text[: extent.end].rstrip(_SPACE)
            if extent.reason is not Reason.TRUNCATED or len(text) < size or size == record_bytes:
                return text
            size = min(2 * size, record_bytes)


@contextmanager
def open_original(root: str, file: EventFile) -> Iterator[Original]:
    """The file as it was loaded.

    Raises:
        UnreadableFile: with the text ``GONE``, ``CHANGED`` or ``UNREADABLE``; at the end, if it changed in between.
    """
    try:
        with open_file(root, file):  # which says before anything is read whether it is another
            pass
        with open_file(root, file) as stream:
            yield Original(stream)
    except UnreadableFile as error:
        raise UnreadableFile(_why(error)) from error


def _why(error: UnreadableFile) -> str:
    cause = error.__cause__
    if isinstance(cause, FileNotFoundError):
        return GONE
    return CHANGED if cause is None else UNREADABLE
