"""Turns the rows of a query into bytes, batch by batch, and sends them with constant memory.

Rows of text leave DuckDB ready: Arrow's string buffers are written as they are, without a Python object a row.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Executor
from math import inf
from time import monotonic
from typing import Protocol

import pyarrow as pa
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from serving.load.threads import run_in

ROWS = "rows"
"""Where in a request's state the number of rows stands, once a stream was sent whole."""


class Last(bytes):
    """The last piece of an answer, which knows how many rows there were in all."""

    rows: int

    def __new__(cls, data: bytes, rows: int) -> Last:
        """The piece; it may be empty."""
        last = super().__new__(cls, data)
        last.rows = rows
        return last


class Encoder(Protocol):
    """Makes the bytes of one answer: what comes before the rows, each batch of them, and what comes after."""

    def begin(self) -> bytes:
        """What stands before the first row."""

    def batch(self, batch: pa.RecordBatch) -> bytes:
        """Rows; may be kept back for a later call."""

    def end(self, rows: int) -> bytes:
        """What stands after the last of so many rows."""


class JsonEncoder:
    """A JSON array. The rows are texts, each begun by a comma."""

    def __init__(self) -> None:
        self._first = True

    def begin(self) -> bytes:
        """The bracket."""
        return b"["

    def batch(self, batch: pa.RecordBatch) -> bytes:
        """The objects of a batch; the very first without its comma."""
        text = text_of(batch.column(0))
        if self._first and text:
            self._first = False
            return text[1:]
        return text

    def end(self, rows: int) -> bytes:
        """The bracket."""
        return b"]"


class NdjsonEncoder:
    """One JSON object a line, and a last one that counts them: a file without it has been cut."""

    def __init__(self, data_version: int) -> None:
        self._data_version = data_version

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def batch(self, batch: pa.RecordBatch) -> bytes:
        """Whole lines."""
        return text_of(batch.column(0))

    def end(self, rows: int) -> bytes:
        """The last line."""
        return json.dumps({"rows": rows, "dataVersion": self._data_version}, separators=(",", ":")).encode() + b"\n"


class CsvEncoder:
    """CSV (RFC 4180) with a header line."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def begin(self) -> bytes:
        """The header."""
        return ",".join(self._names).encode() + b"\r\n"

    def batch(self, batch: pa.RecordBatch) -> bytes:
        """Whole lines."""
        return text_of(batch.column(0))

    def end(self, rows: int) -> bytes:
        """Nothing."""
        return b""


def text_of(column: pa.Array) -> bytes:
    """The texts of an Arrow string column, one after another, copied once."""
    if len(column) == 0:
        return b""
    _, ends, data = column.buffers()
    first, last = (_offset(ends, column.offset + index) for index in (0, len(column)))
    return memoryview(data)[first:last].tobytes()


def _offset(offsets: pa.Buffer, index: int) -> int:
    return int.from_bytes(memoryview(offsets)[4 * index : 4 * index + 4], "little", signed=True)


class Body:
    """The bytes of an answer, read batch by batch until there are more rows than ``limit``.

    ``rows`` is their count where that is all: the answer is whole. Else it is ``None``, and the rest is read by ``chunks``.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], encoder: Encoder, limit: int) -> None:
        self._batches = iter(batches)
        self._encoder = encoder
        self._head = [encoder.begin()]
        self._count = 0
        self.rows: int | None = None
        for batch in self._batches:
            self._head.append(self._encode(batch))
            if self._count > limit:
                return
        self._head.append(encoder.end(self._count))
        self.rows = self._count

    def _encode(self, batch: pa.RecordBatch) -> bytes:
        self._count += batch.num_rows
        return self._encoder.batch(batch)

    def whole(self) -> bytes:
        """The whole answer, where ``rows`` is known."""
        return b"".join(self._head)

    def chunks(self) -> Iterator[bytes]:
        """The answer in pieces, of which only one is in memory at a time, and at the end a ``Last``."""
        head, self._head = self._head, []
        if self.rows is not None:
            yield Last(b"".join(head), self.rows)
            return
        yield b"".join(head)
        for batch in self._batches:
            if piece := self._encode(batch):
                yield piece
        yield Last(self._encoder.end(self._count), self._count)


