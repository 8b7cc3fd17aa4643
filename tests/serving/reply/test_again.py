"""Requests that come again: the answer is that of the routes, to the byte, and never another's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.keys import make_key, write_keys
from tests.serving.conftest import eventually, patient
from tests.serving.lake import purchase, view

CASE = {"startTimestamp": "2016-01-03 00:00:00", "endTimestamp": "2016-01-05 00:00:00", "aggregation": "60"}
VIEWS = [view(f"2016-01-03 {hour:02}:00:00", product, "Android") for hour in range(24) for product in ("a", "b")]
VIEWS += [view("2016-01-03 13:55:00", "a"), view("2016-01-04 13:55:00", "late")]
PURCHASES = [purchase("2016-01-03 14:00:00", "a")]
OWN = {"server-timing", "x-request-id", "date"}
"""Headers of one answer alone."""


@pytest.fixture
def client(lake, serve):
    lake.publish(VIEWS, PURCHASES)
    return serve(lake)


def told(response):
    """An answer without what is of it alone. The body as it came, not unpacked."""
    headers = {name: value for name, value in response.headers.items() if name not in OWN}
    return response.status_code, headers, response.content


def serves(client, number):
    """Wait until a publication is served."""
    eventually(lambda: client.get("/v1/status").headers["x-data-version"] == str(number))


def without_routes(monkeypatch):
    """From now on no request may come as far as to be read."""
    monkeypatch.setattr("serving.routes.ctr_from_query", lambda *_: pytest.fail("the request was read"))


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd", "gzip;q=0.5, zstd"])
@pytest.mark.parametrize("kind", ["json", "csv", "ndjson", "arrow", "parquet"])
def test_the_third_answer_is_the_first_and_needs_no_reading(client, monkeypatch, kind, coding):
    def ask():
        return client.get("/v1/ctr", params={**CASE, "format": kind}, headers={"Accept-Encoding": coding})

    first = ask()
    assert len(client.store.cache) == 1
    second = ask()
    without_routes(monkeypatch)
    third = ask()
    assert told(first) == told(second) == told(third)
    assert third.headers["server-timing"].startswith('plan;desc="ctr_hour", source;desc="delta", cache;dur=')
    assert third.headers["x-request-id"] != second.headers["x-request-id"]
    assert client.store.cache.hits == 2


def test_what_is_kept_is_counted_and_bounded(lake, serve):
    lake.publish(VIEWS, PURCHASES)
    client = serve(lake, cache_bytes=100_000)
    for number in range(30):
        for _ in range(3):
            assert client.get("/v1/ctr", params={**CASE, "product": f"p{number}"}).status_code == 200
    assert 50_000 < client.store.cache.bytes <= 100_000


@pytest.mark.parametrize("settings_", [{"cache_bytes": 0}, {}])
def test_without_a_cache_and_for_long_addresses_every_request_is_read(lake, serve, monkeypatch, settings_):
    lake.publish(VIEWS, PURCHASES)
    client = serve(lake, **settings_)
    products = {} if settings_ else {"product": [f"product-{number}" for number in range(200)]}
    read = []
    monkeypatch.setattr("serving.routes.check_size", lambda *_: read.append(1))
    for _ in range(4):
        assert client.get("/v1/ctr", params={**CASE, **products}).status_code == 200
    assert len(read) == 4


def test_a_client_that_has_the_answer_gets_304_and_one_that_asks_for_the_head_gets_it(client):
    first, *_ = (client.get("/v1/ctr", params=CASE) for _ in range(3))
    tag = {"If-None-Match": first.headers["etag"]}
    assert [client.get("/v1/ctr", params=CASE, headers=tag).status_code for _ in range(3)] == [304] * 3
    head = client.head("/v1/ctr", params=CASE)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", first.headers["etag"])


def test_a_refusal_is_not_kept(client):
    answers = [client.get("/v1/ctr", params={**CASE, "aggregation": "0"}) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {422}
    assert len({answer.json()["requestId"] for answer in answers}) == 3


def test_an_older_publication_that_is_asked_for_by_its_number_stays_it(client, lake):
    def views(number):
        answer = client.get("/v1/ctr", params={**CASE, "product": "late", "detail": "true", "asOf": number})
        return answer.headers["x-data-version"], answer.json()[0]["views"]

    assert [views(1) for _ in range(3)] == [("1", 1)] * 3
    lake.publish([*VIEWS, view("2016-01-04 13:55:01", "late")], PURCHASES)
    serves(client, 2)
    assert [views(1) for _ in range(3)] == [("1", 1)] * 3
    assert [views(2) for _ in range(3)] == [("2", 2)] * 3


def test_a_key_gets_what_is_its_own_and_one_that_is_revoked_nothing(lake, serve, tmp_path):
    file = tmp_path / "keys.json"
    made = [make_key(name, ("read",), platforms, None) for name, platforms in (("ios", ("iOS",)), ("all", ()))]
    write_keys(file, tuple(key for _, key in made))
    lake.publish(VIEWS, PURCHASES)
    client = serve(lake, api_keys_file=str(file))

    def ask(secret):
        return client.get("/v1/ctr", params=CASE, headers={"X-API-Key": secret})

    for secret, platforms in [(made[0][0], {"iOS"}), (made[1][0], {"iOS", "Android"})]:
        answers = [ask(secret) for _ in range(3)]
        assert [{row["platform"] for row in answer.json()} for answer in answers] == [platforms] * 3
        assert len({answer.headers["ratelimit"] for answer in answers}) == 3
        assert {answer.headers["vary"] for answer in answers} == {answers[0].headers["vary"]}
    write_keys(file, (made[1][1],))
    eventually(lambda: ask(made[0][0]).status_code == 401)
    assert ask(made[1][0]).status_code == 200


ACCEPTS = st.sampled_from([None, "application/json", "text/csv", "text/csv;q=0.5, application/x-ndjson", "image/png"])
CODINGS = st.sampled_from([None, "gzip", "zstd", "identity;q=0"])
QUERIES = st.sampled_from(
    [
        CASE,
        {**CASE, "product": "a"},
        {**CASE, "product": ["a", "b"]},
        {**CASE, "detail": "true"},
        {**CASE, "strict": "true"},
        {**CASE, "format": "csv"},
        {**CASE, "asOf": "1"},
        {**CASE, "timezone": "America/Sao_Paulo"},
        {**CASE, "platform": "ios"},
        {**CASE, "nonsense": "1"},
    ]
)


def test_whatever_is_asked_in_whichever_order_is_answered_as_without_a_cache(lake, serve):
    lake.publish(VIEWS, PURCHASES)
    cached, uncached = serve(lake), serve(lake, cache_bytes=0)

    def publish():
        number = lake.announce()
        serves(cached, number)
        serves(uncached, number)

    @settings(patient, max_examples=12)
    @given(st.lists(st.tuples(QUERIES, ACCEPTS, CODINGS), min_size=3, max_size=6), st.integers(0, 17))
    def ask(steps, before):
        for number, (query, accept, coding) in enumerate([*steps, *steps, *steps]):
            if number == before:
                publish()
            headers = {"Accept": accept or "*/*", "Accept-Encoding": coding or ""}
            mine, other = (client.get("/v1/ctr", params=query, headers=headers) for client in (cached, uncached))
            if mine.status_code == 200:
                assert told(mine) == told(other)
            else:
                assert (mine.status_code, mine.json()["code"]) == (other.status_code, other.json()["code"])

    ask()
    assert cached.store.cache.hits > 20
