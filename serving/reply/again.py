"""Requests that come again, byte for byte: their answers go out as they did before, past routes, reading and compressing."""

from __future__ import annotations

from collections.abc import Hashable
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.reply.encode import body_message
from serving.state.cache import Sent
from serving.state.store import Store

_PATH = "/v1/ctr"

_DECIDE = frozenset({b"accept", b"accept-encoding"})
"""Of the headers of a request, those that an answer depends on. ``Access`` and CORS stand before this and see to theirs."""

_LONG = 2000
"""Bytes of address and headers above which a request is not remembered."""

_TIMING = b"server-timing"
_FROM_CACHE = b"cache;dur="


class Again:
    """Answers a GET from memory, if the publication is served of which the same bytes were answered from the cache before.

    So what is asked once leaves nothing here, and an answer that is sent again is one that the routes gave twice.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        began = perf_counter()
        asked = _asked(scope) if scope["type"] == "http" and scope["path"] == _PATH else None
        if asked is None:
            await self._app(scope, receive, send)
            return
        store: Store = scope["app"].state.store
        snapshot = store.snapshot
        if snapshot is None:
            await self._app(scope, receive, send)
            return
        key = (*snapshot.publication.identity, *asked)
        sent = store.cache.get_sent(key)
        if sent is not None:
            timing = sent.timing + b"%.1f" % ((perf_counter() - began) * 1000)
            await send({"type": "http.response.start", "status": 200, "headers": [*sent.headers, (_TIMING, timing)]})
            await send(body_message(sent.body, more=False))
            return
        headers: tuple[tuple[bytes, bytes], ...] | None = None
        """Of an answer that has begun, as long as it may be whole in one piece."""

        async def send_noted(message: Message) -> None:
            nonlocal headers
            if message["type"] == "http.response.start":
                if message["status"] == 200:
                    headers = tuple(message["headers"])  # before others add what is of this request alone
            elif headers is not None:
                if not message.get("more_body", False):
                    found = _sent(headers, message.get("body", b""), snapshot.version)
                    if found is not None:
                        store.cache.put_sent(key, found)
                headers = None
            await send(message)

        await self._app(scope, receive, send_noted)


def _asked(scope: Scope) -> tuple[Hashable, ...] | None:
    """What an answer depends on besides the data; ``None``: the request is not one to remember."""
    if scope["method"] != "GET":
        return None
    query, size = scope["query_string"], len(scope["query_string"])
    headers = []
    for name, value in scope["headers"]:
        if name in _DECIDE:
            headers.append((name, value))
            size += len(value)
        elif name == b"if-none-match":
            return None
    caller = scope["state"].get("caller")
    return (query, *headers, caller.platforms if caller else ()) if size <= _LONG else None


def _sent(headers: tuple[tuple[bytes, bytes], ...], body: bytes, version: int) -> Sent | None:
    """The answer to keep; ``None``: it is another publication's, or was not from the cache itself."""
    told = dict(headers)
    timing, cached, _ = told.get(_TIMING, b"").rpartition(_FROM_CACHE)
    if not cached or told.get(b"x-data-version") != b"%d" % version:
        return None
    return Sent(body, tuple(header for header in headers if header[0] != _TIMING), timing + _FROM_CACHE)
