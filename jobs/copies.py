"""Which files are copies: of one platform, one size and one content. No more is read than tells it, and each file once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO

from jobs.checksum import BEGINNING, beginning_checksum, content_checksum
from jobs.discover import EventFile, Listing, open_file
from jobs.errors import UnreadableFile
from jobs.ledger import Ledger
from jobs.paths import member_of

Watch = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Shows work that has so many steps; what it gives is called after each of them (``jobs.progress.counting``)."""

_Kind = tuple[str | None, int]
"""Platform and size: only files that agree in both can be copies."""

_THREADS_OF_MEMBERS = 4

_BEGINS = "begins "
"""Stands before a ``file_id`` where the checksum is that of the file's first bytes."""


@contextmanager
def unwatched(_text: str, _total: int) -> Iterator[Callable[[], None]]:
    """Shows nothing."""
    yield lambda: None


def set_copies_aside(
    root: str, files: list[EventFile], listing: Listing, ledger: Ledger, checksums: dict[str, str], watch: Watch
) -> tuple[list[EventFile], list[tuple[EventFile, str]]]:
    """The files whose content is new, and the copies, each with the ``file_id`` of the file whose content it has.

    Of several with one content the first by path is new. What is delivered again as it was is read again; what the ledger knows,
    and was put back, is not read to tell. What had to be computed is added to ``checksums``.
    """
    loaded = ledger.contents
    groups: dict[_Kind, list[EventFile]] = defaultdict(list)
    wanted: list[EventFile] = []
    copies: list[tuple[EventFile, str]] = []
    for file in files:
        known = ledger.loaded_content(file.file_id)
        if known is not None:
            copies.append((file, known))
        else:
            groups[file.platform, file.size].append(file)
    originals = {kind: list(loaded[kind].values()) for kind in groups if kind in loaded}
    alike = [(group, originals.get(kind, [])) for kind, group in groups.items() if kind in originals or len(group) > 1]
    _take_checksums(root, alike, listing, ledger, checksums, watch)
    for kind, group in groups.items():
        seen = dict(loaded.get(kind, {}))
        read_again: set[str] = set()
        for file in sorted(group, key=lambda file: file.path):
            checksum = checksums.get(file.file_id)
            original = seen.get(checksum) if checksum is not None else None
            if original is None or (original == ledger.content_at(file.path) and original not in read_again):
                wanted.append(file)
                if original is not None:
                    read_again.add(original)
                elif checksum is not None:
                    seen[checksum] = file.file_id
            else:
                copies.append((file, original))
    return wanted, copies


def _take_checksums(
    root: str,
    alike: list[tuple[list[EventFile], list[str]]],
    listing: Listing,
    ledger: Ledger,
    checksums: dict[str, str],
    watch: Watch,
) -> None:
    """Adds the checksums of files that may be copies, given those of one kind with the ``file_id`` of loaded ones.

    A content begins as its copy does, so that of large files the first bytes are compared before anything is read whole.
    """
    large = [(group, originals) for group, originals in alike if group[0].size > BEGINNING]
    files = [file for group, _ in large for file in group]
    files += _still_there([known for _, originals in large for known in originals], listing, ledger)
    begins = {_BEGINS + file.file_id: file for file in files}
    _compute("comparing how files begin", begins, lambda file: _beginning(root, file), checksums, watch)
    suspects = {file.file_id: file for group, originals in alike for file in _suspects(group, originals, checksums)}
    _compute("comparing whole files", suspects, lambda file: _checksum(root, file), checksums, watch)


def _still_there(loaded: list[str], listing: Listing, ledger: Ledger) -> list[EventFile]:
    """The loaded files that stand under the root as they were loaded; members of archives are not looked up."""
    by_path = {file.path: file for file in listing.files} if loaded else {}
    found = ((known, by_path.get(ledger.statements[known].path)) for known in loaded)
    return [file for known, file in found if file is not None and file.file_id == known]


def _suspects(group: list[EventFile], originals: list[str], checksums: dict[str, str]) -> list[EventFile]:
    """Of files of one kind those that may be copies of each other or of loaded ones: all that are small, others that begin alike.

    Where nobody knows how a loaded file begins, any of them may be its copy.
    """
    loaded = [checksums.get(_BEGINS + known) for known in originals]
    if group[0].size <= BEGINNING or None in loaded:
        return group
    begins = [checksums.get(_BEGINS + file.file_id) for file in group]
    common = Counter([*loaded, *begins])
    return [file for file, begin in zip(group, begins, strict=True) if begin is not None and common[begin] > 1]


def _compute(
    text: str,
    files: dict[str, EventFile],
    compute: Callable[[EventFile], str | None],
    checksums: dict[str, str],
    watch: Watch,
) -> None:
    """Adds what is not known yet under the names of the files; nothing for one that cannot be read."""
    # Each thread keeps the directory of the ZIP that it reads, so members of one stand together, and threads for them are few.
    missing = {name: file for name, file in sorted(files.items(), key=_by_path) if name not in checksums}
    if not missing:
        return
    members = any(member_of(file.path) is not None for file in missing.values())
    with ThreadPoolExecutor(_THREADS_OF_MEMBERS if members else None) as pool, watch(text, len(missing)) as done:
        for name, value in zip(missing, pool.map(compute, missing.values()), strict=True):
            if value is not None:
                checksums[name] = value
            done()


def _by_path(named: tuple[str, EventFile]) -> str:
    return named[1].path


def _beginning(root: str, file: EventFile) -> str | None:
    """The checksum of the file's first bytes, or None for a file that cannot be read."""
    return _taken(root, file, beginning_checksum)


def _checksum(root: str, file: EventFile) -> str | None:
    """The content's checksum, or None for a file that cannot be read."""
    return _taken(root, file, content_checksum)


def _taken(root: str, file: EventFile, take: Callable[[BinaryIO], str]) -> str | None:
    """What is taken of the file's content, or None for a file that cannot be read: the read proper says why."""
    try:
        with open_file(root, file) as stream:
            return take(stream)
    except UnreadableFile:
        return None
