"""``strict``, ``fill`` and ``ci``: answers that say how far they can be trusted, or are refused."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from statistics import NormalDist

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.openapi.shapes import CtrCiRow, CtrDetailCiRow, Problem
from serving.query.columns import _wilson
from tests.serving.conftest import patient
from tests.serving.lake import purchase, view
from tests.serving.oracle import wilson_text

WEEK = {"startTimestamp": "2016-01-01 00:00:00", "endTimestamp": "2016-01-08 00:00:00", "aggregation": "1440"}


@pytest.fixture
def client(lake, serve):
    """iOS lacks the 3rd, the 4th and the 6th; Android no day."""
    lake.publish(
        [view(f"2016-01-{day:02} 10:00:00") for day in (1, 2, 5, 7)]
        + [view(f"2016-01-{day:02} 10:00:00", platform="Android") for day in range(1, 8)],
        [purchase("2016-01-01 10:00:00"), purchase("2016-01-02 10:00:00"), purchase("2016-01-02 10:00:00")],
    )
    return serve(lake)


def test_a_strict_request_with_missing_days_is_409_and_lists_them(client):
    response = client.get("/v1/ctr", params={**WEEK, "strict": "true"})
    assert response.status_code == 409
    assert response.headers["x-data-version"] == "1"
    found = Problem.model_validate_json(response.text)
    assert found.code == "missing_days"
    assert json.loads(response.text)["missingDays"] == [
        {"platform": "iOS", "days": ["2016-01-03", "2016-01-04", "2016-01-06"]}
    ]
    assert "3 days" in found.detail
    assert "2016-01-01T00:00:00Z to 2016-01-03T00:00:00Z" in found.detail
    body = {**WEEK, "aggregation": 1440, "strict": True}
    assert client.post("/v1/ctr", json=body).json()["missingDays"] == response.json()["missingDays"]


@pytest.mark.parametrize(
    "changes",
    [
        {"platform": "Android"},
        {"endTimestamp": "2016-01-03 00:00:00"},
        {"startTimestamp": "2016-01-07 00:00:00", "endTimestamp": "2016-02-01 00:00:00"},
        {
            "startTimestamp": "2016-01-04 22:00:00",
            "endTimestamp": "2016-01-05 21:00:00",
            "timezone": "America/Sao_Paulo",
        },
    ],
)
def test_a_strict_request_without_missing_days_is_answered_as_any_other(client, changes):
    wanted = {**WEEK, **changes}
    strict = client.get("/v1/ctr", params={**wanted, "strict": "true"})
    assert strict.status_code == 200
    assert strict.text == client.get("/v1/ctr", params=wanted).text


def test_days_before_the_first_are_missing(client):
    params = {**WEEK, "startTimestamp": "2015-12-30 12:00:00", "endTimestamp": "2016-01-02 00:00:00"}
    days = ["2015-12-30", "2015-12-31"]
    assert client.get("/v1/ctr", params={**params, "strict": "true"}).json()["missingDays"] == [
        {"platform": "Android", "days": days},
        {"platform": "iOS", "days": days},
    ]
    rows = client.get("/v1/ctr", params={**params, "detail": "true", "fill": "zero", "platform": "iOS"}).json()
    assert [row["status"] for row in rows] == ["partial", "partial", "partial"]
    later = client.get("/v1/ctr", params={**params, "startTimestamp": "2016-01-01 00:00:00", "strict": "true"})
    assert later.status_code == 200


def test_days_of_which_files_are_still_to_be_loaded_are_missing_though_they_have_views(lake, serve):
    days = range(1, 6)
    views = [view(f"2016-01-{day:02} 10:00:00", platform=name) for day in days for name in ("iOS", "Android")]
    bought = [purchase("2016-01-05 12:00:00", platform=name) for name in ("iOS", "Android")]
    awaited = {"iOS": [["2015-11-02", "2016-01-02"], ["2016-01-04", "2016-01-04"]]}
    lake.publish(views, bought, report={"awaited": awaited})
    lake.publish(views, bought, report={"awaited": {"Android": "no list of runs"}})
    client = serve(lake)
    params = {**WEEK, "endTimestamp": "2016-01-05 00:00:00", "platform": "iOS"}

    def answer(number: int, **more: str):
        return client.get("/v1/ctr", params={**params, **more, "asOf": str(number)})

    assert [row["status"] for row in answer(1, detail="true").json()] == ["partial", "partial", "final", "partial"]
    assert [row["status"] for row in answer(2, detail="true").json()] == ["final"] * 4
    assert answer(1, strict="true").json()["missingDays"] == [
        {"platform": "iOS", "days": ["2016-01-01", "2016-01-02", "2016-01-04"]}
    ]
    assert answer(1, strict="true", platform="Android").status_code == 200
    assert answer(2, strict="true").status_code == 200
    assert client.get("/v1/status").json()["platforms"][1]["missingDays"] == []


@pytest.mark.parametrize(
    ("start", "end"),
    [("2016-01-04 23:59:59", "2016-01-05 10:00:00"), ("2016-01-05 00:00:00", "2016-01-06 00:00:01")],
)
def test_a_second_of_a_missing_day_is_enough(client, start, end):
    params = {**WEEK, "startTimestamp": start, "endTimestamp": end, "strict": "true"}
    assert client.get("/v1/ctr", params=params).status_code == 409


def test_the_interval_stands_beside_the_ctr_and_is_null_without_one(client):
    params = {**WEEK, "platform": "iOS", "ci": "0.95"}
    rows = client.get("/v1/ctr", params=params).json()
    for row in rows:
        CtrCiRow.model_validate(row)
    assert [(row["CTR"], row["ciLow"], row["ciHigh"]) for row in rows] == [
        (1.0, 0.2065, 1.0),
        (2.0, None, None),
        (0.0, 0.0, 0.7935),
        (0.0, 0.0, 0.7935),
    ]
    for row in client.get("/v1/ctr", params={**params, "detail": "true"}).json():
        CtrDetailCiRow.model_validate(row)
    assert '"ciLow":0.2065,"ciHigh":1.0000}' in client.get("/v1/ctr", params=params).text
    text = client.get("/v1/ctr", params={**params, "format": "csv"}).text
    assert text.startswith("timestamp,platform,product,CTR,ciLow,ciHigh\r\n")
    assert "p1,2.0000,,\r\n" in text


@pytest.mark.parametrize("level", ["0", "1", "95", "0.00999", "0.99991", "abc", "", "-0.5", "5e-1", "nan"])
def test_a_level_that_is_none_is_a_fault(client, level):
    response = client.get("/v1/ctr", params={**WEEK, "ci": level})
    assert response.status_code == 422
    assert [fault["parameter"] for fault in response.json()["errors"]] == ["ci"]


counts = st.one_of(st.integers(0, 50), st.integers(0, 10**9))


@patient
@given(counts, counts, st.sampled_from([0.01, 0.5, 0.8, 0.9, 0.95, 0.99, 0.9999]))
def test_the_ends_are_wilsons_to_the_digit(views, purchases, level):
    assert computed(views, purchases, level) == wilson_text(views, purchases, level)


def computed(views: int, purchases: int, level: float) -> tuple[str, ...]:
    """What the service's own expression gives."""

    values = {"views": views, "purchases": purchases, "z": NormalDist().inv_cdf((1 + level) / 2)}
    row = duckdb.execute(
        f"SELECT {_wilson('-')}, {_wilson('+')} FROM (SELECT $views::BIGINT AS views, $purchases::BIGINT AS purchases)",
        values,
    ).fetchone()
    assert row is not None
    return tuple("null" if end is None else f"{end // 10_000}.{end % 10_000:04}" for end in row)


