"""The headers that tell which state of the data an answer comes from."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from functools import lru_cache
from sys import getsizeof

from serving import VERSION
from serving.request.parameters import CtrRequest, ProductsRequest
from serving.state.snapshot import Snapshot


def iso(time: datetime) -> str:
    """A time as ISO 8601 in UTC, whole seconds."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def state_headers(snapshot: Snapshot, request: CtrRequest | ProductsRequest | str) -> dict[str, str]:
    """The entity tag of an answer and the publication that it comes from."""
    return {
        "ETag": _etag(snapshot, request),
        "X-Data-Version": str(snapshot.version),
        "Cache-Control": "no-cache",
    }


def set_watermark(headers: dict[str, str], snapshot: Snapshot, platforms: tuple[str, ...]) -> None:
    """Add up to when the data of these platforms are known, where that is known at all."""
    watermark = snapshot.watermark(platforms)
    if watermark is not None:
        headers["X-Watermark"] = iso(watermark)


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether ``If-None-Match`` names the tag (RFC 9110, 13.1.2)."""
    if if_none_match is None:
        return False
    given = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in given or given == ["*"]


def _etag(snapshot: Snapshot, request: CtrRequest | ProductsRequest | str) -> str:
    """Changes with the publication (also in a lake made anew), the request as it was understood, and the service."""
    key = (VERSION, *snapshot.publication.identity, request)
    return _kept_tag(key) if _bytes_of_texts(request) <= _SHORT else _tag(key)


def _tag(key: tuple[object, ...]) -> str:
    return f'"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}"'


_SHORT = 4000
_kept_tag = lru_cache(4096)(_tag)
"""Making a tag takes longer than finding its answer in the cache. It keeps the requests, some 20 MB at most: no long ones."""


def _bytes_of_texts(request: CtrRequest | ProductsRequest | str) -> int:
    """The memory that the texts take of which a client can send as long and as many as it likes."""
    if isinstance(request, str):
        return getsizeof(request)
    return sum(map(getsizeof, request.products if isinstance(request, CtrRequest) else (request.search,)))
