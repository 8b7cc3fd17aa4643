"""The public keys that sign tokens (JWKS, RFC 7517), from a URL or a file, read again while the service runs.

No request reads them on the event loop, and no token can make the service read more often than ``jwt_retry_seconds``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.error import HTTPError

import jwt

from serving.errors import SettingsError
from serving.settings import Settings

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 5.0
"""How long one reading may take, and how long a request waits for it."""

_MOST_BYTES = 1 << 20
"""A document above this is not read."""

_KINDS = {"RS": ("RSA", None), "PS": ("RSA", None), "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384")}
_KINDS |= {"ES512": ("EC", "P-521"), "EdDSA": ("OKP", "Ed25519")}

Keys = dict[tuple[str, str], jwt.PyJWK]
"""Keys by their id and the algorithm that they are for: no token can have a key used in another way."""


class KeysUnreadable(Exception):
    """The JWKS could not be read. The text says why, for the log."""


class KeySet:
    """The keys of one JWKS. ``follow`` reads them again and again; where that fails, the keys read last stay in force."""

    def __init__(self, settings: Settings) -> None:
        assert settings.jwt_jwks is not None
        self._source = settings.jwt_jwks
        self._algorithms = settings.jwt_algorithms
        self._refresh_seconds = settings.jwt_refresh_seconds
        self._retry_seconds = settings.jwt_retry_seconds
        self._keys: Keys = {}
        self._tried: float | None = None
        self._reading: asyncio.Task[None] | None = None
        self.problem: str | None = None
        """Why the last reading failed; ``None`` after one that did not."""
        self.read_at: float | None = None
        """When the keys in force were read, as ``time.monotonic`` tells; ``None``: there are none."""

    async def find(self, kid: str, algorithm: str) -> jwt.PyJWK | None:
        """The key of that id for that algorithm. If it is not known, the JWKS is read first, unless it was just now."""
        key = self._keys.get((kid, algorithm))
        if key is None and (self._reading is not None or self._may_read()):
            # Whoever waits here holds up nobody else, and one reading serves all who wait.
            await asyncio.wait({self._read_once()}, timeout=_TIMEOUT_SECONDS)
            key = self._keys.get((kid, algorithm))
        return key

    async def follow(self) -> None:
        """Read the keys now and ever again; after a failure sooner. Ends when it is cancelled."""
        while True:
            await self._read_once()
            await asyncio.sleep(self._refresh_seconds if self.problem is None else self._retry_seconds)

    def _may_read(self) -> bool:
        return self._tried is None or monotonic() - self._tried >= self._retry_seconds

    def _read_once(self) -> asyncio.Task[None]:
        """The reading that goes on, or a new one."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return self._reading

    async def _read(self) -> None:
        try:
            keys = await asyncio.to_thread(read_key_set, self._source, self._algorithms)
        except Exception as error:  # the issuer is outside: whatever it sends must not end the reading for good
            self._report(f"the JWKS cannot be read (setting jwt_jwks): {error}")
        else:
            self._keys, self.read_at = keys, monotonic()
            self._report(None)
        finally:
            self._tried = monotonic()
            self._reading = None

    def _report(self, problem: str | None) -> None:
        """Log a problem when it changes, and its end."""
        if problem is not None and problem != self.problem:
            meanwhile = "the keys read before stay in force" if self._keys else "no token can be checked until it can"
            logger.error("%s; %s", problem, meanwhile)
        elif problem is None and self.problem is not None:
            logger.info("the JWKS was read again: %d keys", len({kid for kid, _ in self._keys}))
        self.problem = problem


def check_file(settings: Settings) -> None:
    """Read the JWKS once if it is a file: a wrong path is told at the start. A server may come up later.

    Raises:
        SettingsError: the file cannot be read or holds no key that can be used.
    """
    if settings.jwt_jwks is not None and "://" not in settings.jwt_jwks:
        try:
            read_key_set(settings.jwt_jwks, settings.jwt_algorithms)
        except KeysUnreadable as error:
            raise SettingsError(f"wrong setting jwt_jwks: {error}") from None


def read_key_set(source: str, algorithms: Iterable[str]) -> Keys:
    """The keys of a JWKS that can be used with the algorithms.

    Raises:
        KeysUnreadable: the document did not come, is no JWKS, or has no such key.
    """
    try:
        content = _fetch(source) if "://" in source else _file(source)
        entries = json.loads(content)["keys"]
    except (OSError, HTTPException, ValueError, KeyError, TypeError, RecursionError) as error:
        raise KeysUnreadable(f"{source}: {_reason(error)}") from None
    keys: Keys = {}
    for entry in entries if isinstance(entries, list) else []:
        for algorithm in algorithms:
            key = _key(entry, algorithm)
            if key is not None:
                keys.setdefault((key.key_id or "", algorithm), key)
    if not keys:
        raise KeysUnreadable(f"{source}: it has no public key with an id (kid) for {', '.join(algorithms)}")
    return keys


def _key(entry: object, algorithm: str) -> jwt.PyJWK | None:
    """The entry as a key for the algorithm; ``None`` where it is none, or is meant for something else."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or "d" in entry:
        return None
    kind, curve = _KINDS.get(algorithm) or _KINDS[algorithm[:2]]
    if entry.get("kty") != kind or (curve is not None and entry.get("crv") != curve):
        return None
    if entry.get("alg", algorithm) != algorithm or entry.get("use", "sig") != "sig":
        return None
    try:
        return jwt.PyJWK(entry, algorithm)
    except jwt.PyJWTError:
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"status {error.code}"
    if isinstance(error, OSError):
        return str(getattr(error, "reason", None) or error.strerror or error)
    if isinstance(error, HTTPException):
        return f"no answer in HTTP ({type(error).__name__})"
    return "it is no JSON object with a list of keys"


def _file(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(_MOST_BYTES)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: it could lead to an address without TLS."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _fetch(url: str) -> bytes:
    """The document at a URL, within the time and the size that are borne, however slowly it drips."""
    end = monotonic() + _TIMEOUT_SECONDS
    opener = urllib.request.build_opener(_NoRedirect)
    content = b""
    with opener.open(url, timeout=_TIMEOUT_SECONDS) as response:
        while piece := response.read1(1 << 16):
            content += piece
            if len(content) > _MOST_BYTES:
                raise OSError(f"more than {_MOST_BYTES} bytes")
            if monotonic() > end:
                raise TimeoutError(f"not complete after {_TIMEOUT_SECONDS:g} s")
    return content