def cells(response) -> list[tuple[str, ...]]:
    """Day, platform, product, CTR and counts of each row."""
    names = ("platform", "product", "CTR", "views", "purchases", "bucketEnd")
    return [(row["timestamp"][8:10], *(str(row[name]) for name in names)) for row in response.json()]


def test_fill_adds_a_row_of_zeros_for_every_bucket_of_every_pair_that_there_is(client):
    wanted = {**WEEK, "detail": "true", "platform": "iOS", "endTimestamp": "2016-01-04 12:00:00"}
    assert cells(client.get("/v1/ctr", params={**wanted, "fill": "zero"})) == [
        ("01", "iOS", "p1", "1.0", "1", "1", "2016-01-02 00:00:00"),
        ("02", "iOS", "p1", "2.0", "1", "2", "2016-01-03 00:00:00"),
        ("03", "iOS", "p1", "None", "0", "0", "2016-01-04 00:00:00"),
        ("04", "iOS", "p1", "None", "0", "0", "2016-01-04 12:00:00"),
    ]
    assert (
        client.get("/v1/ctr", params={**wanted, "fill": "none"}).json() == client.get("/v1/ctr", params=wanted).json()
    )


def test_fill_adds_what_was_asked_for_by_name_on_each_platform_asked_for_or_on_all(client):
    wanted = {**WEEK, "endTimestamp": "2016-01-02 00:00:00", "product": "it's new", "fill": "zero", "detail": "true"}
    everywhere = cells(client.get("/v1/ctr", params=wanted))
    assert [row[1] for row in everywhere] == ["Android", "MobileWeb", "iOS"]
    assert {row[2:6] for row in everywhere} == {("it's new", "None", "0", "0")}
    assert [row[1] for row in cells(client.get("/v1/ctr", params={**wanted, "platform": "ios"}))] == ["iOS"]
    assert client.get("/v1/ctr", params={**wanted, "fill": "none"}).json() == []


