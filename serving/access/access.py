"""Who may ask for what: API keys and tokens, rate limits, platforms, and the headers that keep browsers from harm."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from limits import RateLimitItemPerMinute, WindowStats
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access.tokens import NotGenuine, Subject, Tokens, is_token
from serving.access.windows import Windows
from serving.contract import PLATFORMS
from serving.errors import Forbidden, ServiceError, TooManyRequests, Unauthorized
from serving.keys import Key, KeyFile, today
from serving.reply.problems import problem
from serving.request.parameters import CtrRequest, ProductsRequest
from serving.settings import Settings


@dataclass(frozen=True)
class Caller:
    """Who asks: an id for the log, and the platforms that the answers are narrowed to."""

    id: str = "-"
    platforms: tuple[str, ...] = ()
    """Empty: every platform."""


ANYBODY = Caller()


def caller_of(request: Request) -> Caller:
    """Who asks, as ``Access`` found out."""
    caller: Caller = getattr(request.state, "caller", ANYBODY)
    return caller


def narrow_ctr(wanted: CtrRequest, caller: Caller) -> CtrRequest:
    """The request, of the caller's platforms where it names none.

    Raises:
        Forbidden: it names another.
    """
    if not caller.platforms:
        return wanted
    others = sorted(set(wanted.platforms) - set(caller.platforms))
    if others:
        raise Forbidden(
            f"This key is for {', '.join(caller.platforms)}; asked for {', '.join(others)}. "
            "Leave platform out to get its own."
        )
    return replace(wanted, platforms=wanted.platforms or tuple(sorted(caller.platforms)))


def narrow_products(wanted: ProductsRequest, caller: Caller) -> ProductsRequest:
    """The request, of the caller's platforms."""
    return replace(wanted, platforms=tuple(sorted(caller.platforms)))


def platforms_of(caller: Caller) -> tuple[str, ...]:
    """The platforms that a caller may see, in the order of answers."""
    return tuple(platform for platform in PLATFORMS if not caller.platforms or platform in caller.platforms)


class Access:
    """Lets requests under ``/v1`` and ``/metrics`` in by key or token, each so often a minute. Without both it is open."""

    def __init__(self, app: ASGIApp, settings: Settings, tokens: Tokens | None) -> None:
        self._app = app
        self._keys = KeyFile(settings.api_keys_file) if settings.api_keys_file else None
        self._tokens = tokens
        self._open = not settings.closed
        self._limiter = MovingWindowRateLimiter(Windows())
        self._rate = RateLimitItemPerMinute(settings.key_requests)
        self._guesses = RateLimitItemPerMinute(settings.key_guesses)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        needed = needed_scope(scope["path"]) if scope["type"] == "http" else None
        if self._open or needed is None:
            await self._app(scope, receive, send)
            return
        try:
            key = await self._holder(scope)
            told = self._count(key)
            if needed not in key.scopes:
                has = f"the scopes {', '.join(key.scopes)}" if key.scopes else "no scope of this service"
                raise Forbidden(f"This key has {has}; this address wants {needed}.", needed)
        except ServiceError as error:
            await problem(error, scope["state"]["request_id"])(scope, receive, send)
            return
        scope["state"]["caller"] = Caller(key.id, key.platforms)
        if key.platforms:
            told["X-Platforms"] = ", ".join(sorted(key.platforms))

        async def send_told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(told)
                headers.add_vary_header("Authorization, X-API-Key")
            await send(message)

        await self._app(scope, receive, send_told)

    async def _holder(self, scope: Scope) -> Key | Subject:
        """The key of a request, or the subject of its token.

        Raises:
            Unauthorized: it has none that is valid.
            Forbidden: it has a token for platforms that there are not.
            TooManyRequests: too many wrong ones came from its address.
            TokenKeysUnavailable: it has a token, which cannot be checked yet.
        """
        secret = _secret(Headers(scope=scope))
        if secret is None:
            raise Unauthorized(f"This address wants {self._wanted()}.", given=False)
        address = scope["client"][0] if scope.get("client") else ""
        if self._tokens is not None and is_token(secret):
            return await self._subject(self._tokens, secret, address)
        return self._key(secret, address)

    def _wanted(self) -> str:
        key, token = "a key: Authorization: Bearer KEY, or X-API-Key: KEY", "a JWT: Authorization: Bearer JWT"
        return f"{key}; or {token}" if self._keys and self._tokens else key if self._keys else token

    async def _subject(self, tokens: Tokens, token: str, address: str) -> Subject:
        try:
            return await tokens.subject(token)
        except NotGenuine:
            self._count_guess(address)
            raise

    def _key(self, secret: str, address: str) -> Key:
        """The key that a secret is.

        Raises:
            Unauthorized: it is none that is valid.
            TooManyRequests: it is none at all, and too many such came from its address.
        """
        key = self._keys.find(secret) if self._keys else None
        if key is None:
            self._count_guess(address)
            raise Unauthorized("The key is not known, or was revoked.")
        if not key.valid_on(today()):
            raise Unauthorized(f"The key has expired on {key.expires} (at the end of that day, UTC). Get a new one.")
        return key

    def _count_guess(self, address: str) -> None:
        """Count a key or token that is not genuine. Good and expired ones are never held up by it: nobody can guess them.

        Raises:
            TooManyRequests: too many came from the address.
        """
        if not self._limiter.hit(self._guesses, address):
            raise TooManyRequests(
                f"Too many wrong keys came from this address; the limit is {self._guesses.amount} a minute (setting key_guesses).",
                self._wait(self._guesses, address),
            ) from None

    def _count(self, key: Key | Subject) -> dict[str, str]:
        """Count one request of a key, and give the headers that tell how many are left.

        Raises:
            TooManyRequests: there are none left.
        """
        policy = f'"key";q={self._rate.amount};w=60'
        if not self._limiter.hit(self._rate, key.id):
            error = TooManyRequests(
                f"The key {key.id} may ask {self._rate.amount} times a minute (setting key_requests).",
                self._wait(self._rate, key.id),
            )
            error.headers |= {"RateLimit-Policy": policy, "RateLimit": f'"key";r=0;t={error.headers["Retry-After"]}'}
            raise error
        window = self._limiter.get_window_stats(self._rate, key.id)
        return {"RateLimit-Policy": policy, "RateLimit": f'"key";r={window.remaining};t={_until(window)}'}

    def _wait(self, item: RateLimitItemPerMinute, who: str) -> int:
        return _until(self._limiter.get_window_stats(item, who))


def _until(window: WindowStats) -> int:
    """Seconds until the oldest request in the window leaves it."""
    return max(1, math.ceil(window.reset_time - time.time()))


def needed_scope(path: str) -> str | None:
    """The scope that an address wants; ``None``: it is open to all."""
    if path == "/metrics":
        return "metrics"
    return "read" if path == "/v1" or path.startswith("/v1/") else None


def _secret(headers: Headers) -> str | None:
    kind, _, secret = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and secret.strip():
        return secret.strip()
    return headers.get("x-api-key")


_SECURITY = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}


class SecurityHeaders:
    """Headers that keep browsers from guessing types, from framing and from telling where they came from."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                there = {name for name, _ in headers}
                headers += [item for item in _SECURITY.items() if item[0] not in there]
            await send(message)

        await self._app(scope, receive, send_safe)
