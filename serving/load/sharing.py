"""Connections are shared evenly between workers: the one that has the fewest takes the next.

All workers wait at one socket, and Linux wakes them together. The first that runs took what was there, so that of eight clients who
keep their connections one worker had six, or all of them, and the other slept.
"""

from __future__ import annotations

import fcntl
import mmap
import multiprocessing
import os
import socket
import struct
from contextlib import suppress
from functools import cache
from multiprocessing.reduction import DupFd
from pathlib import Path
from time import monotonic, sleep
from typing import Any

SHARES = "SERVING_SHARES"
"""Variable by which workers learn where their counts stand. It is no setting: nobody but the service sets it."""

_PATIENCE_SECONDS = 0.05
"""How long a connection is left to a worker that has fewer, but does not take it: it may be held up."""

_LEAVE_SECONDS = 0.0001
"""How long it is looked away from each time: the system tells of it again at once, and again, until somebody takes it."""

_SLOT = struct.Struct("=qq")
"""A worker's process, 0 for none, and how many connections it has."""


def make_shares(folder: Path, workers: int) -> str:
    """The file of the counts of so many workers, and of as many that replace them."""
    path = folder / "shares"
    path.write_bytes(bytes(_SLOT.size * workers * 2))
    return str(path)


class Share:
    """The count of this process among those of all workers."""

    def __init__(self, path: Path) -> None:
        """Takes a place in the file that no living process has."""
        with path.open("r+b") as file:
            self._slots = mmap.mmap(file.fileno(), 0)
            self._places = range(0, len(self._slots), _SLOT.size)
            fcntl.flock(file, fcntl.LOCK_EX)
            self._own = next((place for place in self._places if not self._lives(place)), None)
            self.connections = 0
            fcntl.flock(file, fcntl.LOCK_UN)  # not by closing it: the memory is a second hold on the file

    @property
    def connections(self) -> int:
        """How many connections this process has."""
        return self._connections

    @connections.setter
    def connections(self, count: int) -> None:
        self._connections = count
        if self._own is not None:
            _SLOT.pack_into(self._slots, self._own, os.getpid(), count)

    @property
    def is_smallest(self) -> bool:
        """Whether no other living worker has fewer connections."""
        others = (place for place in self._places if place != self._own)
        return all(self._at(place)[1] >= self._connections or not self._lives(place) for place in others)

    def leave(self) -> None:
        """Take no part any more: this process ends, though some of its connections may last a while."""
        if self._own is not None:
            _SLOT.pack_into(self._slots, self._own, 0, 0)
            self._own = None

    def _lives(self, place: int) -> bool:
        process, _ = self._at(place)
        return process != 0 and lives(process)

    def _at(self, place: int) -> tuple[int, int]:
        process, count = _SLOT.unpack_from(self._slots, place)
        return process, count


def lives(process: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(process, 0)  # asks whether it is there; sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


@cache
def own_share() -> Share | None:
    """The share of this process; ``None`` where it is no worker, or the only one, or somebody tidied the file away."""
    path = os.environ.get(SHARES)
    if not path or multiprocessing.parent_process() is None:
        return None
    with suppress(FileNotFoundError):
        return Share(Path(path))
    return None


class Door(socket.socket):
    """A listening socket that several workers share. Whoever has more connections than another leaves the next one to it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._since = self._last = 0.0

    def listen(self, backlog: int = socket.SOMAXCONN) -> None:
        """Let so many connections wait. A worker that does so takes its place among those that share them."""
        own_share()
        super().listen(backlog)

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection.

        Raises:
            BlockingIOError: there is none, or it is another worker's.
        """
        share = own_share()
        if share is None:
            return super().accept()
        if not share.is_smallest and not self._waited():
            sleep(_LEAVE_SECONDS)
            raise BlockingIOError
        self._last = 0.0
        accepted = super().accept()
        share.connections += 1
        return accepted

    def close(self) -> None:
        """Close it; the other workers take what comes."""
        share = own_share()
        if share is not None:
            share.leave()
        super().close()

    def _waited(self) -> bool:
        """Whether the connection has been left to others for long enough."""
        now = monotonic()
        if now - self._last > _PATIENCE_SECONDS:  # the last one that was left to others was taken
            self._since = now
        self._last = now
        return now - self._since > _PATIENCE_SECONDS

    def __reduce__(self) -> tuple[Any, ...]:
        """A worker gets one of its own, of the same socket. Only while it is started."""
        return _handed_on, (DupFd(self.fileno()), self.family, self.type, self.proto)


def _handed_on(handed: Any, family: int, kind: int, protocol: int) -> Door:  # noqa: ANN401  # multiprocessing's own
    return Door(family, kind, protocol, fileno=handed.detach())
