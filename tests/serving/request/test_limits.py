from __future__ import annotations

import pytest

from serving.errors import Fault, InvalidRequest
from serving.request.limits import check_size, written
from serving.request.parameters import CtrRequest, ctr_from_query
from serving.settings import Settings
from tests.serving.lake import view
from tests.serving.reply.test_problems import problem

DAY = 86_400


def request(days: float, aggregation: int = 60, timezone: str = "UTC", **more) -> CtrRequest:
    start = 1_451_829_300  # 2016-01-03 13:55:00 UTC
    return CtrRequest(start, start + int(days * DAY), aggregation, timezone=timezone, **more)


def faults(wanted: CtrRequest, **settings) -> list[Fault]:
    try:
        check_size(wanted, Settings(lake="/x", **settings))
    except InvalidRequest as error:
        return list(error.errors)
    return []


def test_a_range_at_the_limit_passes_and_one_second_more_is_told_with_the_nearest_end():
    assert faults(request(3), range_days=3) == []
    (fault,) = faults(CtrRequest(request(3).start, request(3).end + 1, 60), range_days=3)
    assert fault.parameter == "endTimestamp"
    assert fault.code == "range_too_long"
    assert fault.detail == "the range is 4 days long; the limit is 3 days (setting range_days)"
    assert fault.hint == "endTimestamp=2016-01-06 13:55:00 would pass"


def test_the_nearest_end_is_written_in_the_zone_of_the_request_and_passes():
    wanted = request(9, timezone="America/Sao_Paulo")
    (fault,) = faults(wanted, range_days=3)
    assert fault.hint == "endTimestamp=2016-01-06 11:55:00 would pass"
    query = "startTimestamp=2016-01-03 11:55:00&aggregation=60&timezone=America/Sao_Paulo&endTimestamp="
    again = ctr_from_query(f"{query}2016-01-06 11:55:00".encode())
    assert again.start == wanted.start
    assert faults(again, range_days=3) == []


def test_a_time_that_the_clocks_show_twice_is_written_so_that_it_is_the_one_meant():
    first, second = 1_477_787_400, 1_477_791_000  # 02:30 in Berlin, twice on 2016-10-30
    assert written(first, "Europe/Berlin") == "2016-10-30 02:30:00"
    assert written(second, "Europe/Berlin") == "2016-10-30 01:30:00Z"


@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize(("days", "aggregation", "limit"), [(2, 1, 100), (30, 60, 7), (400, 1440, 10), (10, 7, 1)])
def test_too_many_buckets_are_told_with_an_aggregation_that_passes_and_is_the_least(days, aggregation, limit, timezone):
    wanted = request(days, aggregation, timezone)
    (fault,) = faults(wanted, buckets=limit)
    assert (fault.parameter, fault.code) == ("aggregation", "too_many_buckets")
    assert f"the limit is {limit} (setting buckets)" in fault.detail
    least = int(fault.hint.removeprefix("aggregation=").removesuffix(" would pass"))
    assert faults(request(days, least, timezone), buckets=limit) == []
    assert faults(request(days, least - 1, timezone), buckets=limit) != []


def test_buckets_at_the_limit_pass():
    assert faults(request(1, 60), buckets=24) == []
    assert faults(request(1, 59), buckets=24) != []


def test_every_limit_that_is_passed_is_told_at_once():
    wanted = request(9, 1, products=tuple("abc"))
    found = faults(wanted, range_days=3, buckets=10, filter_products=2)
    assert [fault.code for fault in found] == ["range_too_long", "too_many_buckets", "too_many_products"]
    assert "found 3 products; the limit is 2 (setting filter_products)" in found[2].detail


@pytest.fixture
def client(lake, serve):
    hours = [f"2016-01-{day:02} {hour:02}:10:00" for day in (1, 2, 3) for hour in range(24)]
    lake.publish([view(time, product) for time in hours for product in ("a", "b")])
    return serve(lake, json_rows=100, stream_rows=10)


HOURLY = {"startTimestamp": "2016-01-01 00:00:00", "endTimestamp": "2016-01-04 00:00:00", "aggregation": "60"}


def test_too_many_rows_are_told_with_their_number_and_the_end_that_would_pass(client):
    found = problem(client.get("/v1/ctr", params=HOURLY))
    assert (found.status, found.code) == (422, "invalid_request")
    assert found.errors
    assert found.errors[0].code == "too_many_rows"
    assert found.errors[0].detail == "the answer has 144 rows; the limit is 100 (setting json_rows)"
    assert found.errors[0].hint.startswith("endTimestamp=2016-01-03 02:00:00 would pass; format=ndjson")
    nearest = client.get("/v1/ctr", params={**HOURLY, "endTimestamp": "2016-01-03 02:00:00"})
    assert len(nearest.json()) == 100
    assert client.get("/v1/ctr", params={**HOURLY, "endTimestamp": "2016-01-03 02:10:01"}).status_code == 422


def test_other_formats_have_a_limit_of_their_own(lake, serve):
    lake.publish([view("2016-01-01 00:00:00", name) for name in "abc"])
    client = serve(lake, json_rows=1, download_rows=2)
    found = problem(client.get("/v1/ctr", params={**HOURLY, "format": "csv"}))
    assert found.errors
    assert found.errors[0].detail == "the answer has 3 rows; the limit is 2 (setting download_rows)"
    two = client.get("/v1/ctr", params={**HOURLY, "format": "csv", "product": ["a", "b"]})
    assert two.text.count("\r\n") == 3


def test_one_bucket_with_too_many_rows_is_told_to_be_filtered(lake, serve):
    lake.publish([view("2016-01-01 00:00:00", name) for name in "abc"])
    found = problem(serve(lake, json_rows=2).get("/v1/ctr", params=HOURLY))
    assert found.errors
    assert found.errors[0].hint.startswith("one bucket alone has more: name a platform or products")


def test_limits_hold_for_a_body_too(client):
    body = {**HOURLY, "endTimestamp": "2046-01-04 00:00:00", "aggregation": 60}
    assert [fault.code for fault in problem(client.post("/v1/ctr", json=body)).errors or []] == [
        "range_too_long",
        "too_many_buckets",
    ]


def test_a_url_above_the_limit_is_414_and_names_the_way_out(lake, serve):
    client = serve(lake, url_bytes=300)
    found = problem(client.get("/v1/ctr", params={**HOURLY, "product": "x" * 300}))
    assert (found.status, found.code) == (414, "url_too_long")
    assert "the limit is 300 (setting url_bytes)" in found.detail
    assert "POST /v1/ctr" in found.detail
    assert client.get("/v1/ctr", params={"product": "x" * 300}).headers["x-content-type-options"] == "nosniff"
    assert client.get("/v1/ctr", params=HOURLY).status_code == 503


def test_a_client_learns_of_so_many_faults_and_no_more(client):
    found = problem(client.post("/v1/ctr", json={**HOURLY, "platform": ["tv"] * 10_000}))
    assert len(found.errors or []) == 50
