from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from serving.keys import make_key, write_keys
from serving.main import create_app
from serving.settings import Settings
from tests.serving.conftest import eventually, running
from tests.serving.issuer import AUDIENCE, ISSUER, JwksServer, SigningKey, good_claims
from tests.serving.lake import Lake, purchase, view
from tests.serving.reply.test_answers import CASE
from tests.serving.reply.test_problems import problem

VIEWS = [view("2016-01-03 14:00:00", "a", "iOS"), view("2016-01-03 14:00:00", "b", "Android")]
FIRST, SECOND = SigningKey("first"), SigningKey("second")
RSA, ED = SigningKey("rsa", "RS256"), SigningKey("ed", "EdDSA")


@pytest.fixture
def jwks():
    """A running JWKS server with the key FIRST."""
    server = JwksServer(FIRST)
    yield server
    server.stop()


@pytest.fixture
def start(lake, serve, jwks):
    """Starts the service with that issuer."""

    def begin(**settings):
        lake.publish(VIEWS, [purchase("2016-01-03 14:00:00", "a")])
        return serve(
            lake,
            **{
                "jwt_jwks": jwks.url,
                "jwt_issuer": ISSUER,
                "jwt_audience": AUDIENCE,
                "jwt_algorithms": ("ES256",),
                "key_guesses": 1000,
                **settings,
            },
        )

    return begin


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One service for the tests that change nothing, and its JWKS server."""
    server, lake = JwksServer(FIRST), Lake(tmp_path_factory.mktemp("tokens") / "lake")
    lake.publish(VIEWS)
    options = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_algorithms": ("ES256",), "key_guesses": 1000}
    settings = Settings(lake=str(lake.path), replica=False, jwt_jwks=server.url, jwt_retry_seconds=3600, **options)
    with running(create_app(settings)) as client:
        yield client, server
    server.stop()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def status(client, token: str) -> int:
    return client.get("/v1/platforms", headers=bearer(token)).status_code


def part(value: object) -> str:
    """One part of a token."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def hs256(key: bytes, **header: object) -> str:
    """A token signed with a secret, by hand: the library refuses to sign with a public key."""
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT', **header})}.{part(good_claims())}"
    return f"{signed}.{part(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def test_a_token_opens_what_its_scope_says_and_without_one_the_data_are_401(start):
    client = start()
    assert client.get("/v1/ctr", params=CASE, headers=bearer(FIRST.sign())).status_code == 200
    answer = client.get("/v1/ctr", params=CASE)
    assert "Authorization: Bearer JWT" in problem(answer).detail
    assert answer.headers["www-authenticate"] == 'Bearer realm="ctr"'
    assert client.get("/health/ready").status_code == 200
    answer = client.get("/metrics", headers=bearer(FIRST.sign()))
    assert problem(answer).code == "forbidden"
    assert answer.headers["www-authenticate"] == 'Bearer realm="ctr", error="insufficient_scope", scope="metrics"'
    assert client.get("/metrics", headers=bearer(FIRST.sign(scope="metrics"))).status_code == 200
    for scope in ("", "reader", "READ", ["read"], 1, None, ...):
        assert status(client, FIRST.sign(scope=scope)) == 403


@pytest.mark.parametrize("key", [RSA, ED, FIRST], ids=lambda key: key.algorithm)
def test_each_kind_of_key_is_good_for_its_own_algorithm(start, jwks, key):
    jwks.publish(RSA, ED, FIRST)
    client = start(jwt_algorithms=("RS256", "ES256", "EdDSA"))
    assert status(client, key.sign()) == 200
    signed, _, signature = key.sign().rpartition(".")
    assert status(client, f"{signed}.{signature[:-8]}{'A' * 8}") == 401
    other = FIRST if key is not FIRST else ED
    assert status(client, other.sign({"kid": key.kid})) == 401, "the key of another kind under this one's id"


