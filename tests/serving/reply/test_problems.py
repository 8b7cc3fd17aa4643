from __future__ import annotations

import json

import pytest

from serving.openapi.shapes import Problem
from tests.serving.lake import view
from tests.serving.load.test_connections import OLD, connect, read
from tests.serving.reply.test_answers import BODY, CASE


@pytest.fixture
def client(lake, serve):
    lake.publish([view("2016-01-03 14:00:00")])
    return serve(lake, body_bytes=1000)


def problem(response) -> Problem:
    """The problem document of a response, checked against its shape and its headers."""
    assert response.headers["content-type"] == "application/problem+json"
    found = Problem.model_validate_json(response.text)
    assert found.status == response.status_code
    assert found.requestId == response.headers["x-request-id"]
    assert found.type == f"/docs#{found.code}"
    return found


def test_an_unknown_address_is_404(client):
    for path in ("/nothing", "/v1/ctr/", "/v1"):
        assert problem(client.get(path)).code == "not_found"
    assert problem(client.get("/nothing")).detail == "There is nothing at this address. /docs lists what there is."


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/ctr", "GET, HEAD, POST"),
        ("PUT", "/v1/ctr", "GET, HEAD, POST"),
        ("POST", "/v1/products", "GET, HEAD"),
        ("POST", "/docs", "GET, HEAD"),
    ],
)
def test_a_method_that_an_address_does_not_take_is_405_with_those_it_takes(client, method, path, allowed):
    response = client.request(method, path)
    assert problem(response).code == "method_not_allowed"
    assert response.headers["allow"] == allowed
    assert allowed in response.json()["detail"]


def test_every_fault_of_a_request_is_listed(client):
    found = problem(client.get("/v1/ctr?startTimestamp=x&aggregation=0&platform=tv&fill=ones&format=xml"))
    assert found.code == "invalid_request"
    assert [(fault.parameter, fault.code) for fault in found.errors or []] == [
        ("startTimestamp", "time_format"),
        ("endTimestamp", "missing"),
        ("fill", "unknown_fill"),
        ("format", "unknown_format"),
        ("platform", "unknown_platform"),
        ("aggregation", "out_of_range"),
    ]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"product": "\\ud800"}', b'{"\\ud800": 1}'])
def test_a_body_that_cannot_be_used_is_422(client, body):
    assert problem(client.post("/v1/ctr", content=body)).code == "invalid_request"


def test_a_post_takes_no_query(client):
    found = problem(client.post("/v1/ctr?detail=true", json=BODY))
    assert [fault.parameter for fault in found.errors or []] == ["detail"]


def test_a_body_above_the_limit_is_413_with_and_without_a_length(client):
    body = json.dumps({**BODY, "product": ["x" * 50] * 20}).encode()
    assert len(body) > 1000
    found = problem(client.post("/v1/ctr", content=body))
    assert found.code == "body_too_large"
    limit = "the limit is 1000 (setting body_bytes). A body of 1000 bytes would pass: ask for fewer products at once"
    assert found.detail == f"The body has {len(body)} bytes; {limit}, in 2 requests or more."
    found = problem(client.post("/v1/ctr", content=iter([body[:600], body[600:]])))
    assert found.code == "body_too_large"
    assert found.detail == f"The body has more than 1000 bytes; {limit}, in several requests."
    assert client.post("/v1/ctr", json=BODY).status_code == 200


def test_a_failure_inside_tells_nothing_but_its_request_id(client, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("the secret path /srv/lake")

    monkeypatch.setattr("serving.reply.answers.make_plan", broken)
    for response in (client.get("/v1/ctr", params=CASE), client.post("/v1/ctr", json=BODY)):
        found = problem(response)
        assert (found.status, found.code) == (500, "internal_error")
        assert "secret" not in response.text
        assert found.requestId in caplog.text
    assert "the secret path /srv/lake" in caplog.text
    monkeypatch.undo()
    assert client.get("/v1/ctr", params=CASE).status_code == 200


def test_a_stream_over_http_1_0_whose_source_fails_is_no_end_but_a_reset(lake, serve, failing_source):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:06}" * 20) for number in range(5000)])
    with connect(serve(lake, stream_rows=1000)) as connection:
        connection.sendall(OLD)
        with pytest.raises(ConnectionResetError):
            read(connection)


def test_a_client_may_name_its_request(client):
    assert client.get("/health/live", headers={"X-Request-Id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"


@pytest.mark.parametrize("given_id", ["", "a b", "x" * 65, "a;b", "é".encode().decode("latin-1")])
def test_an_id_that_is_not_fit_for_a_log_is_replaced(client, given_id):
    answered = client.get("/health/live", headers={"X-Request-Id": given_id.encode("latin-1")}).headers["x-request-id"]
    assert answered != given_id
    assert len(answered) == 32
