"""Access by JWT: a token that an issuer signed becomes a subject with scopes and platforms, or the reason why not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import jwt

from serving.access.jwks import KeySet
from serving.contract import PLATFORMS
from serving.errors import Forbidden, TokenKeysUnavailable, Unauthorized
from serving.keys import SCOPES
from serving.settings import Settings

_LONGEST = 8 << 10
"""Characters. A longer token is refused unread."""


@dataclass(frozen=True)
class Subject:
    """Whom a token speaks for."""

    id: str
    """Stands for the claim ``sub`` in log and rate limit; a digest, because ``sub`` may be the address of a person."""
    scopes: tuple[str, ...]
    platforms: tuple[str, ...] = ()
    """Empty: every platform."""


class NotGenuine(Unauthorized):
    """No key that the service trusts has signed this: it counts as a guess. A token that is only too old does not."""


def is_token(secret: str) -> bool:
    """Whether a secret has the form of a JWT; no API key has."""
    return secret.count(".") == 2


class Tokens:
    """Checks tokens by the keys of one JWKS, with the algorithms, the issuer and the audience of the settings."""

    def __init__(self, settings: Settings) -> None:
        self.keys = KeySet(settings)
        self._algorithms = list(settings.jwt_algorithms)
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._leeway = settings.jwt_leeway_seconds
        self._platforms_claim = settings.jwt_platforms_claim
        self._required = ["exp", "iss", "aud", "sub", *(["nbf"] if settings.jwt_nbf_required else [])]

    async def subject(self, token: str) -> Subject:
        """Whom a token speaks for.

        Raises:
            NotGenuine: it is no token, or none of the keys has signed it.
            Unauthorized: it is out of date, or not meant for this service.
            Forbidden: it is for platforms that there are not.
            TokenKeysUnavailable: no keys could be read yet.
        """
        return self._subject(self._claims(token, await self._key(token)))

    async def _key(self, token: str) -> jwt.PyJWK:
        if len(token) > _LONGEST:
            raise NotGenuine(f"The token is longer than {_LONGEST} characters.")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, UnicodeEncodeError):
            raise NotGenuine("The token cannot be read as a JWT.") from None
        kid, algorithm = header.get("kid"), header.get("alg")
        if algorithm not in self._algorithms:
            raise NotGenuine(f"The token is not signed by {' or '.join(self._algorithms)} (setting jwt_algorithms).")
        if not isinstance(kid, str):
            raise NotGenuine("The token does not name the key that signed it (header kid).")
        key = await self.keys.find(kid, algorithm)
        if key is None:
            if self.keys.read_at is None:
                raise TokenKeysUnavailable
            raise NotGenuine("The token is signed by a key that the JWKS does not have (setting jwt_jwks).")
        return key

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway,
                options={"require": self._required, "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthorized("The token has expired (claim exp). Get a new one.") from None
        except jwt.ImmatureSignatureError:
            raise Unauthorized("The token is not valid yet (claim nbf or iat). Is the clock right?") from None
        except jwt.InvalidAudienceError:
            raise Unauthorized("The token is not meant for this service (claim aud, setting jwt_audience).") from None
        except jwt.InvalidIssuerError:
            raise Unauthorized("The token is of another issuer (claim iss, setting jwt_issuer).") from None
        except jwt.MissingRequiredClaimError as error:
            raise Unauthorized(f"The token has no claim {error.claim}, which is mandatory.") from None
        except jwt.PyJWTError:
            raise NotGenuine("The token's signature does not fit, or one of its claims has a wrong form.") from None

    def _subject(self, claims: dict[str, Any]) -> Subject:
        scope = claims.get("scope", "")
        scopes = set(scope.split()) if isinstance(scope, str) else set()
        return Subject(
            "jwt_" + hashlib.sha256(claims["sub"].encode("utf-8", "surrogatepass")).hexdigest()[:16],
            tuple(name for name in SCOPES if name in scopes),
            self._platforms(claims),
        )

    def _platforms(self, claims: dict[str, Any]) -> tuple[str, ...]:
        """The platforms that the claims list; empty where they have no such list.

        Raises:
            Forbidden: the list has none of the platforms that there are: it must not be taken for no list.
        """
        if self._platforms_claim not in claims:
            return ()
        listed = claims[self._platforms_claim]
        names = listed.split() if isinstance(listed, str) else listed if isinstance(listed, list) else []
        platforms = tuple(platform for platform in PLATFORMS if platform in names)
        if not platforms:
            raise Forbidden(f"The token's claim {self._platforms_claim} names none of {', '.join(PLATFORMS)}.")
        return platforms
