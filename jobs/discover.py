"""Event files under the root: ``<root>/<platform>/**``, loose or as members of ZIP archives, which their first bytes tell."""

from __future__ import annotations

import io
import math
import os
import re
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timezone
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

import xxhash

from jobs.errors import JobError, UnreadableFile
from jobs.schemas import PLATFORMS

MEMBER = "!"
"""Stands between an archive's path and the name of a member in it."""

_BY_NAME = {platform.lower(): platform for platform in PLATFORMS}


@dataclass(frozen=True)
class EventFile:
    """One file as it was listed; ``path`` is relative to the root, with ``/``; ``etag`` is the checksum an archive states."""

    path: str
    platform: str | None
    size: int
    modified_us: int
    etag: str | None = None

    @property
    def file_id(self) -> str:
        """Key of the file in the ledger: path, size and etag or time of change (design: the ledger)."""
        version = self.etag or str(self.modified_us)
        return xxhash.xxh3_128_hexdigest(f"{self.path}\n{self.size}\n{version}".encode())

    @property
    def modified(self) -> datetime:
        """Time of the last change, UTC."""
        return datetime.fromtimestamp(self.modified_us / 1e6, timezone.utc)

    @property
    def day(self) -> date:
        """The day the file is about: a date in its path, else the UTC day of its last change."""
        for found in re.finditer(r"(?<!\d)(20\d\d)[-_/]?(0[1-9]|1[0-2])[-_/]?(0[1-9]|[12]\d|3[01])(?!\d)", self.path):
            try:
                return date(int(found[1]), int(found[2]), int(found[3]))
            except ValueError:
                continue
        return self.modified.date()


@dataclass(frozen=True)
class Listing:
    """What stands under the root: files to consider, and names that look half-copied."""

    files: list[EventFile]
    unfinished: list[str]


def check_root(root: str) -> None:
    """Returns if there is something to list.

    Raises:
        JobError: the root is missing, or is no path of this machine.
    """
    if "://" in root:
        raise JobError(
            f"event files at {root} cannot be read: only paths of this machine; copy them and set CTR_EVENTS"
        )
    if not Path(root).exists():
        raise JobError(
            f"no event files: {root} does not exist; set CTR_EVENTS to the folder that holds "
            f"{', '.join(PLATFORMS)} (or to a ZIP of it)"
        )


def list_events(root: str, unfinished_names: tuple[str, ...], young_seconds: float = 0) -> Listing:
    """Every event file under the root, sorted by path; archives are listed as files, not opened.

    Files with a name of unfinished ones, or changed less than ``young_seconds`` ago, are set apart.

    Raises:
        JobError: the root is missing or cannot be read.
    """
    check_root(root)
    top = Path(root)
    if top.is_file():
        return Listing([_event_file(top, top.name, None)], [])
    files: list[EventFile] = []
    unfinished: list[str] = []
    youngest = (time.time() - young_seconds) * 1e6 if young_seconds else math.inf
    for folder, names, entries in os.walk(top, onerror=_raise, followlinks=True):
        names.sort()
        for name in entries:
            path = Path(folder) / name
            relative = path.relative_to(top).as_posix()
            if any(fnmatch(part, pattern) for part in relative.split("/") for pattern in unfinished_names):
                unfinished.append(relative)
                continue
            file = _event_file(path, relative, _platform(relative))
            if file.modified_us > youngest:
                unfinished.append(relative)
            else:
                files.append(file)
    return Listing(sorted(files, key=lambda file: file.path), sorted(unfinished))


def is_archive(root: str, file: EventFile) -> bool:
    """Whether the first bytes are those of a ZIP."""
    try:
        with (_path(root, file.path)).open("rb") as stream:
            return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:
        return False


def list_members(root: str, archive: EventFile) -> list[EventFile]:
    """The members of a ZIP as event files; of an archive outside a platform folder, the members' own folders tell the platform.

    Raises:
        UnreadableFile: the archive is damaged.
    """
    try:
        with zipfile.ZipFile(_path(root, archive.path)) as content:
            members = [info for info in content.infolist() if not info.is_dir() and not _is_litter(info.filename)]
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UnreadableFile(f"not a readable ZIP: {error}") from error
    wrapper = _common_folder([info.filename for info in members])
    return [
        EventFile(
            path=archive.path + MEMBER + info.filename,
            platform=archive.platform or _platform(info.filename.removeprefix(wrapper)),
            size=info.file_size,
            modified_us=archive.modified_us,
            etag=f"crc32:{info.CRC:08x}",
        )
        for info in sorted(members, key=lambda info: info.filename)
    ]


@contextmanager
def open_file(root: str, file: EventFile) -> Iterator[BinaryIO]:
    """The file's bytes as they were listed; a member comes unpacked from its archive.

    Raises:
        UnreadableFile: it is gone, may not be read, or is not the file that was listed (its size or time changed).
    """
    outer, _, member = file.path.partition(MEMBER)
    path = _path(root, outer)
    try:
        if member:
            with zipfile.ZipFile(path) as archive, archive.open(member) as packed:
                yield io.BufferedReader(packed)  # type: ignore[type-var]  # ZipExtFile is a stream in all but name
        else:
            with path.open("rb") as stream:
                yield stream
                now = os.fstat(stream.fileno())
                _check_unchanged(file, path, now.st_size)
    except zipfile.BadZipFile as error:
        raise UnreadableFile(f"damaged in its ZIP: {error}") from error
    except (KeyError, NotImplementedError, RuntimeError) as error:
        raise UnreadableFile(f"cannot be unpacked from its ZIP: {error}") from error
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror or error}") from error


def _check_unchanged(file: EventFile, path: Path, size: int) -> None:
    if size != file.size or path.stat().st_mtime_ns // 1000 != file.modified_us:
        raise UnreadableFile("changed while it was read; the next run reads it again")


def _path(root: str, relative: str) -> Path:
    top = Path(root)
    return top if top.is_file() else top / relative


def _event_file(path: Path, relative: str, platform: str | None) -> EventFile:
    try:
        stat = path.stat()
    except OSError:
        return EventFile(relative, platform, -1, 0)
    return EventFile(relative, platform, stat.st_size, stat.st_mtime_ns // 1000)


def _platform(relative: str) -> str | None:
    folder, slash, _ = relative.partition("/")
    return _BY_NAME.get(folder.lower()) if slash else None


def _common_folder(names: list[str]) -> str:
    """The one folder, ending in ``/``, that wraps all members and is no platform; else the empty text."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    top = tops.pop() if len(tops) == 1 else ""
    return f"{top}/" if top and top.lower() not in _BY_NAME else ""


def _is_litter(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rpartition("/")[2] == ".DS_Store"


def _raise(error: OSError) -> None:
    raise JobError(f"cannot list {error.filename}: {error.strerror}; give this user the right to read it")