NOW = int(time.time())


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"exp": NOW - 60}, "has expired"),
        ({"nbf": NOW + 3600, "exp": NOW + 7200}, "not valid yet"),
        ({"iat": NOW + 3600}, "not valid yet"),
        ({"aud": "https://other.example/"}, "not meant for this service"),
        ({"aud": [AUDIENCE + "x", "b"]}, "not meant for this service"),
        ({"aud": []}, "no claim aud"),
        ({"aud": {"a": AUDIENCE}}, "not meant for this service"),
        ({"iss": "https://evil.example/"}, "another issuer"),
        ({"iss": [ISSUER]}, "another issuer"),
        ({"exp": ...}, "no claim exp"),
        ({"nbf": ...}, "no claim nbf"),
        ({"aud": ...}, "no claim aud"),
        ({"iss": ...}, "no claim iss"),
        ({"sub": ...}, "no claim sub"),
        ({"sub": 7}, "wrong form"),
        ({"exp": "tomorrow"}, "wrong form"),
        ({"exp": float("inf")}, "wrong form"),
        ({"exp": None}, "no claim exp"),
    ],
)
def test_a_token_that_is_out_of_date_or_not_meant_for_the_service_is_401_with_the_reason(shared, claims, told):
    client, _ = shared
    answer = client.get("/v1/status", headers=bearer(FIRST.sign(**claims)))
    found = problem(answer)
    assert (found.status, found.code) == (401, "unauthorized")
    assert told in found.detail
    assert answer.headers["www-authenticate"] == 'Bearer realm="ctr", error="invalid_token"'


def test_clocks_may_differ_by_the_leeway_and_an_audience_may_be_one_of_several(start):
    client = start()
    now = int(time.time())
    assert status(client, FIRST.sign(exp=now - 5, nbf=now - 60)) == 200
    assert status(client, FIRST.sign(nbf=now + 20)) == 200
    assert status(client, FIRST.sign(aud=["a", AUDIENCE])) == 200
    assert status(start(jwt_leeway_seconds=0), FIRST.sign(exp=now - 5, nbf=now - 60)) == 401
    assert status(start(jwt_nbf_required=False), FIRST.sign(nbf=...)) == 200


def forged() -> dict[str, str]:
    """Tokens that no trusted key signed."""
    claims = good_claims()
    good = FIRST.sign()
    head, body, signature = good.split(".")
    huge_number = b'{"alg":' + b"9" * 5000 + b"}"
    return {
        "none": jwt.encode(claims, None, "none", {"kid": "first"}),
        "None": f"{part({'alg': 'None', 'kid': 'first'})}.{body}.",
        "no algorithm": f"{part({'kid': 'first'})}.{body}.{signature}",
        "algorithm a list": f"{part({'alg': ['ES256'], 'kid': 'first'})}.{body}.{signature}",
        "HS256 by the public key": hs256(FIRST.pem, kid="first"),
        "HS256 by the JWK": hs256(json.dumps(FIRST.jwk).encode(), kid="first"),
        "HS256 by nothing": hs256(b"", kid="first"),
        "another algorithm that is not pinned": RSA.sign({"kid": "first"}),
        "another key under the id": SECOND.sign({"kid": "first"}),
        "unknown id": SECOND.sign(),
        "no id": FIRST.sign({"kid": ""}),
        "id a path": SECOND.sign({"kid": "../../../../dev/null"}),
        "id an address": SECOND.sign({"kid": "http://127.0.0.1:1/keys"}),
        "id SQL": SECOND.sign({"kid": "' OR 1=1 --"}),
        "id with NUL": SECOND.sign({"kid": "first\x00"}),
        "id a number": f"{part({'alg': 'ES256', 'kid': 1})}.{body}.{signature}",
        "its own key": SECOND.sign({"kid": "first", "jwk": SECOND.jwk}),
        "an address of keys": SECOND.sign({"kid": "first", "jku": "http://127.0.0.1:1/jwks.json"}),
        "a certificate": SECOND.sign({"kid": "first", "x5u": "http://127.0.0.1:1/cert", "x5c": ["AAAA"]}),
        "critical header": f"{part({'alg': 'ES256', 'kid': 'first', 'crit': ['x'], 'x': 1})}.{body}.{signature}",
        "payload apart": f"{part({'alg': 'ES256', 'kid': 'first', 'b64': False, 'crit': ['b64']})}..{signature}",
        "other claims": f"{head}.{part({**claims, 'sub': 'admin'})}.{signature}",
        "no signature": f"{head}.{body}.",
        "empty": "..",
        "no base64": "é.é.é",
        "no JSON": f"{part(b'nothing')}.{body}.{signature}",
        "deep": f"{part(b'[' * 5000)}.{body}.{signature}",
        "huge": f"{head}.{part(b'x' * 20_000)}.{signature}",
        "huge number": f"{part(huge_number)}.{body}.{signature}",
        "a key of four parts": f"{good}.x",
    }


@pytest.mark.parametrize("name", forged())
def test_what_no_trusted_key_signed_is_401_and_asks_nobody(shared, name):
    client, jwks = shared
    assert status(client, FIRST.sign()) == 200
    answer = client.get("/v1/status", headers={"Authorization": f"Bearer {forged()[name]}".encode()})
    assert problem(answer).code == "unauthorized"
    assert jwks.reads == 1


