from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from serving.errors import RETRY_SECONDS
from serving.openapi.shapes import CtrDetailRow, CtrRow, Ready, Status
from tests.serving.conftest import eventually
from tests.serving.lake import Lake, purchase, view

CASE = {
    "startTimestamp": "2016-01-03 13:55:00",
    "endTimestamp": "2016-01-04 13:55:00",
    "aggregation": "60",
}
BODY = {**CASE, "aggregation": 60}
VIEWS = [
    view("2016-01-03 13:55:00", "20001829_048"),
    view("2016-01-03 14:54:59.999", "20001829_048"),
    view("2016-01-03 14:55:00", "20001829_048"),
    view("2016-01-03 13:54:59.999", "early"),
    view("2016-01-04 13:55:00", "late"),
    view("2016-01-03 15:00:00", "20005748_001", "Android"),
]
PURCHASES = [
    purchase("2016-01-03 14:00:00", "20001829_048"),
    purchase("2016-01-03 17:00:00", "20005748_001", "Android"),
]
ANSWER = (
    '[{"timestamp":"2016-01-03 13:55:00","platform":"iOS","product":"20001829_048","CTR":0.5000},'
    '{"timestamp":"2016-01-03 14:55:00","platform":"Android","product":"20005748_001","CTR":0.0000},'
    '{"timestamp":"2016-01-03 14:55:00","platform":"iOS","product":"20001829_048","CTR":0.0000},'
    '{"timestamp":"2016-01-03 16:55:00","platform":"Android","product":"20005748_001","CTR":null}]'
)


@pytest.fixture
def client(lake, serve):
    lake.publish(VIEWS, PURCHASES, published_at="2016-01-05 03:00:00", report={"views": 6, "warnings": []})
    return serve(lake)


def test_the_request_of_the_case_gets_the_response_of_the_case(client):
    response = client.get("/v1/ctr", params=CASE)
    assert response.status_code == 200
    assert response.text == ANSWER
    assert response.headers["content-type"] == "application/json"
    TypeAdapter(list[CtrRow]).validate_json(response.text, strict=True)


def test_post_answers_the_same(client):
    assert client.post("/v1/ctr", json=BODY).text == ANSWER


def test_detail_adds_counts_end_and_status(client):
    response = client.get("/v1/ctr", params={**CASE, "detail": "true"})
    rows = TypeAdapter(list[CtrDetailRow]).validate_json(response.text)
    assert [(row.views, row.purchases, row.bucketEnd) for row in rows] == [
        (2, 1, "2016-01-03 14:55:00"),
        (1, 0, "2016-01-03 15:55:00"),
        (1, 0, "2016-01-03 15:55:00"),
        (0, 1, "2016-01-03 17:55:00"),
    ]


def test_times_are_read_and_written_in_the_zone(client):
    local = {"startTimestamp": "2016-01-03 11:55:00", "endTimestamp": "2016-01-04 11:55:00", "aggregation": "60"}
    response = client.get("/v1/ctr", params={**local, "timezone": "America/Sao_Paulo"})
    assert [row["CTR"] for row in response.json()] == [row["CTR"] for row in json.loads(ANSWER)]
    assert response.json()[0]["timestamp"] == "2016-01-03 11:55:00"


def test_an_unknown_product_is_an_empty_answer(client):
    response = client.get("/v1/ctr", params={**CASE, "product": "nothing"})
    assert (response.status_code, response.text, response.headers["x-row-count"]) == (200, "[]", "0")


def test_filters_may_repeat_and_a_platform_may_be_in_any_case(client):
    both = client.get("/v1/ctr", params={**CASE, "platform": ["ios", "ANDROID"]})
    assert both.text == ANSWER
    one = client.get("/v1/ctr", params={**CASE, "platform": "ANDROID", "product": ["20005748_001", "x"]})
    assert {row["platform"] for row in one.json()} == {"Android"}


def test_facts_travel_in_headers(client):
    headers = client.get("/v1/ctr", params=CASE).headers
    assert headers["x-data-version"] == "1"
    assert headers["x-row-count"] == "4"
    assert headers["content-length"] == str(len(ANSWER))
    assert headers["x-watermark"] == "2016-01-03T14:00:00Z"
    assert headers["cache-control"] == "no-cache"
    assert re.fullmatch(r'plan;desc="ctr_minute", source;desc="delta", query;dur=\d+\.\d', headers["server-timing"])
    assert re.fullmatch(r"[0-9a-f]{32}", headers["x-request-id"])
    assert "x-source" not in headers