class Stream(Response):
    """An answer of unknown length. Its start is sent with the first piece; when a later one fails, there is no final chunk."""

    def __init__(self, chunks: Iterator[bytes], close: Callable[[], None], headers: dict[str, str], kind: str) -> None:
        self.chunks = chunks
        """The pieces of the answer; each can be taken once."""
        self.rows: int | None = None
        """How many rows it has: known with its last piece."""
        self._close = close
        self._release: Callable[[], None] | None = None
        self._cancel: Callable[[], None] | None = None
        self._deadline = inf
        self._threads: Executor | None = None
        self.status_code = 200
        self.background = None
        self.media_type = kind
        self.init_headers(headers)

    def limit(self, seconds: float, threads: Executor, cancel: Callable[[], None], release: Callable[[], None]) -> None:
        """Cut the answer after so many seconds, and make its pieces in those threads.

        ``cancel`` is called when nobody waits for the next one any more, ``release`` when the answer has ended.
        """
        self._cancel = cancel
        self._threads = threads
        self._deadline = monotonic() + seconds
        self._release = release

    async def next(self) -> bytes | None:
        """The next piece, made in a thread; ``None`` at the end."""
        piece = await run_in(self._threads, next, self.chunks, None)
        if isinstance(piece, Last):
            self.rows = piece.rows
        return piece

    def close(self) -> None:
        """Give the source back."""
        self._close()
        release, self._release = self._release, None
        if release is not None:
            release()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the source is empty, it fails, or the client is gone; then give the source back.

        Raises:
            Exception: what the source raised; before the first piece it can still be answered with a status.
        """
        gone = asyncio.create_task(disconnected(receive))
        try:
            if await self._send_chunks(send, gone):
                scope["state"][ROWS] = self.rows
        finally:
            gone.cancel()
            self.close()

    async def _send_chunks(self, send: Send, gone: asyncio.Task[None]) -> bool:
        """Whether all of them were sent; else the client is gone."""
        started = False
        while (chunk := await self._next_for(gone)) is not None:
            if not started:
                started = True
                head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                await in_time(send(head), self._deadline)
            await in_time(send(body_message(chunk, more=True)), self._deadline)
            if monotonic() > self._deadline:
                raise _too_long()
        if gone.done():
            return False
        await in_time(send(body_message(b"", more=False)), self._deadline)
        return True

    async def _next_for(self, gone: asyncio.Task[None]) -> bytes | None:
        """The next piece; ``None`` at the end, and when the client is gone: then the making of it was interrupted and has ended."""
        making = asyncio.create_task(self.next())
        try:
            await asyncio.wait({making, gone}, return_when=asyncio.FIRST_COMPLETED)
            if making.done():
                piece = await making
                return None if gone.done() else piece
            if self._cancel is not None:
                self._cancel()
            await asyncio.wait({making})
            making.exception()  # that it was interrupted; nobody is there to be told
            return None
        finally:
            making.cancel()


async def in_time(sending: Awaitable[None], deadline: float) -> None:
    """Send a message, which waits until the client has taken the one before, until the answer may last no longer.

    Raises:
        TimeoutError: the client has not taken it by then.
    """
    task = asyncio.ensure_future(sending)
    try:
        await asyncio.wait({task}, timeout=max(deadline - monotonic(), 0))
        if not task.done():
            raise _too_long()
        await task
    finally:
        task.cancel()


def _too_long() -> TimeoutError:
    return TimeoutError("it took longer than the setting stream_seconds allows")


def body_message(chunk: bytes, more: bool) -> Message:
    """The message that sends a piece of a body."""
    return {"type": "http.response.body", "body": chunk, "more_body": more}


async def disconnected(receive: Receive) -> None:
    """Return when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
