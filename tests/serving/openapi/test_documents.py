from __future__ import annotations

import json
import re
from html import escape, unescape
from html.parser import HTMLParser
from typing import get_args

import pytest
import schemathesis
from fastapi import FastAPI
from jsonschema_rs import ValidationError
from pydantic import TypeAdapter

from serving.errors import PROBLEMS
from serving.faults import FAULTS, FaultCode
from serving.keys import make_key, write_keys
from serving.main import create_app
from serving.openapi.documents import add_docs
from serving.openapi.page import CONTENT_SECURITY_POLICY
from serving.openapi.shapes import CtrBody, CtrDetailRow, CtrRow
from serving.request.parameters import ctr_from_query
from serving.routes import router
from serving.settings import Settings
from tests.serving.lake import view


@pytest.fixture(scope="module")
def document():
    return create_app(Settings(lake="/nowhere")).openapi()


class Page(HTMLParser):
    """The ids, links and loaded addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.add(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if "href" in values else []
        assert "src" not in values
        assert "style" not in values


@pytest.fixture
def client(lake, serve):
    lake.publish([view("2016-02-02 14:00:00", "20001829_048")])  # as the sample
    return serve(lake)


def test_every_address_is_described(document):
    assert sorted((path, method) for path, methods in document["paths"].items() for method in methods) == [
        ("/health/live", "get"),
        ("/health/ready", "get"),
        ("/metrics", "get"),
        ("/v1/ctr", "get"),
        ("/v1/ctr", "post"),
        ("/v1/ctr/changes", "get"),
        ("/v1/platforms", "get"),
        ("/v1/products", "get"),
        ("/v1/status", "get"),
    ]
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert all(content["schema"] for content in operation["responses"]["200"]["content"].values())


def test_every_address_names_what_can_become_of_any_request(document):
    for methods in document["paths"].values():
        for operation in methods.values():
            assert {"400", "405", "406", "408", "414", "431", "500"} <= set(operation["responses"])
            assert list(operation["responses"]) == sorted(operation["responses"])


def test_every_address_that_waits_for_a_query_names_what_becomes_of_one_that_takes_too_long(document):
    timed = {
        path
        for path, methods in document["paths"].items()
        if all("504" in one["responses"] for one in methods.values())
    }
    assert timed == {"/v1/ctr", "/v1/ctr/changes", "/v1/products"}


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/v1/status", "/v1/platforms", "/v1/ctr/changes"])
def test_what_is_said_of_every_address_holds(lake, serve, path):
    client = serve(lake, url_bytes=300)
    assert client.get(path, headers={"Accept-Encoding": "identity;q=0,*;q=0"}).status_code == 406
    assert client.get(path, params={"x": "x" * 300}).status_code == 414


def codes_of(document, path, status):
    return set(
        re.findall(r"\(`(\w+)`\)", document["paths"][path]["get"]["responses"].get(status, {}).get("description", ""))
    )


def test_an_address_names_those_refusals_alone_that_it_can_give(document):
    none = {"not_ready", "loading", "broken"}
    assert codes_of(document, "/health/ready", "503") == none
    assert codes_of(document, "/health/live", "503") == set()
    assert codes_of(document, "/metrics", "503") == {"token_keys_unavailable"}
    assert codes_of(document, "/v1/status", "503") == none | {"token_keys_unavailable"}
    assert codes_of(document, "/v1/ctr", "503") > none | {
        "busy",
        "lake_unreadable",
        "out_of_memory",
        "heavy_process_lost",
    }
    every = {
        code
        for methods in document["paths"].values()
        for operation in methods.values()
        for answer in operation["responses"].values()
        for code in re.findall(r"\(`(\w+)`\)", answer["description"])
    }
    assert {kind.code for kind in PROBLEMS} - every == {"not_found", "cors_refused"}
    assert all(f"`{code}`" in document["info"]["description"] for code in ("not_found", "cors_refused"))


OF_ANY_ANSWER = {
    *("date", "server", "content-type", "content-length", "cache-control"),
    *("x-content-type-options", "x-frame-options", "referrer-policy", "content-security-policy"),
}


def test_every_header_of_an_answer_is_described(lake, serve, tmp_path):
    lake.publish([view("2016-01-03 14:00:00", "a")])
    secret, key = make_key("someone", ("read", "metrics"), ("iOS",), None)
    write_keys(tmp_path / "keys.json", (key,))
    client = serve(lake, api_keys_file=str(tmp_path / "keys.json"))
    paths = client.get("/openapi.json").json()["paths"]
    body = {"startTimestamp": "2016-01-03T00:00", "endTimestamp": "2016-01-04T00:00", "aggregation": 60, "detail": True}
    for path, methods in paths.items():
        for method, operation in methods.items():
            params = {"/v1/ctr": body | {"detail": "true"}, "/v1/ctr/changes": {"since": 1}}.get(path)
            asked = {"json": body} if method == "post" else {"params": params}
            answer = client.request(method, path, headers={"X-API-Key": secret, "Accept-Encoding": "gzip"}, **asked)
            assert answer.status_code == 200, (path, answer.text)
            described = {name.lower() for name in operation["responses"]["200"]["headers"]}
            assert set(answer.headers) - OF_ANY_ANSWER <= described, path
            tagged = "etag" in answer.headers and method == "get"
            assert ("304" in operation["responses"]) == tagged, path


KEYS = {"api_keys_file": "/nowhere/keys.json"}
JWTS = {"jwt_jwks": "https://issuer.example/jwks.json", "jwt_issuer": "i", "jwt_audience": "a"}


def documented(**settings):
    app = FastAPI()
    add_docs(app, Settings(lake="/nowhere", **settings))
    app.include_router(router)
    return app.openapi()


@pytest.mark.parametrize("access", [{}, KEYS, JWTS, {**KEYS, **JWTS}])
def test_the_document_is_valid_openapi(access):
    schemathesis.openapi.from_dict(documented(**access)).validate()


def test_a_document_that_is_not_valid_is_noticed(document):
    with pytest.raises(ValidationError):
        schemathesis.openapi.from_dict({**document, "paths": {"/x": {"get": {"responses": 1}}}}).validate()


@pytest.mark.parametrize(
    ("access", "schemes"), [(KEYS, {"bearer", "apiKey"}), (JWTS, {"bearer"}), ({**KEYS, **JWTS}, {"bearer", "apiKey"})]
)
def test_where_access_is_closed_the_document_names_what_opens_it(access, schemes):
    found = documented(**access)
    assert set(found["components"]["securitySchemes"]) == schemes
    for path, methods in found["paths"].items():
        scope = "metrics" if path == "/metrics" else "read" if path.startswith("/v1/") else None
        for operation in methods.values():
            assert [next(iter(choice.items())) for choice in operation["security"]] == (
                [(scheme, [scope]) for scheme in ("bearer", "apiKey") if scheme in schemes] if scope else []
            )


def test_where_access_is_open_the_document_asks_for_nothing(document):
    assert "securitySchemes" not in document["components"]
    assert not any("security" in operation for methods in document["paths"].values() for operation in methods.values())


def test_the_page_says_which_scope_an_address_wants(lake, serve, tmp_path):
    write_keys(tmp_path / "keys.json", ())
    text = serve(lake, api_keys_file=str(tmp_path / "keys.json")).get("/docs").text
    assert text.count("Wants a key of the scope <code>read</code>.") == 6
    assert text.count("Wants a key of the scope <code>metrics</code>.") == 1


def test_every_reference_of_the_document_leads_somewhere(document):
    references = set(re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(document)))
    assert references <= set(document["components"]["schemas"])
    assert "CtrRow" in references


def test_every_code_is_listed_with_its_meaning_in_the_document_and_on_the_page(document, client):
    shapes = document["components"]["schemas"]
    assert set(shapes["Problem"]["properties"]["code"]["enum"]) == {kind.code for kind in PROBLEMS}
    assert shapes["FaultShape"]["properties"]["code"]["enum"] == list(get_args(FaultCode)) == list(FAULTS)
    text = client.get("/docs").text
    assert all(f"<code>{code}</code></td><td>{about}</td>" in text for code, about in FAULTS.items())


def test_the_limits_of_a_request_are_told_as_they_are_set(lake, serve):
    client = serve(lake, range_days=7)
    assert client.get("/openapi.json").json()["info"]["x-limits"]["range_days"] == {
        "value": 7,
        "description": "longest range of one request, in days",
    }
    assert (
        "<code>range_days</code></td><td>7</td><td>longest range of one request, in days</td>"
        in client.get("/docs").text
    )


def test_the_rows_are_described_exactly(document):
    row = document["components"]["schemas"]["CtrRow"]
    assert list(row["properties"]) == row["required"] == ["timestamp", "platform", "product", "CTR"]
    assert row["additionalProperties"] is False


def test_the_examples_are_of_the_shapes_that_they_show(document):
    examples = document["paths"]["/v1/ctr"]["get"]["responses"]["200"]["content"]["application/json"]["examples"]
    TypeAdapter(list[CtrRow]).validate_python(examples["rows"]["value"])
    TypeAdapter(list[CtrDetailRow]).validate_python(examples["detail"]["value"])
    CtrBody.model_validate(
        document["paths"]["/v1/ctr"]["post"]["requestBody"]["content"]["application/json"]["example"]
    )


def test_the_parameters_described_are_those_that_are_read(document):
    described = [parameter["name"] for parameter in document["paths"]["/v1/ctr"]["get"]["parameters"]]
    assert described == list(CtrBody.model_fields)
    ctr_from_query(
        b"startTimestamp=2016-01-03T13:55&endTimestamp=2016-01-04T13:55&aggregation=60"
        b"&product=a&platform=iOS&timezone=UTC&detail=false&strict=false&fill=none&ci=0.95&format=json"
    )


def test_the_document_and_the_page_are_served_without_a_lake(lake, serve):
    client = serve(lake)
    assert client.get("/openapi.json").json()["openapi"].startswith("3.")
    assert client.get("/docs").status_code == 200


def test_the_page_loads_nothing_from_anywhere_and_runs_no_script(client):
    response = client.get("/docs")
    page = Page(response.text)
    assert not page.tags & {"script", "link", "img", "iframe", "object"}
    assert "http" not in response.text.replace(str(client.base_url).rstrip("/"), "")
    assert response.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'")


def test_the_examples_of_the_page_can_be_clicked_and_answer(client):
    links = [link for link in Page(client.get("/docs").text).links if link.startswith("/")]
    assert len(links) == 9
    for link in links:
        assert client.get(link).status_code == 200, link
    (case,) = [link for link in links if link.startswith("/v1/ctr?startTimestamp=2016-02-02+13%3A55%3A00")]
    assert client.get(case).json() == [
        {"timestamp": "2016-02-02 13:55:00", "platform": "iOS", "product": "20001829_048", "CTR": 0.0}
    ]


def test_the_example_of_the_post_names_the_address_by_which_the_page_was_asked(client):
    found = re.search(
        r"curl -H &#x27;Content-Type: application/json&#x27; -d &#x27;(.*)&#x27; ([^<]+)<", client.get("/docs").text
    )
    assert found is not None
    assert found[2] == f"{client.base_url}/v1/ctr"
    assert len(client.post(found[2], json=json.loads(unescape(found[1]))).json()) == 1
    for host in ('a"><script>', "a'b", "[", "a:b:c", ""):
        answer = client.get("/docs", headers={"Host": host})
        assert (answer.status_code, "<script>" in answer.text) == (200, False), host


def test_the_page_shows_every_shape_with_its_members_and_what_they_mean(client, document):
    text = client.get("/docs").text
    for name, shape in document["components"]["schemas"].items():
        assert f'<h3 id="{name}">' in text
        for member, told in shape["properties"].items():
            assert f"<td><code>{member}</code></td>" in text
            assert escape(told.get("description", "")).replace("`", "") in text.replace("<code>", "").replace(
                "</code>", ""
            )
    assert "<code>final</code> or <code>provisional</code> or <code>partial</code>" in text
    assert 'list of <a href="#PlatformStatus">PlatformStatus</a>' in text


def test_the_page_shows_the_example_with_four_digits_and_each_problem_under_its_type(client):
    text = client.get("/docs").text
    assert "What was sent is no HTTP/1.1 request." in text
    page = Page(text)
    assert "&quot;CTR&quot;: 0.0150" in text
    assert {kind.code for kind in PROBLEMS} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
