"""The worker's side of heavy requests: they are handed to a process of their own (``heavy_process``), which yields to all workers.

Inside a worker they would compete with its event loop for Python's lock, and a thread of low priority that holds the lock holds up
everybody. Here the event loop passes bytes on. Where there is no such process (yet, or any more) the worker answers by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import struct
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response

from serving.errors import HeavyProcessLost, ServiceError
from serving.load.budget import Budget
from serving.reply.encode import Stream
from serving.request.parameters import CtrRequest
from serving.state.cache import Answer
from serving.state.store import Store

SOCKET = "SERVING_HEAVY_SOCKET"
"""Variable by which workers learn where the heavy process listens. It is no setting: nobody but the service sets it."""

LENGTH = struct.Struct("!Q")
"""What stands before each message: how many bytes it has."""

_PIECE_BYTES = 256 << 10
"""Most bytes that are passed on at once: between two pieces others are served."""


@dataclass(frozen=True)
class Task:
    """A request for the heavy process: all that ``answer_ctr`` wants to know."""

    request: CtrRequest
    if_none_match: str | None
    stream_rows: int
    rows: int
    seconds: float
    version: int
    """The publication that the worker serves: the answer is of no earlier one."""


@dataclass(frozen=True)
class Reply:
    """The beginning of an answer.

    Without a body its pieces follow as messages of bytes, at the end an empty one, and then an ``End``.
    """

    status: int
    headers: dict[str, str]
    body: bytes | None


@dataclass(frozen=True)
class End:
    """How an answer in pieces ended."""

    rows: int | None
    """How many there were, if it is whole."""
    failure: ServiceError | None
    """What went wrong, if it is not."""


def packed(value: object) -> bytes:
    """A message that says an object. Both sides are this service, and nobody else can write to the socket."""
    data = pickle.dumps(value)
    return LENGTH.pack(len(data)) + data


class Link:
    """One connection to the heavy process, for one task."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._writer = writer
        self._left = 0

    def send(self, value: object) -> None:
        """Say something."""
        self._writer.write(packed(value))

    async def receive(self) -> Any:  # noqa: ANN401  # whatever was packed
        """What the other side says.

        Raises:
            HeavyProcessLost: it has hung up.
        """
        try:
            return pickle.loads(await self._reader.readexactly(await self._length()))
        except (OSError, EOFError) as error:
            raise HeavyProcessLost from error

    async def piece(self) -> bytes:
        """Some of the bytes of an answer; empty at their end.

        Raises:
            HeavyProcessLost: the other side has hung up before the end.
        """
        try:
            self._left = self._left or await self._length()
            if not self._left:
                return b""
            found = await self._reader.read(min(self._left, _PIECE_BYTES))
        except (OSError, EOFError) as error:
            raise HeavyProcessLost from error
        if not found:
            raise HeavyProcessLost
        self._left -= len(found)
        return found

    async def _length(self) -> int:
        length: int = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))[0]
        return length

    def interrupt(self) -> None:
        """End whatever waits on either side. From any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the connection with it
            self._loop.call_soon_threadsafe(self.close)

    def close(self) -> None:
        """Hang up; a second call does nothing."""
        self._writer.transport.abort()


class _Relayed(Stream):
    """A stream whose pieces the heavy process makes."""

    def __init__(self, link: Link, budget: Budget, headers: dict[str, str]) -> None:
        super().__init__(iter(()), link.close, headers, headers["content-type"])
        self._link = link
        self._budget = budget

    async def next(self) -> bytes | None:
        """The next piece, ``None`` at the end; it has the whole time of a query to itself."""
        self._budget.begin()
        with self._budget.reading(self._link):
            piece = await self._link.piece()
            end: End | None = None if piece else await self._link.receive()
        if end is None:
            return piece
        if end.failure is not None:
            raise end.failure
        self.rows = end.rows
        return None


class Heavy:
    """Hands requests to the heavy process, which listens at an address; ``None``: there is none."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    async def answer_ctr(
        self, store: Store, request: CtrRequest, if_none_match: str | None, stream_rows: int, budget: Budget
    ) -> Response | None:
        """As ``answers.answer_ctr``; ``None``: there is no heavy process.

        Raises:
            HeavyProcessLost: it ended while it worked on the request.
            ServiceError: whatever it could not answer.
        """
        snapshot = store.snapshot
        link = await self._open() if snapshot is not None else None
        if link is None or snapshot is None:
            return None
        keep = False
        try:
            with budget.reading(link):
                link.send(Task(request, if_none_match, stream_rows, budget.rows, budget.seconds, snapshot.version))
                reply = await link.receive()
            if isinstance(reply, ServiceError):
                raise reply
            if reply.body is None:
                keep = True
                return _Relayed(link, budget, reply.headers)
        finally:
            if not keep:
                link.close()
        if reply.status == 200:
            store.cache.put(reply.headers["etag"], Answer(reply.body, Headers(reply.headers)))
        return Response(reply.body or None, reply.status, reply.headers)

    async def _open(self) -> Link | None:
        if self._address is None:
            return None
        try:
            return Link(*await asyncio.open_unix_connection(self._address, limit=_PIECE_BYTES))
        except OSError:
            return None
