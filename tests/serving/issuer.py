"""An issuer of tokens for tests: real keys, a JWKS server on loopback that can be stopped, changed and made slow."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

ISSUER, AUDIENCE = "https://issuer.example/", "https://ctr.example/"


class SigningKey:
    """A private key with an id and an algorithm."""

    def __init__(self, kid: str, algorithm: str = "ES256") -> None:
        self.kid, self.algorithm = kid, algorithm
        self.private: Any = (
            ed25519.Ed25519PrivateKey.generate()
            if algorithm == "EdDSA"
            else ec.generate_private_key(ec.SECP256R1())
            if algorithm == "ES256"
            else rsa.generate_private_key(65537, 2048)
        )

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key as the JWKS has it."""
        made = get_default_algorithms()[self.algorithm].to_jwk(self.private.public_key(), as_dict=True)
        return {**made, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    @property
    def pem(self) -> bytes:
        """The public key as text: what an attacker would use as a secret."""
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token, good unless the claims say otherwise; a claim that is ``...`` is left out."""
        text = json.dumps(good_claims(**claims)).encode()
        return jwt.PyJWS().encode(text, self.private, self.algorithm, {"kid": self.kid, **(headers or {})})


def good_claims(**claims: Any) -> dict[str, Any]:
    """The claims of a good token, changed; one that is ``...`` is left out."""
    now = int(time.time())
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "nbf": now, "exp": now + 600, "scope": "openid read"}
    return {name: value for name, value in {**good, **claims}.items() if value is not ...}


class JwksServer:
    """Answers a JWKS; ``reads`` counts how often it was asked."""

    def __init__(self, *keys: SigningKey, port: int = 0) -> None:
        self.reads = 0
        self.publish(*keys)
        self.free = threading.Event()
        self.free.set()
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                told.reads += 1
                told.free.wait(30)
                status, content = told.answer  # one of these at a time, whoever changes it meanwhile
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/jwks.json"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def publish(self, *keys: SigningKey) -> None:
        """Have these keys from now on."""
        self.answer = 200, json.dumps({"keys": [key.jwk for key in keys]}).encode()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self.free.set()
        self._server.shutdown()
        self._server.server_close()
