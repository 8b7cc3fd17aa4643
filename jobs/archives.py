"""ZIP archives of event files: their entries by names that differ, and the bytes of an entry; all that is wrong is unreadable."""

from __future__ import annotations

import io
import struct
import threading
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import BinaryIO

from jobs.decoding.unpack import DAMAGED
from jobs.entries import open_unpacked
from jobs.errors import UnreadableFile

DAMAGED_ZIP = (*DAMAGED, zipfile.BadZipFile, struct.error, ValueError, IndexError, OverflowError)
"""What ``zipfile`` raises for a damaged archive: of its content, of its structure, of the names and numbers in its directory."""


def list_entries(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The files in a ZIP by name.

    Raises:
        UnreadableFile: the archive is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _by_name(archive)
    except (OSError, RuntimeError, *DAMAGED_ZIP) as error:
        raise UnreadableFile(f"not a readable ZIP: {error}") from error


@contextmanager
def open_entry(path: Path, name: str, size: int, etag: str | None) -> Iterator[BinaryIO]:
    """The unpacked bytes of an entry that has this name, size and etag.

    Raises:
        UnreadableFile: the archive is gone or damaged, or holds no such entry.
    """
    with ExitStack() as opened:
        with _told():
            archive = _open(path)
            entry = archive.entries.get(name)
            if entry is None or (entry.file_size, etag_of(entry)) != (size, etag):
                raise UnreadableFile("its ZIP was changed since it was listed; the next run reads it again")
            unpacked = opened.enter_context(open_unpacked(archive.file, entry))
        yield io.BufferedReader(_Entry(unpacked))


def etag_of(entry: zipfile.ZipInfo) -> str:
    """The checksum that the archive states of an entry."""
    return f"crc32:{entry.CRC:08x}"


@dataclass(frozen=True)
class _Archive:
    """An open archive and its entries by name; ``version`` is another as soon as another file has its path."""

    version: tuple[Path, int, int, int]
    file: zipfile.ZipFile
    entries: dict[str, zipfile.ZipInfo]


class _Last(threading.local):
    """The archive that this thread opened last."""

    archive: _Archive | None = None


_last = _Last()


def _open(path: Path) -> _Archive:
    """The archive as it is now. It stays open until the thread opens another: who reads all entries needs its directory once."""
    now = path.stat()  # before it is opened: if it is replaced in between, the next call sees another version
    version = (path, now.st_ino, now.st_size, now.st_mtime_ns)
    if _last.archive is None or _last.archive.version != version:
        _close_last()
        file = zipfile.ZipFile(path)
        _last.archive = _Archive(version, file, _by_name(file))
    return _last.archive


def _close_last() -> None:
    """Closes the thread's archive; an entry of it that is still being read stays open to its end."""
    if _last.archive is not None:
        _last.archive.file.close()
        _last.archive = None


class _Entry(io.RawIOBase):
    """The unpacked bytes of an entry. It is here that failures are told, so that those of who reads are not taken for its own."""

    def __init__(self, unpacked: io.RawIOBase) -> None:
        self._unpacked = unpacked

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._unpacked.seekable()

    def tell(self) -> int:
        return self._unpacked.tell()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        with _told():
            return self._unpacked.seek(offset, whence)

    def readinto(self, buffer: object, /) -> int:
        with _told():
            return self._unpacked.readinto(buffer) or 0  # type: ignore[arg-type]  # any writable buffer


@contextmanager
def _told() -> Iterator[None]:
    """Makes every failure to unpack an ``UnreadableFile`` that says what is wrong."""
    try:
        yield
    except DAMAGED_ZIP as error:
        raise UnreadableFile(f"damaged in its ZIP: {str(error) or 'it ends too early'}; deliver it again") from error
    except RuntimeError as error:  # a password, or a method that is not known
        raise UnreadableFile(f"cannot be unpacked from its ZIP: {error}") from error
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror or error}") from error


def _by_name(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Entries by their own names; a ZIP may hold several of one name, of which all but the first get ``#2``, ``#3``, ... behind it.

    A number that makes the own name of another entry is passed over.
    """
    entries = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_litter(entry.filename)]
    own = {entry.filename for entry in entries}
    numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(2))
    named: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = entry.filename
        if name in named:
            name = next(new for number in numbers[name] if (new := f"{entry.filename}#{number}") not in own)
        named[name] = entry
    return named


def _is_litter(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rpartition("/")[2] == ".DS_Store"
