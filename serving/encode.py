"""Sends rows of JSON text: Arrow's string buffers are written as they are, without a Python object a row."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

import pyarrow as pa
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

JSON = "application/json"


def text_of(column: pa.Array) -> bytes:
    """The texts of an Arrow string column, one after another, copied once."""
    if len(column) == 0:
        return b""
    _, ends, data = column.buffers()
    first, last = (_offset(ends, column.offset + index) for index in (0, len(column)))
    return memoryview(data)[first:last].tobytes()


def _offset(offsets: pa.Buffer, index: int) -> int:
    return int.from_bytes(memoryview(offsets)[4 * index : 4 * index + 4], "little", signed=True)


class RowText:
    """The rows of a query, read batch by batch. ``head`` is what fits into one piece; ``rows`` its count if that is all."""

    def __init__(self, reader: pa.RecordBatchReader, limit: int) -> None:
        self._reader = reader
        self.head = b""
        self.rows: int | None = 0
        for batch in reader:
            self.head += text_of(batch.column(0))
            assert self.rows is not None
            self.rows += batch.num_rows
            if self.rows > limit:
                self.rows = None
                return

    def whole(self) -> bytes:
        """The whole answer, where ``rows`` is known: a JSON array."""
        return b"[" + self.head[1:] + b"]"

    def chunks(self) -> Iterator[bytes]:
        """The answer in pieces, of which only one is in memory at a time."""
        head, self.head = self.head, b""
        yield b"[" + head[1:]
        for batch in self._reader:
            yield text_of(batch.column(0))
        yield b"]"


class Stream(Response):
    """An answer of unknown length. When its source fails, the connection is closed without the final chunk."""

    media_type = JSON

    def __init__(self, chunks: Iterator[bytes], close: Callable[[], None], headers: dict[str, str]) -> None:
        self._chunks = chunks
        self._close = close
        self.status_code = 200
        self.background = None
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the source is empty, it fails, or the client is gone; then give the source back."""
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await self._send_chunks(send, gone)
        except Exception:
            # Headers are sent, so a status can no longer tell. Without the final chunk the server cuts the connection.
            logger.exception("request %s: the answer was cut, its source failed", scope["state"]["request_id"])
        finally:
            gone.cancel()
            self._close()

    async def _send_chunks(self, send: Send, gone: asyncio.Task[None]) -> None:
        while (chunk := await run_in_threadpool(next, self._chunks, None)) is not None:
            if gone.done():
                return
            await send(_body(chunk, more=True))
        await send(_body(b"", more=False))


def _body(chunk: bytes, more: bool) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": more}


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
