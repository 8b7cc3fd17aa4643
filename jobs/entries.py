"""The unpacked bytes of an entry of a ZIP, as many as are asked for: memory is bounded by whatever method it was packed."""

from __future__ import annotations

import bz2
import copy
import io
import lzma
import struct
import zipfile
import zlib
from typing import IO, cast

LONGEST_DICTIONARY = 128 << 20
"""Most bytes that an LZMA decoder may look back, and so keep: as much as for zstd."""

_CHUNK = 1 << 20
_HEAD = struct.Struct("<HHBI")
"""What ZIP puts before LZMA's data: version, length of the properties, the properties (APPNOTE.TXT, 5.8.8)."""


def open_unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> io.RawIOBase:
    """The unpacked bytes of an entry; what is wrong with it is raised as ``zipfile`` does.

    Of bzip2 and LZMA ``zipfile`` gives out all that its input holds, which may be a million times as much: they are unpacked here.
    """
    if entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return cast("io.RawIOBase", archive.open(entry))
    if entry.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        return _Unpacked(archive.open(_as_stored(entry)), entry)
    raise NotImplementedError(f"packed by method {entry.compress_type}; pack it by deflate")


class _Unpacked(io.RawIOBase):
    """An entry packed by bzip2 or LZMA, from its packed bytes."""

    def __init__(self, packed: IO[bytes], entry: zipfile.ZipInfo) -> None:
        self._packed, self._entry = packed, entry
        self._begin()

    def _begin(self) -> None:
        self._packed.seek(0)
        self._left, self._crc = self._entry.file_size, 0
        self._stream = _decoder(self._packed, self._entry)

    def close(self) -> None:
        self._packed.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._entry.file_size - self._left

    def seek(self, offset: int, whence: int = 0, /) -> int:
        start = (0, self.tell(), self._entry.file_size)[whence]
        wanted = min(max(start + offset, 0), self._entry.file_size)
        if wanted < self.tell():
            self._begin()
        while self.tell() < wanted:
            self.read(min(wanted - self.tell(), _CHUNK))
        return wanted

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer).cast("B")[: self._left]  # type: ignore[arg-type]  # any writable buffer
        count = self._stream.readinto(view)
        if view and not count:
            raise EOFError
        self._left -= count
        self._crc = zlib.crc32(view[:count], self._crc)
        if not self._left and self._crc != self._entry.CRC:
            raise zipfile.BadZipFile(f"bad CRC-32 of {self._entry.filename}")
        return count


def _as_stored(entry: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """The same entry as if it were not packed: what is read of it are its packed bytes, of which there is no checksum."""
    stored = copy.copy(entry)
    stored.compress_type, stored.file_size = zipfile.ZIP_STORED, entry.compress_size
    stored.CRC = None  # type: ignore[assignment]  # so that none is compared
    return stored


def _decoder(packed: IO[bytes], entry: zipfile.ZipInfo) -> bz2.BZ2File | lzma.LZMAFile:
    """What unpacks as much as is read."""
    if entry.compress_type == zipfile.ZIP_BZIP2:
        return bz2.BZ2File(packed)
    _, length, code, dictionary = _HEAD.unpack(packed.read(_HEAD.size))
    if length != 5:
        raise zipfile.BadZipFile(f"{length} bytes of LZMA properties, wanted 5")
    kept = min(dictionary, entry.file_size)
    if kept > LONGEST_DICTIONARY:
        raise NotImplementedError(
            f"packed by LZMA with a dictionary of {dictionary >> 20} MB, wanted at most {LONGEST_DICTIONARY >> 20} MB; "
            "pack it by deflate"
        )
    filters = {"id": lzma.FILTER_LZMA1, "dict_size": kept, "lc": code % 9, "lp": code // 9 % 5, "pb": code // 45}
    return lzma.LZMAFile(packed, format=lzma.FORMAT_RAW, filters=[filters])
