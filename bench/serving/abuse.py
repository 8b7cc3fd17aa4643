"""What clients do that mean no good, or know no better: each holds on until it is cancelled, and notes what it is answered."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

_REOPEN_SECONDS = 1.0
"""A connection that was closed is opened again after so long."""


@dataclass
class Seen:
    """What the clients were answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    """Answers by status; 0: closed without one."""
    slowest: dict[int, float] = field(default_factory=dict)
    """Seconds until the slowest answer of each status."""

    def note(self, status: int, seconds: float) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        self.slowest[status] = max(seconds, self.slowest.get(status, 0.0))


Client = Callable[[int, Seen], Awaitable[None]]


@contextlib.asynccontextmanager
async def many(count: int, client: Client, port: int) -> AsyncIterator[Seen]:
    """So many of the clients, one after another again and again in each place, until the block ends."""
    seen = Seen()
    tasks = [asyncio.create_task(_again(client, port, seen)) for _ in range(count)]
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _again(client: Client, port: int, seen: Seen) -> None:
    while True:
        began = time.monotonic()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await client(port, seen)
            await asyncio.sleep(_REOPEN_SECONDS)
            continue
        seen.note(0, time.monotonic() - began)
        await asyncio.sleep(_REOPEN_SECONDS)


async def silent(port: int, seen: Seen) -> None:
    """Connects and says nothing."""
    async with _open(port) as (reader, _):
        began = time.monotonic()
        await reader.read(1)
        seen.note(0, time.monotonic() - began)


def slow_head(pause: float = 1.0) -> Client:
    """Sends a head byte by byte, with so many seconds between them."""

    async def client(port: int, seen: Seen) -> None:
        async with _open(port) as (reader, writer):
            answer = asyncio.create_task(_status(reader))
            began = time.monotonic()
            for byte in b"GET /v1/status HTTP/1.1\r\n" + b"X-Slow: yes\r\n" * 1000:
                if answer.done():
                    break
                writer.write(bytes([byte]))
                await asyncio.wait({answer}, timeout=pause)
            seen.note(await answer, time.monotonic() - began)

    return client


def endless_body(key: str | None = None) -> Client:
    """Announces a body and never sends the end of it."""

    async def client(port: int, seen: Seen) -> None:
        async with _open(port) as (reader, writer):
            began = time.monotonic()
            head = f"POST /v1/ctr HTTP/1.1\r\nHost: x\r\n{_header(key)}Content-Length: 1000\r\n\r\n{{"
            writer.write(head.encode())
            seen.note(await _status(reader), time.monotonic() - began)

    return client


def takes_nothing(path: str, key: str | None = None) -> Client:
    """Asks for a long answer and does not read it."""

    async def client(port: int, seen: Seen) -> None:
        began = time.monotonic()
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connection, ("127.0.0.1", port))
            await loop.sock_sendall(connection, f"GET {path} HTTP/1.1\r\nHost: x\r\n{_header(key)}\r\n".encode())
            head = await loop.sock_recv(connection, 1000)
            status = int(head.split()[1]) if head else 0
            if status == 200:
                await asyncio.sleep(60)
            seen.note(status, time.monotonic() - began)

    return client


async def long_head(port: int, seen: Seen) -> None:
    """Sends 2 MB of headers."""
    async with _open(port) as (reader, writer):
        began = time.monotonic()
        writer.write(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 2_000_000)
        with contextlib.suppress(OSError):
            await writer.drain()
        seen.note(await _status(reader), time.monotonic() - began)


def asks(path: str, key: str | None = None) -> Client:
    """Asks for a path and reads the whole answer."""

    async def client(port: int, seen: Seen) -> None:
        async with _open(port) as (reader, writer):
            began = time.monotonic()
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{_header(key)}Connection: close\r\n\r\n".encode())
            status = await _status(reader)
            while await reader.read(1 << 16):
                pass
            seen.note(status, time.monotonic() - began)

    return client


def _header(key: str | None) -> str:
    return f"X-API-Key: {key}\r\n" if key else ""


@contextlib.asynccontextmanager
async def _open(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _status(reader: asyncio.StreamReader) -> int:
    line = await reader.readline()
    return int(line.split()[1]) if line else 0
