from __future__ import annotations

import pytest

from tests.serving.lake import view
from tests.serving.reply.test_problems import problem

SHOP = "https://shop.example"
ASKED = {
    "Origin": SHOP,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type, x-api-key",
}


@pytest.fixture
def client(lake, serve):
    lake.publish([view("2016-01-03 14:00:00")])
    return serve(lake, cors_origins=(SHOP,))


def test_pages_of_other_origins_read_nothing_unless_they_are_named(client, lake, serve):
    origin = {"Origin": SHOP}
    assert "access-control-allow-origin" not in serve(lake).get("/health/live", headers=origin).headers
    headers = client.get("/health/live", headers=origin).headers
    assert headers["access-control-allow-origin"] == SHOP
    assert "X-Data-Version" in headers["access-control-expose-headers"]
    other = client.get("/health/live", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_a_page_that_is_named_gets_leave_for_what_the_service_takes(client):
    response = client.options("/v1/ctr", headers=ASKED)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == SHOP
    assert response.headers["access-control-allow-methods"] == "GET, HEAD, POST"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"Origin": "https://evil.example"},
            "the origin https://evil.example is none of those in the setting cors_origins.",
        ),
        ({"Access-Control-Request-Method": "DELETE"}, "the method DELETE is none of GET, HEAD, POST."),
        (
            {"Access-Control-Request-Headers": "content-type, x-evil,X-Other"},
            "the headers x-evil, X-Other are none of Authorization, Content-Type, If-None-Match, X-API-Key, X-Request-Id.",
        ),
        (
            {"Access-Control-Request-Private-Network": "true"},
            "a page of a public network may not ask a service of a private one.",
        ),
    ],
)
def test_a_refused_preflight_is_a_problem_that_names_what_was_asked(client, asked, told):
    response = client.options("/v1/ctr", headers={**ASKED, **asked, "X-Request-Id": "mine"})
    found = problem(response)
    assert (found.status, found.code, found.requestId) == (403, "cors_refused", "mine")
    assert found.detail == f"A page of another origin may not send this request: {told}"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert "Origin" in response.headers["vary"]
    assert int(response.headers["content-length"]) == len(response.content)
    if "Origin" not in asked:
        assert response.headers["access-control-allow-origin"] == SHOP


def test_every_fault_of_a_preflight_is_told_and_counted(client):
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
    detail = problem(client.options("/v1/ctr", headers=asked)).detail
    assert "https://evil.example" in detail
    assert "PUT" in detail
    assert 'ctr_refusals_total{code="cors_refused"} 1.0' in client.get("/metrics").text