def test_a_detailed_answer_names_what_its_counts_come_from_also_when_it_is_kept(client):
    made, kept = (client.get("/v1/ctr", params={**CASE, "detail": "true"}).headers for _ in range(2))
    assert "query;" in made["server-timing"]
    assert "cache;" in kept["server-timing"]
    assert made["x-source"] == kept["x-source"] == "ctr_minute from delta"


def test_the_watermark_is_that_of_the_platforms_asked_for(client):
    android = client.get("/v1/ctr", params={**CASE, "platform": "Android"}).headers
    assert android["x-watermark"] == "2016-01-03T15:00:00Z"
    assert "x-watermark" not in client.get("/v1/ctr", params={**CASE, "platform": "MobileWeb"}).headers


def test_the_etag_of_an_unchanged_answer_saves_the_query(client, monkeypatch):
    first = client.get("/v1/ctr", params=CASE)

    def no_query(*_):
        raise AssertionError("a query was made")

    monkeypatch.setattr("serving.reply.parts.ctr", no_query)
    for tag in (first.headers["etag"], "W/" + first.headers["etag"], f'"x", {first.headers["etag"]}', "*"):
        response = client.get("/v1/ctr", params=CASE, headers={"If-None-Match": tag})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == first.headers["etag"]
        assert response.headers["x-data-version"] == "1"


def test_the_etag_is_that_of_the_request_as_understood(client):
    tag = client.get("/v1/ctr", params=CASE).headers["etag"]
    same = {"startTimestamp": "2016-01-03T10:55-03:00", "endTimestamp": "2016-01-04T13:55Z", "aggregation": "060"}
    assert client.get("/v1/ctr", params=same).headers["etag"] == tag
    others = [{"aggregation": "61"}, {"detail": "true"}, {"product": "x"}, {"timezone": "Etc/UTC"}]
    assert len({client.get("/v1/ctr", params={**CASE, **other}).headers["etag"] for other in others} | {tag}) == 5


def test_a_new_publication_is_seen_without_restart_and_changes_the_etag(client, lake):
    tag = client.get("/v1/ctr", params=CASE).headers["etag"]
    lake.publish([*VIEWS, view("2016-01-03 13:56:00", "20001829_048")], PURCHASES)
    eventually(lambda: client.get("/v1/platforms").headers["x-data-version"] == "2")
    response = client.get("/v1/ctr", params=CASE, headers={"If-None-Match": tag})
    assert response.status_code == 200
    assert response.json()[0]["CTR"] == 0.3333


def test_a_lake_made_anew_with_the_same_number_changes_the_etag(client, lake):
    tag = client.get("/v1/ctr", params=CASE).headers["etag"]
    lake.remove()
    lake.publish(VIEWS, PURCHASES, published_at="2016-01-05 03:00:00")
    eventually(lambda: client.get("/v1/ctr", params=CASE).headers.get("etag") not in (tag, None))
    assert client.get("/v1/ctr", params=CASE).headers["x-data-version"] == "1"


def test_products_are_found_by_a_part_of_their_name_in_any_case_and_literally(lake, serve):
    names = ["b_1", "B%1", "ab", "É", "zz", "a\\b"]
    lake.publish([view("2016-01-03 00:00:00", name, platform) for name in names for platform in ("iOS", "Android")])
    client = serve(lake)

    def found(**params) -> list[str]:
        response = client.get("/v1/products", params=params)
        assert response.headers["x-row-count"] == str(len(response.json()))
        return response.json()

    assert found() == sorted(names, key=str.encode)
    assert found(search="B") == ["B%1", "b_1", "a\\b", "ab"]
    assert found(search="_") == ["b_1"]
    assert found(search="%") == ["B%1"]
    assert found(search="é") == ["É"]
    assert found(search="\\") == ["a\\b"]
    assert found(search="nothing") == []
    assert found(limit=2) == ["B%1", "a\\b"]


def test_a_product_typed_in_full_is_the_first_however_many_contain_its_name(lake, serve):
    names = ["b1", "B1", *[f"a_b1_{number}" for number in range(30)], "b10", "b11"]
    lake.publish([view("2016-01-03 00:00:00", name) for name in names])
    found = serve(lake).get("/v1/products", params={"search": "b1", "limit": 5}).json()
    assert found == ["B1", "b1", "b10", "b11", "a_b1_0"]


def test_products_have_an_etag(client):
    tag = client.get("/v1/products").headers["etag"]
    assert client.get("/v1/products", headers={"If-None-Match": tag}).status_code == 304
    assert client.get("/v1/products?limit=3", headers={"If-None-Match": tag}).status_code == 200


def test_platforms_have_an_etag(client):
    tag = client.get("/v1/platforms").headers["etag"]
    again = client.get("/v1/platforms", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)


def test_platforms_are_the_three(client):
    assert client.get("/v1/platforms").json() == ["Android", "MobileWeb", "iOS"]