def test_the_days_of_a_zone_are_filled_too(client):
    berlin = {
        "startTimestamp": "2016-03-26 00:00:00",
        "endTimestamp": "2016-03-29 00:00:00",
        "aggregation": "1440",
        "timezone": "Europe/Berlin",
        "product": "p1",
        "platform": "iOS",
        "fill": "zero",
        "detail": "true",
    }
    assert [(row[0], row[6]) for row in cells(client.get("/v1/ctr", params=berlin))] == [
        ("26", "2016-03-27 00:00:00"),
        ("27", "2016-03-28 00:00:00"),
        ("28", "2016-03-29 00:00:00"),
    ]


def test_rows_of_zeros_count_for_the_limit_of_rows(lake, serve):
    lake.publish([view("2016-01-01 10:00:00")])
    client = serve(lake, json_rows=5)
    assert (
        len(client.get("/v1/ctr", params={**WEEK, "endTimestamp": "2016-01-06 00:00:00", "fill": "zero"}).json()) == 5
    )
    response = client.get("/v1/ctr", params={**WEEK, "fill": "zero"})
    assert response.status_code == 422
    assert response.json()["errors"][0]["code"] == "too_many_rows"
    assert "endTimestamp=2016-01-06 00:00:00 would pass" in response.json()["errors"][0]["hint"]


@pytest.mark.parametrize(
    ("zone", "day", "hours", "mark"),
    [
        ("America/Sao_Paulo", "2016-02-20 00:00:00", 25, "+0300"),
        ("America/Sao_Paulo", "2016-10-15 12:00:00", 23, "+0300"),
        ("Europe/Berlin", "2016-03-27 00:00:00", 23, "-0100"),
        ("Europe/Berlin", "2016-10-30 00:00:00", 25, "-0200"),
        ("Australia/Lord_Howe", "2016-04-03 00:00:00", 24.5, "-1100"),
        ("Australia/Lord_Howe", "2016-10-02 00:00:00", 23.5, "-1030"),
        ("Asia/Kolkata", "2016-03-27 00:00:00", 24, "-0530"),
    ],
)
def test_a_day_of_a_zone_counts_its_own_hours_and_no_other(lake, serve, zone, day, hours, mark):
    """A view each half hour of three days; ``mark`` is how far UTC stands from the day's first second."""
    sign = 1 if mark[0] == "+" else -1
    first = datetime.fromisoformat(day) + sign * timedelta(hours=int(mark[1:3]), minutes=int(mark[3:]))
    lake.publish([view(str(first + timedelta(minutes=30 * step))) for step in range(-48, 120)])
    start, end = (f"{first + timedelta(hours=offset)}Z" for offset in (0, hours + 24))
    wanted = {"startTimestamp": start, "endTimestamp": end, "timezone": zone, "detail": "true"}
    client = serve(lake)
    days = client.get("/v1/ctr", params={**wanted, "aggregation": "1440"}).json()
    assert [row["views"] for row in days] == [hours * 2, 48]
    elapsed = client.get("/v1/ctr", params={**wanted, "aggregation": "720"}).json()
    assert [row["views"] for row in elapsed][:3] == [24, 24, 24]
