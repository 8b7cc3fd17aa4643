"""Turns everything that goes wrong into ``application/problem+json``, and gives each request its id."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import BodyTooLarge, BodyTooSlow, ClientGone, MethodNotAllowed, NotFound, ServiceError, UrlTooLong
from serving.load.turns import TURNS, Turns

logger = logging.getLogger(__name__)

PROBLEM = "application/problem+json"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

REFUSED = "refused"
"""Where in a request's state the code of the problem stands that answered it."""


def document(error: ServiceError, request_id: str) -> dict[str, Any]:
    """The problem document of an error (RFC 9457)."""
    members: dict[str, Any] = {
        "type": f"/docs#{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "requestId": request_id,
    }
    members.update(error.members)
    if error.errors:
        members["errors"] = [asdict(fault) for fault in error.errors]
    return members


def problem(error: ServiceError, request_id: str) -> Response:
    """The answer that tells an error."""
    return _ProblemResponse(error, request_id)


class _ProblemResponse(Response):
    """A problem document, which leaves its code in the request's state for ``observe`` to count."""

    def __init__(self, error: ServiceError, request_id: str) -> None:
        self._code = error.code
        super().__init__(json.dumps(document(error, request_id)), error.status, error.headers, PROBLEM)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it when it is its turn."""
        turns: Turns = scope["state"][TURNS]
        await turns.wait()
        scope["state"][REFUSED] = self._code
        await super().__call__(scope, receive, send)


def install(app: FastAPI) -> None:
    """Register what answers errors that routes raise."""

    @app.exception_handler(ServiceError)
    async def service_error(request: Request, error: ServiceError) -> Response:
        if error.__cause__ is not None:
            logger.error("request %s: %s", request.state.request_id, error.__cause__)
        return problem(error, request.state.request_id)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            return problem(MethodNotAllowed(_methods(request, error)), request.state.request_id)
        told = NotFound(request.app.state.settings.docs) if error.status_code == 404 else ServiceError()
        return problem(told, request.state.request_id)


def _methods(request: Request, error: HTTPException) -> list[str]:
    """The methods that the address of a request takes; the framework itself names those of one route only."""
    documented = request.app.openapi()["paths"].get(request.url.path, {})
    methods = [method.upper() for method in documented] or [(error.headers or {}).get("Allow", "GET")]
    return sorted({*methods, "HEAD"} if "GET" in methods else methods)


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """The body of a request.

    Raises:
        BodyTooLarge: it has more bytes than the limit; no more than that is kept.
        BodyTooSlow: it was not complete in time.
        ClientGone: the client closed the connection before.
    """
    try:
        return await asyncio.wait_for(_read(request, limit), seconds)
    except asyncio.TimeoutError:
        raise BodyTooSlow(seconds) from None
    except ClientDisconnect:
        raise ClientGone from None


async def _read(request: Request, limit: int) -> bytes:
    length = int(request.headers.get("content-length", "0"))
    if length > limit:
        raise BodyTooLarge(limit, length)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLarge(limit, None)
    return bytes(body)


class RequestId:
    """Gives every request an id, which answers and the log carry, and answers what no handler knew with a bare 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            what = "its answer was cut" if started else "it was not answered"
            logger.exception("request %s failed, %s: %s %s", request_id, what, scope["method"], scope["path"])
            if not started:  # else a status can no longer tell; without the final chunk the server cuts the connection
                await problem(ServiceError(), request_id)(scope, receive, send_with_id)


class Addresses:
    """Refuses addresses that are long, or hold a control character, before anything is read from them.

    Routes end in ``$``, which also matches before a line feed: ``/metrics%0A`` would be answered, and to ``Access`` it is another
    address than ``/metrics``.
    """

    def __init__(self, app: ASGIApp, limit: int, docs: bool) -> None:
        self._app = app
        self._limit = limit
        self._docs = docs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            query = scope["query_string"]
            size = len(scope["raw_path"]) + (len(query) + 1 if query else 0)
            if size > self._limit:
                error = UrlTooLong(self._limit, size, scope["path"])
                await problem(error, scope["state"]["request_id"])(scope, receive, send)
                return
            if _CONTROL.search(scope["path"]):
                await problem(NotFound(self._docs), scope["state"]["request_id"])(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _request_id(given: str | None) -> str:
    """The client's own id, if it is fit for a log; else a new one."""
    return given if given and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else new_request_id()


def new_request_id() -> str:
    """An id that no other request has."""
    return secrets.token_hex(16)
