"""What happens to every answer on its way out: compressed as the client likes, in slices; HEAD gets its headers alone."""

from __future__ import annotations

import os
import re
import zlib
from concurrent.futures import Executor
from time import monotonic
from typing import Protocol

import zstandard
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import NotAcceptable
from serving.load.threads import HEAVY, run_in, yielding
from serving.reply.encode import body_message, in_time
from serving.reply.problems import problem
from serving.request.formats import weights

IDENTITY = "identity"
CODINGS = ("zstd", "gzip", IDENTITY)
"""Of those that a client likes equally, it gets the first."""

_WORTH_IT = 1000
"""Bytes below which a whole answer is sent as it is."""

_LONG = 64 << 10
"""Bytes above which compressing is left to a thread, so that other requests do not wait."""

_SLICE_BYTES = 128 << 10
"""Most bytes that are sent at once. The server holds them for a client that is slow to take them."""

_COMPRESSED = ("image/", "font/", "application/vnd.apache.parquet")
_GZIP_LEVEL = 4
_ZSTD_LEVEL = 3
_TAG = re.compile(r'(W/)?"([^"]*)"')


def codings_liked(accept_encoding: str | None) -> dict[str, float]:
    """How much the client likes each coding by ``Accept-Encoding`` (RFC 9110, 12.5.3); 0: not at all."""
    given = dict(weights(accept_encoding or ""))
    others = given.get("*")
    liked = {coding: given.get(coding, others or 0.0) for coding in CODINGS}
    # Without a word about it the plain answer is always acceptable, but less welcome than a coding that is named.
    if IDENTITY not in given and others is None:
        liked[IDENTITY] = 0.0005
    return liked


def choose_coding(liked: dict[str, float]) -> str:
    """The coding that is liked best.

    Raises:
        NotAcceptable: the client takes neither a coding that there is nor an answer without any.
    """
    best = max(liked, key=lambda coding: liked[coding])
    if liked[best] == 0:
        raise NotAcceptable("Accept-Encoding", list(CODINGS))
    return best