def test_a_key_in_the_jwks_that_is_not_public_or_meant_for_something_else_is_not_used(start, jwks):
    odd = [
        {**SECOND.jwk, "kid": "for-encryption", "use": "enc"},
        {**SECOND.jwk, "kid": "of-another-algorithm", "alg": "ES384"},
        {**RSA.jwk, "kid": "of-another-kind", "alg": "ES256"},
        {"kty": "oct", "k": part(b"secret" * 8), "kid": "secret", "alg": "HS256"},
        {**SECOND.jwk, "kid": "private", "d": part(b"x" * 32)},
        {**SECOND.jwk, "kid": "cut", "x": "AAAA"},
        {name: value for name, value in SECOND.jwk.items() if name != "kid"},
        "no object",
        None,
        {**FIRST.jwk, "alg": "ES256"},
    ]
    jwks.answer = 200, json.dumps({"keys": odd}).encode()
    client = start(jwt_algorithms=("RS256", "ES256"))
    assert status(client, FIRST.sign()) == 200
    for entry in odd[:-3]:
        assert status(client, SECOND.sign({"kid": entry.get("kid", "second")})) == 401
    assert status(client, hs256(b"secret" * 8, kid="secret")) == 401


def test_a_new_key_is_found_by_its_first_token_and_a_key_taken_out_ends(start, jwks):
    client = start(jwt_retry_seconds=0.2)
    assert status(client, FIRST.sign()) == 200
    jwks.publish(SECOND)
    assert status(client, FIRST.sign()) == 200, "not read again yet"
    eventually(lambda: status(client, SECOND.sign()) == 200)
    assert status(client, FIRST.sign()) == 401
    client = start(jwt_refresh_seconds=0.1)
    assert status(client, SECOND.sign()) == 200
    jwks.publish(FIRST)
    eventually(lambda: status(client, SECOND.sign()) == 401)


def test_unknown_key_ids_do_not_make_the_service_ask_more_often_than_the_setting_says(start, jwks):
    client = start(jwt_retry_seconds=3600)
    assert status(client, FIRST.sign()) == 200
    reads = jwks.reads
    for number in range(20):
        assert status(client, SECOND.sign({"kid": f"unknown-{number}"})) == 401
    assert jwks.reads == reads == 1


def test_an_issuer_that_is_down_at_the_start_is_503_and_heals_by_itself(start, jwks, caplog):
    jwks.stop()
    with caplog.at_level(logging.INFO, "serving"):
        client = start(jwt_retry_seconds=0.1)
        answer = client.get("/v1/status", headers=bearer(FIRST.sign()))
        assert problem(answer).code == "token_keys_unavailable"
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/health/ready").status_code == 200
        assert "no token can be checked until it can" in caplog.text
        again = JwksServer(FIRST, port=jwks.port)
        eventually(lambda: status(client, FIRST.sign()) == 200)
        assert "the JWKS was read again: 1 keys" in caplog.text
        again.stop()


@pytest.mark.parametrize(
    ("content", "status_code"),
    [
        (b"", 500),
        (b"", 302),
        (b"", 204),
        (b"<html>", 200),
        (b"\xff", 200),
        (b"[]", 200),
        (b'{"keys": []}', 200),
        (b'{"keys": {}}', 200),
        (b"[" * 100_000, 200),
        (b'{"keys": [' + b" " * (1 << 20) + b"]}", 200),
    ],
)
def test_an_answer_that_is_no_jwks_leaves_the_keys_in_force_and_is_logged_once(
    start, jwks, caplog, content, status_code
):
    client = start(jwt_refresh_seconds=0.05, jwt_retry_seconds=0.05)
    assert status(client, FIRST.sign()) == 200
    jwks.answer = status_code, content
    reads = jwks.reads
    eventually(lambda: jwks.reads > reads + 3)
    assert status(client, FIRST.sign()) == 200
    said = [record for record in caplog.records if "the JWKS cannot be read" in record.getMessage()]
    assert len(said) == 1
    assert "the keys read before stay in force" in said[0].getMessage()
    jwks.publish(SECOND)
    eventually(lambda: status(client, SECOND.sign()) == 200)


def test_an_issuer_that_hangs_holds_up_nobody_but_those_who_wait_for_its_keys(start, jwks):
    client = start(jwt_retry_seconds=0.01)
    assert status(client, FIRST.sign()) == 200
    jwks.publish(FIRST, SECOND)
    jwks.free.clear()
    reads = jwks.reads
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(status, client, SECOND.sign()) for _ in range(8)]
        eventually(lambda: jwks.reads > reads)
        assert status(client, FIRST.sign()) == 200
        assert client.get("/health/live").status_code == 200
        assert not any(one.done() for one in waiting)
        jwks.free.set()
        assert [one.result() for one in waiting] == [200] * 8
    assert jwks.reads == reads + 1, "one reading serves all who wait"


