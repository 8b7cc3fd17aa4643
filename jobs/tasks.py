"""How a batch's files are laid out over Spark tasks: large files in pieces, small ones many to a task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jobs.checksum import LEAF
from jobs.decoding.decode import splittable
from jobs.discover import EventFile, open_file
from jobs.errors import UnreadableFile

_HEAD = 64 << 10
_FILES_A_TASK = 1000


@dataclass(frozen=True)
class Piece:
    """A part of a file that one task reads: the records that begin in ``[start, end)``; the whole file where ``whole``."""

    file: EventFile
    start: int
    end: int
    whole: bool


_ROUNDS = 3
"""Tasks for each core that a load has at least, as long as they do not become smaller than a leaf."""


def size_of_tasks(total: int, cores: int, most: int) -> int:
    """Bytes for each task of a load of so many bytes: small enough to keep all cores busy, ``most`` at most."""
    return min(most, max(LEAF, -(-total // (_ROUNDS * max(cores, 1)))))


def make_tasks(root: str, files: Iterable[EventFile], task_bytes: int) -> list[list[Piece]]:
    """Pieces for each task, about ``task_bytes`` a task; what cannot be cut may be longer, and the longest come first."""
    pieces = [piece for file in files for piece in _pieces(root, file, task_bytes)]
    tasks = list(_pack(pieces, task_bytes))
    return sorted(tasks, key=lambda task: -sum(piece.end - piece.start for piece in task))


def _pieces(root: str, file: EventFile, task_bytes: int) -> Iterator[Piece]:
    count = (2 * file.size + task_bytes) // (2 * task_bytes)  # rounded: no small piece is left over
    if count <= 1 or file.size <= LEAF or not _splittable(root, file):
        yield Piece(file, 0, max(file.size, 0), whole=True)
        return
    step = -(-file.size // (count * LEAF)) * LEAF
    for start in range(0, file.size, step):
        yield Piece(file, start, min(start + step, file.size), whole=False)


def _splittable(root: str, file: EventFile) -> bool:
    if file.etag is not None:  # a member of an archive comes as a stream
        return False
    try:
        with open_file(root, file) as stream:
            return splittable(stream.read(_HEAD))
    except UnreadableFile:
        return False


def _pack(pieces: list[Piece], task_bytes: int) -> Iterator[list[Piece]]:
    """Neighbours by path together, so that a task meets few days and platforms."""
    task: list[Piece] = []
    filled = 0
    for piece in sorted(pieces, key=lambda piece: (piece.file.path, piece.start)):
        size = piece.end - piece.start
        if task and (filled + size // 2 > task_bytes or len(task) >= _FILES_A_TASK):
            yield task
            task, filled = [], 0
        task.append(piece)
        filled += size
    if task:
        yield task
