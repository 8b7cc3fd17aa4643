"""Event files under the root: ``<root>/<platform>/**``, loose or as members of ZIP archives, which their first bytes tell."""

from __future__ import annotations

import math
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timezone
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

import xxhash

from jobs.archives import etag_of, list_entries, open_entry
from jobs.errors import JobError, UnreadableFile
from jobs.paths import below_root, member_of, written, written_member
from jobs.schemas import PLATFORMS

_BY_NAME = {platform.lower(): platform for platform in PLATFORMS}

_DATE = re.compile(
    r"(?<!\d)(?P<year>20\d\d)(?:[-_/]?|/month=)(?P<month>0[1-9]|1[0-2]|(?<=month=)[1-9])"
    r"(?:[-_/]?|/day=)(?P<day>0[1-9]|[12]\d|3[01]|(?<=day=)[1-9])(?:[01]\d|2[0-3])?(?!\d)"
)
"""``20160201``, ``2016-02-01``, ``2016/02/01``, ``year=2016/month=2/day=1``, and with an hour ``2016020110``."""


@dataclass(frozen=True)
class EventFile:
    """One file as it was listed; ``path`` as the ledger writes it; ``etag`` is the checksum an archive states.

    ``loaded_as`` is given where the rows of its content carry another ``file_id``: that of the file from which they were loaded.
    """

    path: str
    platform: str | None
    size: int
    modified_us: int
    etag: str | None = None
    loaded_as: str | None = None

    @property
    def file_id(self) -> str:
        """Key of the file in the ledger: path, size and etag or time of change (design: the ledger)."""
        if self.loaded_as is not None:
            return self.loaded_as
        version = self.etag or str(self.modified_us)
        return xxhash.xxh3_128_hexdigest(f"{self.path}\n{self.size}\n{version}".encode())

    @property
    def modified(self) -> datetime:
        """Time of the last change, UTC."""
        return datetime.fromtimestamp(self.modified_us / 1e6, timezone.utc)

    @property
    def day(self) -> date:
        """The day the file is about: a date in a member's own name, else in the path, else the UTC day of the last change."""
        for text in (member_of(self.path) or "", self.path):
            for found in _DATE.finditer(text):
                try:
                    return date(int(found["year"]), int(found["month"]), int(found["day"]))
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

    Files with a name of unfinished ones, or changed less than ``young_seconds`` ago, are set apart. A folder that cannot be listed
    stands for its files, with a path that ends in ``/``: like a file that cannot be read, it holds up no other.

    Raises:
        JobError: the root is missing or cannot be read.
    """
    check_root(root)
    top = Path(root)
    files: list[EventFile] = []
    unfinished: list[str] = []
    youngest = (time.time() - young_seconds) * 1e6 if young_seconds else math.inf
    for path, relative in [(top, top.name)] if top.is_file() else _entries(top):
        if any(fnmatch(part, pattern) for part in relative.split("/") if part for pattern in unfinished_names):
            unfinished.append(written(relative))
            continue
        file = _event_file(path, written(relative), _platform(relative))
        if file.modified_us > youngest:
            unfinished.append(file.path)
        else:
            files.append(file)
    return Listing(sorted(files, key=lambda file: file.path), sorted(unfinished))


def _entries(top: Path) -> Iterator[tuple[Path, str]]:
    """Every file below a folder, then the folders that cannot be listed, with their paths below it; theirs end in ``/``.

    Raises:
        JobError: it cannot be listed itself.
    """
    closed: list[Path] = []

    def note(error: OSError) -> None:
        if error.filename == str(top):
            raise JobError(
                f"cannot list {written(error.filename)}: {error.strerror}; give this user the right to read it"
            )
        if not isinstance(error, FileNotFoundError):  # else it was taken away in this moment
            closed.append(Path(error.filename))

    for folder, names, entries in os.walk(top, onerror=note, followlinks=True):
        names[:] = sorted(name for name in names if not _leads_back(Path(folder, name)))
        yield from ((path, path.relative_to(top).as_posix()) for path in (Path(folder, name) for name in entries))
    yield from ((path, f"{path.relative_to(top).as_posix()}/") for path in closed)


def _leads_back(folder: Path) -> bool:
    """Whether this is a link to a folder that it stands in: to follow it would list the same files again and again."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def is_archive(root: str, file: EventFile) -> bool:
    """Whether the first bytes are those of a ZIP."""
    path = _path(root, file.path)
    try:
        _check_regular(path)
        with path.open("rb") as stream:
            return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except (OSError, UnreadableFile):
        return False


def list_members(root: str, archive: EventFile) -> list[EventFile]:
    """The members of a ZIP as event files; of an archive outside a platform folder, the members' own folders tell the platform.

    Raises:
        UnreadableFile: the archive is damaged.
    """
    entries = list_entries(_path(root, archive.path))
    wrapper = _common_folder([entry.filename for entry in entries.values()])
    return [
        EventFile(
            path=written_member(archive.path, name),
            platform=archive.platform or _platform(name.removeprefix(wrapper)),
            size=entry.file_size,
            modified_us=archive.modified_us,
            etag=etag_of(entry),
        )
        for name, entry in sorted(entries.items())
    ]


@contextmanager
def open_file(root: str, file: EventFile) -> Iterator[BinaryIO]:
    """The file's bytes as they were listed; a member comes unpacked from its archive.

    Raises:
        UnreadableFile: it is gone, may not be read, is no regular file, or not the one that was listed (its size or time changed).
    """
    path, member = _path(root, file.path), member_of(file.path)
    try:
        _check_regular(path)
        if member is not None:
            with open_entry(path, member, file.size, file.etag) as stream:
                yield stream
        else:
            with path.open("rb") as stream:
                yield stream
                now = os.fstat(stream.fileno())
                _check_unchanged(file, path, now.st_size)
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror or error}") from error


def _check_regular(path: Path) -> None:
    """Returns if this can be opened: a pipe would be waited for without end, a device may do anything."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise UnreadableFile("is a folder that cannot be listed; give this user the right to read it")
    if not stat.S_ISREG(mode):
        raise UnreadableFile("is no regular file but a pipe, socket or device; take it out of the folder")


def _check_unchanged(file: EventFile, path: Path, size: int) -> None:
    if size != file.size or path.stat().st_mtime_ns // 1000 != file.modified_us:
        raise UnreadableFile("changed while it was read; the next run reads it again")


def _path(root: str, written: str) -> Path:
    top = Path(root)
    return top if top.is_file() else top / below_root(written)


def _event_file(path: Path, text: str, platform: str | None) -> EventFile:
    try:
        now = path.stat()
    except OSError:
        return EventFile(text, platform, -1, 0)
    return EventFile(text, platform, now.st_size, now.st_mtime_ns // 1000)


def _platform(relative: str) -> str | None:
    folder, slash, _ = relative.partition("/")
    return _BY_NAME.get(folder.lower()) if slash else None


def _common_folder(names: list[str]) -> str:
    """The one folder, ending in ``/``, that wraps all members and is no platform; else the empty text."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    top = tops.pop() if len(tops) == 1 else ""
    return f"{top}/" if top and top.lower() not in _BY_NAME else ""