def test_keys_may_be_a_file_which_is_read_again(start, tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [FIRST.jwk]}))
    client = start(jwt_jwks=str(file), jwt_retry_seconds=0.05)
    assert status(client, FIRST.sign()) == 200
    file.write_text("{")
    assert status(client, SECOND.sign()) == 401
    assert status(client, FIRST.sign()) == 200
    file.write_text(json.dumps({"keys": [SECOND.jwk]}))
    eventually(lambda: status(client, SECOND.sign()) == 200)


@pytest.mark.parametrize("claim", [["iOS"], "iOS", ["tv", "iOS"], ["iOS", "iOS"]])
def test_a_token_of_one_platform_sees_nothing_of_the_others(start, claim):
    client = start(jwt_platforms_claim="https://ctr.example/platforms")
    headers = bearer(FIRST.sign(**{"https://ctr.example/platforms": claim}))
    answer = client.get("/v1/ctr", params=CASE, headers=headers)
    assert {row["platform"] for row in answer.json()} == {"iOS"}
    assert answer.headers["x-platforms"] == "iOS"
    assert problem(client.get("/v1/ctr", params={**CASE, "platform": "Android"}, headers=headers)).code == "forbidden"
    assert client.get("/v1/platforms", headers=headers).json() == ["iOS"]
    everything = client.get("/v1/ctr", params=CASE, headers=bearer(FIRST.sign()))
    assert {row["platform"] for row in everything.json()} == {"iOS", "Android"}


@pytest.mark.parametrize("claim", [[], "", ["tv"], ["ios"], None, 1, {"iOS": True}, [["iOS"]], [None]])
def test_a_claim_of_platforms_without_one_that_there_is_opens_none_instead_of_all(shared, claim):
    client, _ = shared
    answer = client.get("/v1/platforms", headers=bearer(FIRST.sign(platforms=claim)))
    assert problem(answer).code == "forbidden"


def test_a_subject_may_ask_so_often_a_minute_with_however_many_tokens(start):
    client = start(key_requests=3)
    told = [client.get("/v1/platforms", headers=bearer(FIRST.sign(jti=str(number)))) for number in range(3)]
    assert [answer.headers["ratelimit"].split(";")[1] for answer in told] == ["r=2", "r=1", "r=0"]
    answer = client.get("/v1/platforms", headers=bearer(FIRST.sign()))
    assert problem(answer).code == "too_many_requests"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert status(client, FIRST.sign(sub="another")) == 200


def test_forged_tokens_are_slowed_while_good_and_old_ones_of_the_same_address_are_told_as_they_are(start):
    client = start(key_guesses=5)
    assert [status(client, hs256(b"guess", kid="first")) for _ in range(8)] == [401] * 5 + [429] * 3
    assert [status(client, FIRST.sign(exp=1)) for _ in range(8)] == [401] * 8
    assert status(client, FIRST.sign()) == 200


def test_keys_and_tokens_may_be_on_together(start, tmp_path):
    secret, key = make_key("shop", ("read",), ("Android",), None)
    write_keys(tmp_path / "keys.json", (key,))
    client = start(api_keys_file=str(tmp_path / "keys.json"))
    assert client.get("/v1/platforms", headers=bearer(secret)).json() == ["Android"]
    assert client.get("/v1/platforms", headers={"X-API-Key": secret}).json() == ["Android"]
    assert client.get("/v1/platforms", headers=bearer(FIRST.sign(platforms="iOS"))).json() == ["iOS"]
    assert status(client, secret + "x") == 401
    assert "or a JWT" in problem(client.get("/v1/platforms")).detail


def test_metrics_tell_how_old_the_keys_are(shared):
    client, _ = shared
    assert status(client, FIRST.sign()) == 200
    text = client.get("/metrics", headers=bearer(FIRST.sign(scope="metrics"))).text
    assert float(re.findall(r"^ctr_jwks_age_seconds (.*)$", text, re.M)[0]) >= 0


def test_the_log_has_neither_token_nor_subject(start, caplog):
    client = start()
    token = FIRST.sign(sub="jane.doe@shop.example")
    with caplog.at_level(logging.DEBUG):
        assert status(client, token) == 200
        assert status(client, token + "x") == 401
    text = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("serving"))
    assert "jane.doe" not in text
    assert token.split(".")[1] not in text
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "serving.access"]
    assert lines[0]["key"].startswith("jwt_")
    assert lines[1]["key"] is None
