"""Load over HTTP: some connections that are kept open, each asking as soon as it has its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from bench.errors import BenchError


@dataclass(frozen=True)
class Loaded:
    """What the clients saw."""

    a_second: float
    p50: float
    """Milliseconds."""
    p99: float


def load(port: int, paths: Sequence[str], connections: int, seconds: float) -> Loaded:
    """Asks for the paths in turn, over and over, for some seconds.

    Raises:
        BenchError: an answer was not 200.
    """
    return asyncio.run(_load(port, iter(paths), connections, seconds))


async def _load(port: int, paths: Iterator[str], connections: int, seconds: float) -> Loaded:
    times: list[float] = []
    began = time.perf_counter()
    await asyncio.gather(*(_client(port, paths, began + seconds, times) for _ in range(connections)))
    spent = time.perf_counter() - began
    times.sort()
    return Loaded(len(times) / spent, median(times) * 1000, times[int(len(times) * 0.99)] * 1000)


async def _client(port: int, paths: Iterator[str], end: float, times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while (began := time.perf_counter()) < end and (path := next(paths, None)) is not None:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise BenchError(f"{path}: {head.decode(errors='replace').splitlines()[0]}")
            await reader.readexactly(_length(head))
            times.append(time.perf_counter() - began)
    finally:
        writer.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    raise BenchError("an answer without Content-Length")
