"""The explorer: a page at ``/`` that asks the API, and the files that it is made of. Nothing is loaded from elsewhere."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

WEB = Path(__file__).resolve().parent / "web"
"""The folder of the page; what of it may be served stands in ``_TYPES``."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


_OF_DOCS = re.compile(rb"<!-- docs -->.*?<!-- /docs -->", re.DOTALL)
"""A part of the page that sends the reader to ``/docs``."""


def add_explorer(app: FastAPI, docs: bool, url_bytes: int) -> None:
    """Give the application one address for each file of the page. No address is made from a request.

    Args:
        app: the application.
        docs: whether ``/docs`` is open; if not, the page says nothing of it.
        url_bytes: the longest address that the service takes, which the page keeps to.
    """
    for file in sorted(WEB.rglob("*")):
        if file.suffix in _TYPES:
            name = file.relative_to(WEB).as_posix()
            path = "/" if name == "index.html" else f"/web/{name}"
            content = file.read_bytes() if docs else _OF_DOCS.sub(b"", file.read_bytes())
            content = content.replace(b"{url_bytes}", b"%d" % url_bytes)
            app.add_api_route(path, _answer(content, _TYPES[file.suffix]), include_in_schema=False)


def _answer(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    """A route that gives one file. A client asks each time and gets 304 while it has the file of this version."""
    headers = {
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        "Cache-Control": "no-cache",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    return answer