class Head:
    """Answers HEAD as the GET would be answered, without its body; a long answer is given up after its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        answered = False

        async def receive_until_answered() -> Message:
            return {"type": "http.disconnect"} if answered else await receive()

        async def send_without_body(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                await send(message)
            elif not answered:
                answered = True
                await send({"type": "http.response.body", "body": b""})

        await self._app({**scope, "method": "GET"}, receive_until_answered, send_without_body)


class Slices:
    """Sends long bodies in slices, each when the client has taken most of the one before, and all in so many seconds.

    At once the whole body would be copied for each client that is slow to take it, though many share one from the cache.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            TimeoutError: the client has not taken a body in time.
        """

        async def send_sliced(message: Message) -> None:
            if len(message.get("body", b"")) > _SLICE_BYTES:
                await in_time(_send_slices(message, send), monotonic() + self._seconds)
            else:
                await send(message)

        await self._app(scope, receive, send_sliced)


async def _send_slices(message: Message, send: Send) -> None:
    body, more = message["body"], message.get("more_body", False)
    for start in range(0, len(body), _SLICE_BYTES):
        end = start + _SLICE_BYTES
        await send(body_message(body[start:end], more or end < len(body)))


class Compress:
    """Compresses answers by ``Accept-Encoding``. Each coding of an answer has an ``ETag`` of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._threads = yielding("compress", os.cpu_count() or 1, HEAVY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        liked = codings_liked(Headers(scope=scope).get("accept-encoding"))
        try:
            coding = choose_coding(liked)
        except NotAcceptable as error:
            await problem(error, scope["state"]["request_id"])(scope, receive, send)
            return
        scope = {**scope, "headers": _without_coding(scope["headers"], coding)}
        if coding == IDENTITY:
            await self._app(scope, receive, _plain(send))
        else:
            await self._app(scope, receive, _Coded(send, coding, self._threads, always=not liked[IDENTITY]))


def _without_coding(headers: list[tuple[bytes, bytes]], coding: str) -> list[tuple[bytes, bytes]]:
    """The request's headers, its ``If-None-Match`` as the application knows the tags; those of other codings go."""
    return [
        (name, _plain_tags(value.decode("latin-1"), coding).encode("latin-1") if name == b"if-none-match" else value)
        for name, value in headers
    ]


def _plain_tags(value: str, coding: str) -> str:
    if value.strip() == "*":
        return value
    own = _suffix(coding)
    tags = ((weak or "", tag) for weak, tag in _TAG.findall(value))
    other = tuple(_suffix(name) for name in CODINGS if name not in (IDENTITY, coding))
    return ", ".join(
        f'{weak}"{tag.removesuffix(own)}"' for weak, tag in tags if tag.endswith(own) and not tag.endswith(other)
    )


def _plain(send: Send) -> Send:
    """Sends an answer as it is, as one that depends on ``Accept-Encoding``."""

    async def send_varying(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(raw=message["headers"]).add_vary_header("Accept-Encoding")
        await send(message)

    return send_varying


def _suffix(coding: str) -> str:
    return "" if coding == IDENTITY else f"-{coding}"


class _Compressor(Protocol):
    def chunk(self, data: bytes, last: bool) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def chunk(self, data: bytes, last: bool) -> bytes:
        """The chunk compressed, and flushed: the client can read all that was sent so far."""
        return self._stream.compress(data) + self._stream.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)


class _Zstd:
    def __init__(self) -> None:
        self._stream = zstandard.ZstdCompressor(_ZSTD_LEVEL).compressobj()

    def chunk(self, data: bytes, last: bool) -> bytes:
        """The chunk compressed, and flushed: the client can read all that was sent so far."""
        how = zstandard.COMPRESSOBJ_FLUSH_FINISH if last else zstandard.COMPRESSOBJ_FLUSH_BLOCK
        return self._stream.compress(data) + self._stream.flush(how)


class _Coded:
    """Sends one answer in a coding. Its start waits for the first piece, which tells whether compressing is worth it."""

    def __init__(self, send: Send, coding: str, threads: Executor, *, always: bool) -> None:
        """``always``: whether it is worth it whatever comes, as the client takes no plain answer."""
        self._always = always
        self._send = send
        self._coding = coding
        self._threads = threads
        self._start: Message | None = None
        self._compressor: _Compressor | None = None

    async def __call__(self, message: Message) -> None:
        """Pass one message on."""
        if message["type"] == "http.response.start":
            self._start = {**message, "headers": list(message["headers"])}
        elif message["type"] == "http.response.body":
            await self._body(message.get("body", b""), message.get("more_body", False))
        else:
            await self._send(message)

    async def _body(self, body: bytes, more: bool) -> None:
        start, self._start = self._start, None
        if start is not None:
            headers = MutableHeaders(scope=start)
            self._describe(headers, start["status"])
            if self._worth_it(headers, body, more):
                self._compressor = _Zstd() if self._coding == "zstd" else _Gzip()
                headers["Content-Encoding"] = self._coding
        if self._compressor is not None and (body or not more):
            compress = self._compressor.chunk
            long = len(body) > _LONG
            body = await run_in(self._threads, compress, body, not more) if long else compress(body, not more)
        if start is not None:
            if self._compressor is not None:
                self._measure(MutableHeaders(scope=start), body, more)
            await self._send(start)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    def _describe(self, headers: MutableHeaders, status: int) -> None:
        headers.add_vary_header("Accept-Encoding")
        if "ETag" in headers and status in (200, 304):
            headers["ETag"] = headers["ETag"].removesuffix('"') + _suffix(self._coding) + '"'

    def _worth_it(self, headers: MutableHeaders, body: bytes, more: bool) -> bool:
        if "Content-Encoding" in headers:
            return False
        if self._always:
            return more or bool(body)
        return (more or len(body) >= _WORTH_IT) and not headers.get("Content-Type", "").startswith(_COMPRESSED)

    @staticmethod
    def _measure(headers: MutableHeaders, body: bytes, more: bool) -> None:
        """The length of the body as it is sent, where that is known."""
        if "Content-Length" in headers:
            del headers["Content-Length"]
        if not more:
            headers["Content-Length"] = str(len(body))
