"""Which pages of other origins may read answers (Fetch Standard, CORS), and what the others are told."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import CorsRefused
from serving.reply.problems import problem

METHODS = ("GET", "HEAD", "POST")
HEADERS = ("Authorization", "Content-Type", "If-None-Match", "X-API-Key", "X-Request-Id")
"""What such a page may send, beside what any page may (``SAFELISTED_HEADERS`` of Starlette)."""


class Cors(CORSMiddleware):
    """Answers preflights, a refused one by a problem document, and names the origins that may read an answer."""

    def __init__(self, app: ASGIApp, origins: Iterable[str], exposed: Iterable[str]) -> None:
        super().__init__(
            app,
            allow_origins=tuple(origins),
            allow_methods=METHODS,
            allow_headers=HEADERS,
            expose_headers=tuple(exposed),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await super().__call__(scope, receive, send)
        except CorsRefused as refused:
            await problem(refused, scope["state"]["request_id"])(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a preflight.

        Raises:
            CorsRefused: the origin, the method or a header is none of those that may be; the text names each.
        """
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        told = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        raise CorsRefused(list(self._faults(request_headers)), told)

    def _faults(self, headers: Headers) -> Iterable[str]:
        origin, method = headers["origin"], headers["access-control-request-method"]
        if not self.is_allowed_origin(origin):
            yield f"the origin {origin} is none of those in the setting cors_origins"
        if method not in METHODS:
            yield f"the method {method} is none of {', '.join(METHODS)}"
        asked = [name.strip() for name in headers.get("access-control-request-headers", "").split(",")]
        others = [name for name in asked if name and name.lower() not in self.allow_headers]
        if others:
            yield f"the headers {', '.join(others)} are none of {', '.join(HEADERS)}"
        if "access-control-request-private-network" in headers:
            yield "a page of a public network may not ask a service of a private one"
