from __future__ import annotations

from datetime import date

import pytest

from serving.keys import make_key, read_keys, write_keys
from tests.serving.conftest import eventually
from tests.serving.lake import purchase, view
from tests.serving.reply.test_answers import CASE
from tests.serving.reply.test_problems import problem

VIEWS = [view("2016-01-03 14:00:00", "a", "iOS"), view("2016-01-03 14:00:00", "b", "Android")]


@pytest.fixture
def keys(tmp_path):
    """Three keys in a file: of everything, of iOS alone, of the metrics alone."""
    made = {
        "all": make_key("shop", ("read",), (), None),
        "ios": make_key("app", ("read",), ("iOS",), None),
        "metrics": make_key("prometheus", ("metrics",), (), None),
    }
    write_keys(tmp_path / "keys.json", tuple(key for _, key in made.values()))
    return {name: {"Authorization": f"Bearer {secret}"} for name, (secret, _) in made.items()}


@pytest.fixture
def start(lake, serve, tmp_path, keys):
    def begin(**settings):
        lake.publish(VIEWS, [purchase("2016-01-03 14:00:00", "a")])
        return serve(lake, api_keys_file=str(tmp_path / "keys.json"), **settings)

    return begin


def test_without_a_key_the_data_are_401_and_health_docs_and_page_are_open(start):
    client = start()
    for path in ("/v1/ctr", "/v1/products", "/v1/platforms", "/v1/status", "/v1/nothing", "/metrics"):
        answer = client.get(path)
        assert problem(answer).code == "unauthorized"
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/health/live", "/health/ready", "/docs", "/openapi.json", "/"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/metrics%0A", "/metrics%0a", "/metrics%00", "/%0A", "/v1/status%0A", "/%7F"])
def test_an_address_with_a_control_character_is_404_with_a_key_and_without(start, keys, path):
    client = start()
    assert problem(client.get(path)).code == "not_found"
    assert problem(client.get(path, headers=keys["metrics"])).code == "not_found"


def test_a_key_opens_by_either_header_and_a_wrong_one_does_not(start, keys):
    client = start()
    assert client.get("/v1/ctr", params=CASE, headers=keys["all"]).status_code == 200
    secret = keys["all"]["Authorization"].removeprefix("Bearer ")
    assert client.get("/v1/status", headers={"X-API-Key": secret}).status_code == 200
    for wrong in ({"X-API-Key": secret + "x"}, {"Authorization": f"Basic {secret}"}, {"Authorization": "Bearer"}):
        assert problem(client.get("/v1/status", headers=wrong)).code == "unauthorized"


def test_a_key_without_the_scope_is_403(start, keys):
    found = problem(start().get("/v1/status", headers=keys["metrics"]))
    assert (found.status, found.code) == (403, "forbidden")
    assert "has the scopes metrics; this address wants read" in found.detail


def test_a_key_of_one_platform_sees_nothing_of_the_others(start, keys):
    client = start()

    def get(path, **params):
        return client.get(path, params=params, headers=keys["ios"])

    answer = get("/v1/ctr", **CASE)
    assert {row["platform"] for row in answer.json()} == {"iOS"}
    assert answer.headers["x-platforms"] == "iOS"
    assert get("/v1/ctr", **CASE, platform="ios").json() == answer.json()
    found = problem(get("/v1/ctr", **CASE, platform=["iOS", "Android"]))
    assert (found.status, found.code) == (403, "forbidden")
    assert "This key is for iOS; asked for Android." in found.detail
    body = {**CASE, "aggregation": 60, "platform": "Android"}
    assert client.post("/v1/ctr", json=body, headers=keys["ios"]).status_code == 403
    assert get("/v1/products").json() == ["a"]
    assert get("/v1/platforms").json() == ["iOS"]
    status = get("/v1/status").json()
    assert [facts["platform"] for facts in status["platforms"]] == ["iOS"]
    assert status["lastRuns"] == []
    assert {row["platform"] for row in get("/v1/ctr/changes", since=1).json()["changed"]} <= {"iOS"}
    everything = client.get("/v1/ctr", params=CASE, headers=keys["all"])
    assert {row["platform"] for row in everything.json()} == {"iOS", "Android"}
    assert "x-platforms" not in everything.headers


def test_an_answer_kept_for_one_key_is_not_given_to_another(start, keys):
    client = start()
    tag = client.get("/v1/ctr", params=CASE, headers=keys["all"]).headers["etag"]
    mine = client.get("/v1/ctr", params=CASE, headers={**keys["ios"], "If-None-Match": tag})
    assert mine.status_code == 200
    assert "Authorization" in mine.headers["vary"]


def test_a_revoked_key_ends_and_a_new_one_begins_without_restart(start, keys, tmp_path):
    client = start()
    secret, key = make_key("late", ("read",), (), None)
    write_keys(tmp_path / "keys.json", (key,))
    eventually(lambda: client.get("/v1/status", headers={"X-API-Key": secret}).status_code == 200)
    assert client.get("/v1/status", headers=keys["all"]).status_code == 401


def test_a_key_may_ask_so_often_a_minute_and_learns_how_often_it_still_may(start, keys):
    client = start(key_requests=3)
    left = [client.get("/v1/platforms", headers=keys["all"]).headers["ratelimit"] for _ in range(3)]
    assert [text.split(";")[1] for text in left] == ["r=2", "r=1", "r=0"]
    answer = client.get("/v1/platforms", headers=keys["all"])
    assert problem(answer).code == "too_many_requests"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["ratelimit-policy"] == '"key";q=3;w=60'
    assert client.get("/v1/platforms", headers=keys["ios"]).status_code == 200


def test_wrong_keys_are_slowed_while_good_and_old_ones_of_the_same_address_are_told_as_they_are(start, keys, tmp_path):
    client = start(key_guesses=5)
    secret, key = make_key("late", ("read",), (), date(2016, 1, 3))
    write_keys(tmp_path / "keys.json", (*read_keys(tmp_path / "keys.json"), key))

    def ask(secret):
        return client.get("/v1/platforms", headers={"X-API-Key": secret})

    assert [ask(f"ctr_{guess}").status_code for guess in range(8)] == [401] * 5 + [429] * 3
    assert problem(ask("ctr_guess")).code == "too_many_requests"
    assert client.get("/v1/platforms", headers=keys["all"]).status_code == 200
    for _ in range(8):
        found = problem(ask(secret))
        assert (found.status, found.code) == (401, "unauthorized")
    assert found.detail == "The key has expired on 2016-01-03 (at the end of that day, UTC). Get a new one."
    assert ask(secret + "x").status_code == 429


def test_an_expired_key_is_no_guess(start, tmp_path):
    client = start(key_guesses=1)
    secret, key = make_key("late", ("read",), (), date(2016, 1, 3))
    write_keys(tmp_path / "keys.json", (key,))
    told = [
        client.get("/v1/platforms", headers={"X-API-Key": text}).status_code for text in (secret, secret, "ctr_guess")
    ]
    assert told == [401, 401, 401]


def test_every_answer_carries_the_security_headers(start):
    client = start()
    for path in ("/health/live", "/v1/status", "/docs", "/nothing", "/"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"]
        assert headers["content-security-policy"].startswith("default-src 'none'")


def test_the_docs_can_be_closed(lake, serve):
    client = serve(lake, docs=False)
    assert client.get("/docs").status_code == 404
    assert problem(client.get("/docs")).detail == "There is nothing at this address."
    assert client.get("/openapi.json").status_code == 404
    assert problem(client.delete("/v1/ctr")).code == "method_not_allowed"