def test_status_tells_what_is_served_and_how_far_it_reaches(client):
    response = client.get("/v1/status")
    Status.model_validate_json(response.text)
    status = response.json()
    assert status["dataVersion"] == 1
    assert status["publishedAt"] == "2016-01-05T03:00:00Z"
    assert status["problem"] is None
    assert status["platforms"] == [
        {
            "platform": "Android",
            "watermarks": {"views": "2016-01-03T15:00:00Z", "purchases": "2016-01-03T17:00:00Z"},
            "firstDay": "2016-01-03",
            "lastDay": "2016-01-03",
            "days": 1,
            "missingDays": [],
        },
        {
            "platform": "iOS",
            "watermarks": {"views": "2016-01-04T13:55:00Z", "purchases": "2016-01-03T14:00:00Z"},
            "firstDay": "2016-01-03",
            "lastDay": "2016-01-04",
            "days": 2,
            "missingDays": [],
        },
    ]
    assert status["lastRuns"] == [
        {
            "dataVersion": 1,
            "publishedAt": "2016-01-05T03:00:00Z",
            "job": "daily",
            "report": {"views": 6, "warnings": []},
        }
    ]


def test_status_tells_a_publication_that_cannot_be_served(client, lake):
    lake.announce(ctr_day=9)
    problem = eventually(lambda: client.get("/v1/status").json()["problem"])
    assert problem == "Publication 2: table ctr_day cannot be read at version 9."
    assert client.get("/v1/ctr", params=CASE).text == ANSWER
    assert client.get("/health/ready").status_code == 200


def test_without_a_lake_the_service_lives_is_not_ready_and_says_what_to_do(lake, serve):
    client = serve(lake)
    assert client.get("/health/live").status_code == 200
    for path in ("/health/ready", "/v1/products", "/v1/platforms", "/v1/status"):
        response = client.get(path)
        assert response.status_code == 503
        assert response.headers["retry-after"] == str(RETRY_SECONDS)
        assert response.headers["content-type"] == "application/problem+json"
        assert "./spark-submit.sh daily" in response.json()["detail"]
        assert response.json()["code"] == "not_ready"
    assert client.get("/v1/ctr", params=CASE).status_code == 503
    assert client.post("/v1/ctr", json=BODY).status_code == 503
    lake.publish(VIEWS, PURCHASES)
    eventually(lambda: client.get("/health/ready").status_code == 200)
    assert client.get("/v1/ctr", params=CASE).text == ANSWER
    Ready.model_validate_json(client.get("/health/ready").text)


def damaged(file: Path) -> None:
    """Overwrites the first page of a data file, behind the first four bytes, and leaves its end, which says where all is."""
    content = file.read_bytes()
    file.write_bytes(content[:4] + b"\xff" * 200 + content[204:])


@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda file: os.truncate(file, 20), lambda file: os.truncate(file, 3), damaged]
)
def test_a_file_of_the_lake_that_is_gone_or_broken_is_503_and_names_no_path(client, lake, caplog, harm):
    for file in Path(lake.path, "ctr_minute").rglob("*.parquet"):
        harm(file)
    response = client.get("/v1/ctr", params=CASE)
    assert response.status_code == 503
    assert response.json()["code"] == "lake_unreadable"
    assert str(lake.path) not in response.text
    assert response.json()["requestId"] in caplog.text
    store = client.store
    assert store.lending.current.leases == 0


def test_no_answer_mixes_two_publications_while_they_change(lake: Lake, serve):
    """Publication N has N views and N purchases of N products, in all tables."""

    def publish(number: int) -> None:
        names = [f"p{item}" for item in range(number)]
        views = [view("2016-01-03 14:00:00", name) for name in names for _ in range(number)]
        lake.publish(views, [purchase("2016-01-03 14:00:00", name) for name in names for _ in range(number)])

    publish(1)
    client = serve(lake)
    wrong: list[str] = []
    seen: set[int] = set()
    done = threading.Event()

    def ask(start: str) -> None:
        while not done.is_set():
            response = client.get("/v1/ctr", params={**CASE, "startTimestamp": start, "detail": "true"})
            version = int(response.headers["x-data-version"])
            seen.add(version)
            rows = response.json()
            if len(rows) != version or any((row["views"], row["purchases"]) != (version, version) for row in rows):
                wrong.append(f"{version}: {response.text[:200]}")

    threads = [
        threading.Thread(target=ask, args=(start,))
        for start in ("2016-01-03 13:55:00", "2016-01-03 13:00:00", "2016-01-03 13:55:01")
    ]
    for thread in threads:
        thread.start()
    try:
        for number in range(2, 7):
            publish(number)
            eventually(lambda number=number: number in seen, 60)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []
