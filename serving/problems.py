"""Turns everything that goes wrong into ``application/problem+json``, and gives each request its id."""

from __future__ import annotations

import json
import logging
import re
import uuid
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import BodyTooLarge, MethodNotAllowed, NotFound, ServiceError

logger = logging.getLogger(__name__)

PROBLEM = "application/problem+json"


def problem(error: ServiceError, request_id: str) -> Response:
    """The problem document of an error (RFC 9457)."""
    document: dict[str, Any] = {
        "type": f"/docs#{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "requestId": request_id,
    }
    if error.errors:
        document["errors"] = [asdict(fault) for fault in error.errors]
    return Response(json.dumps(document), error.status, error.headers, PROBLEM)


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
        told = NotFound() if error.status_code == 404 else ServiceError()
        return problem(told, request.state.request_id)


def _methods(request: Request, error: HTTPException) -> list[str]:
    """The methods that the address of a request takes; the framework itself names those of one route only."""
    documented = request.app.openapi()["paths"].get(request.url.path, {})
    return sorted(method.upper() for method in documented) or [(error.headers or {}).get("Allow", "GET")]


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a request.

    Raises:
        BodyTooLarge: it has more bytes than the limit; no more than that is kept.
    """
    if int(request.headers.get("content-length", "0")) > limit:
        raise BodyTooLarge(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLarge(limit)
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
            logger.exception("request %s failed: %s %s", request_id, scope["method"], scope["path"])
            if not started:
                await problem(ServiceError(), request_id)(scope, receive, send_with_id)


def _request_id(given: str | None) -> str:
    """The client's own id, if it is fit for a log; else a new one."""
    return given if given and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else uuid.uuid4().hex
