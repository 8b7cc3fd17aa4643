from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from math import inf
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.contract import GRAINS, PLATFORMS
from serving.errors import InvalidRequest
from serving.faults import Fault
from serving.query.plan import make_buckets
from serving.replica.segments import day_of
from serving.request import limits
from serving.request.limits import check_size, lighter, most_rows, too_many_rows, written
from serving.request.parameters import CtrRequest, ctr_from_query
from serving.request.times import parse_time
from serving.settings import Settings
from serving.state.cost import NO_SIZES, Sizes
from tests.serving.conftest import eventually, patient
from tests.serving.lake import view
from tests.serving.reply.test_problems import problem

DAY = 86_400

NOTHING = Sizes({})
"""Those of an empty lake."""

Cell = tuple[int, str, str]
"""Second, platform, product."""


def sizes_of(cells: set[Cell]) -> Sizes:
    """The sizes of the rollups of a lake with an event in each of the cells."""
    rows: dict[tuple[str, str], Counter] = {}
    for table, seconds in GRAINS.items():
        for start, platform, _ in {(second // seconds * seconds, *key) for second, *key in cells}:
            rows.setdefault((table, platform), Counter())[day_of(start)] += 1
    return Sizes(rows)


def rows_of(wanted: CtrRequest, cells: set[Cell]) -> int:
    """The rows of an answer from such a lake, counted one by one."""
    buckets = make_buckets(wanted)
    starts = buckets.edges[:-1] or range(buckets.start, buckets.end, buckets.step)
    found = {
        (starts[bisect_right(starts, second) - 1], platform, product)
        for second, platform, product in cells
        if wanted.start <= second < wanted.end
        and platform in (wanted.platforms or PLATFORMS)
        and product in (wanted.products or (product,))
    }
    if not wanted.fill:
        return len(found)
    named = {(platform, product) for platform in wanted.platforms or PLATFORMS for product in wanted.products}
    return len(starts) * len(named | {(platform, product) for _, platform, product in found})


def request(days: float, aggregation: int = 60, timezone: str = "UTC", **more) -> CtrRequest:
    start = 1_451_829_300  # 2016-01-03 13:55:00 UTC
    return CtrRequest(start, start + int(days * DAY), aggregation, timezone=timezone, **more)


def faults(wanted: CtrRequest, sizes: Sizes = NOTHING, **settings) -> list[Fault]:
    try:
        check_size(wanted, Settings(lake="/x", **settings), sizes)
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


def every_hour(days: int, products: str = "ab") -> set[Cell]:
    """Cells of each hour from the midnight before the requests of this file begin."""
    midnight = request(1).start // DAY * DAY
    return {(midnight + hour * 3600, "iOS", product) for hour in range(24 * days) for product in products}


def test_the_aggregation_that_would_pass_does_so_by_its_rows_as_well():
    cells = every_hour(30)
    (fault,) = faults(request(20, 1), sizes_of(cells), buckets=1000, json_rows=200)
    assert fault.hint == "aggregation=480 would pass"  # 29 passes by its buckets, and has 960 rows
    assert rows_of(request(20, 29), cells) > 200
    assert rows_of(request(20, 480), cells) <= 200


def test_where_it_is_not_sure_that_the_rows_pass_the_hint_says_so():
    not_sure = "would pass this limit; only when its rows are counted it is known whether they are more than 9"
    (fault,) = faults(request(20, 1), sizes_of(every_hour(30)), buckets=1000, json_rows=9)
    assert fault.hint == f"aggregation=29 {not_sure} (setting json_rows)"
    (fault,) = faults(request(20, 1), NO_SIZES, buckets=1000, json_rows=9)
    assert fault.hint == f"aggregation=29 {not_sure} (setting json_rows)"
    (fault,) = faults(request(20, format="csv"), NO_SIZES, range_days=3, download_rows=9)
    assert fault.hint == f"endTimestamp=2016-01-06 13:55:00 {not_sure} (setting download_rows)"


def test_what_is_named_bounds_the_rows_where_no_sizes_are_known():
    named = request(20, 1, products=("a",), platforms=("iOS",))
    (fault,) = faults(named, NO_SIZES, buckets=1000, json_rows=9)
    assert fault.hint == "aggregation=3200 would pass"
    assert most_rows(request(1), NO_SIZES) == inf
    assert most_rows(request(1, products=("a", "b")), NO_SIZES) == 24 * 2 * 3


CELLS = st.sets(
    st.tuples(
        st.integers(request(0).start - DAY, request(4).start + DAY), st.sampled_from(PLATFORMS), st.sampled_from("abc")
    ),
    max_size=40,
)
REQUESTS = st.builds(
    lambda start, length, **more: CtrRequest(start, start + length, **more),
    st.integers(request(0).start, request(2).start) | st.just(request(0).start // DAY * DAY),
    st.integers(1, 3 * DAY),
    aggregation=st.integers(1, 5000) | st.sampled_from([60, 360, 720, 1440, 2880]),
    products=st.lists(st.sampled_from("abcd"), unique=True).map(tuple),
    platforms=st.lists(st.sampled_from(PLATFORMS), unique=True).map(tuple),
    timezone=st.sampled_from(["UTC", "America/Sao_Paulo", "Asia/Kolkata"]),
    fill=st.booleans(),
)


@patient
@given(CELLS, REQUESTS)
@example({(request(0).start + second, "iOS", "a") for second in range(-120, 3600, 7)}, request(1, 1))
def test_no_answer_has_more_rows_than_is_said_at_most(cells, wanted):
    assert rows_of(wanted, cells) <= most_rows(wanted, sizes_of(cells))
    assert rows_of(wanted, cells) <= most_rows(wanted, NO_SIZES)


def as_hinted(wanted: CtrRequest, told: list[Fault]) -> CtrRequest:
    """The request with all that the hints name."""
    changed = {}
    for fault in told:
        if fault.parameter == "endTimestamp":
            end = fault.hint.removeprefix("endTimestamp=").partition(" would pass")[0]
            changed["end"] = parse_time(end, ZoneInfo(wanted.timezone))
        if fault.parameter == "aggregation":
            changed["aggregation"] = int(fault.hint.removeprefix("aggregation=").partition(" ")[0])
        if fault.parameter == "product":
            changed["products"] = wanted.products[: int(fault.hint.partition(" ")[0])]
    return CtrRequest(**{**vars(wanted), **changed})


@patient
@given(CELLS, REQUESTS, st.integers(1, 3), st.integers(1, 30), st.integers(1, 3), st.integers(1, 60))
@example(set(), request(4, 1440, "Asia/Kolkata"), 2, 1, 1, 1)
@example({(request(0).start + hour * 3600, "iOS", "a") for hour in range(72)}, request(3, 1), 1, 30, 1, 24)
def test_whoever_takes_the_hints_together_is_not_refused_again(cells, wanted, days, buckets, products, rows):
    settings = {"range_days": days, "buckets": buckets, "filter_products": products, "json_rows": rows}
    told = faults(wanted, sizes_of(cells), **settings)
    again = as_hinted(wanted, told)
    assert faults(again, sizes_of(cells), **settings) == []
    if any(fault.hint.endswith("would pass") for fault in told):
        assert rows_of(again, cells) <= rows
    if any(fault.hint.endswith("would pass, as would every product, without the parameter") for fault in told):
        assert rows_of(CtrRequest(**{**vars(again), "products": ()}), cells) <= rows


def test_every_product_is_offered_instead_of_too_many_only_where_their_rows_surely_pass():
    wanted, cells = request(1, products=tuple("abc"), platforms=("iOS",)), sizes_of(every_hour(3, "abcd"))
    hints = [faults(wanted, cells, filter_products=2, json_rows=rows)[0].hint for rows in (1000, 60, 10)]
    assert hints == [
        "2 at once would pass, as would every product, without the parameter",
        "2 at once would pass",
        "2 at once would pass this limit; only when its rows are counted it is known whether they are more than 10 "
        "(setting json_rows)",
    ]


def test_a_body_with_too_many_products_is_told_its_other_limits_as_well(lake, serve):
    lake.publish([view("2016-01-01 00:00:00", name) for name in "abc"])
    client = serve(lake, filter_products=2, range_days=3)
    body = {**HOURLY, "endTimestamp": "2046-01-04 00:00:00", "product": ["a", "b", "c"]}
    told = [
        problem(client.get("/v1/ctr", params=body)),
        problem(client.post("/v1/ctr", json={**body, "aggregation": 60})),
    ]
    assert [fault.code for fault in told[0].errors] == ["range_too_long", "too_many_products"]
    assert told[0].errors == told[1].errors


def test_beside_an_end_that_would_pass_the_aggregation_is_the_one_for_what_is_left():
    told = faults(request(9, 1), range_days=3, buckets=100)
    assert [fault.hint for fault in told] == [
        "endTimestamp=2016-01-06 13:55:00 would pass",
        "aggregation=44 would pass",
    ]
    assert told[1].detail == "its first 3 days have 4320 buckets; the limit is 100 (setting buckets)"


def test_an_aggregation_that_passes_in_what_is_left_of_the_range_is_no_fault():
    (fault,) = faults(request(9, 60), range_days=3, buckets=100)
    assert fault.code == "range_too_long"


def test_buckets_are_never_made_of_more_than_the_longest_range(monkeypatch):
    made = []
    monkeypatch.setattr(limits, "make_buckets", lambda wanted: made.append(wanted) or make_buckets(wanted))
    century = CtrRequest(946_684_800, 4_102_444_800, 1440, timezone="Asia/Kolkata")
    assert [fault.code for fault in faults(century, range_days=3, buckets=2)] == ["range_too_long", "too_many_buckets"]
    assert max(wanted.end - wanted.start for wanted in made) == 3 * DAY


@patient
@given(CELLS, REQUESTS, st.integers(1, 60))
def test_the_aggregation_beside_the_end_that_would_pass_does_so_too(cells, wanted, rows):
    (fault,) = too_many_rows(wanted, rows, rows + 1, wanted.end - 1, 1000, sizes_of(cells)).errors
    _, found, step = fault.hint.partition(";")[0].partition(" by aggregation=")
    if found:
        assert rows_of(CtrRequest(**{**vars(wanted), "aggregation": int(step)}), cells) <= rows


@pytest.mark.parametrize(
    ("wanted", "asked", "less"),
    [
        (
            request(4),
            "4 days in 96 buckets, every product on 3 platforms",
            "half the range (endTimestamp=2016-01-05 13:55:00), longer buckets (aggregation=1440 from a whole day), "
            "one platform (platform=Android), fewer products",
        ),
        (
            request(3, 1440, "America/Sao_Paulo", products=("a", "b"), platforms=("iOS",), fill=True),
            "3 days in 3 buckets, 2 products on 1 platform",
            "half the range (endTimestamp=2016-01-04 11:55:00), fewer products, no fill",
        ),
        (
            request(1 / 24, 7, products=("a",)),
            "0.04167 days in 9 buckets, 1 product on 3 platforms",
            "half the range (endTimestamp=2016-01-03 14:23:00), longer buckets (aggregation=60 from a whole hour), "
            "one platform (platform=Android)",
        ),
    ],
)
def test_what_took_too_much_is_told_with_what_takes_less(wanted, asked, less):
    assert lighter(wanted) == f"Asked for were {asked}. Less are: {less}."


def test_one_bucket_is_halved_in_its_middle_and_one_second_is_not():
    assert "half the range (endTimestamp=2016-01-04 01:55:00)" in lighter(request(1, 1440))
    second = CtrRequest(request(1).start, request(1).start + 1, 1440, products=("a",), platforms=("iOS",))
    assert lighter(second) == "Asked for were 1.157e-05 days in 1 bucket, 1 product on 1 platform."


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
    assert found.errors[0].hint.startswith(
        "endTimestamp=2016-01-03 02:00:00 would pass, as would the whole range by aggregation=90; "
    )
    nearest = client.get("/v1/ctr", params={**HOURLY, "endTimestamp": "2016-01-03 02:00:00"})
    assert len(nearest.json()) == 100
    assert client.get("/v1/ctr", params={**HOURLY, "endTimestamp": "2016-01-03 02:10:01"}).status_code == 422
    assert len(client.get("/v1/ctr", params={**HOURLY, "aggregation": "90"}).json()) <= 100


def test_the_sizes_of_what_is_served_make_the_hint_sure_and_those_of_older_ones_are_not_guessed(client, lake):
    minutes = {**HOURLY, "endTimestamp": "2018-01-04 00:00:00", "aggregation": "1"}
    told = problem(client.get("/v1/ctr", params=minutes)).errors[0].hint
    assert told == "aggregation=90 would pass"
    assert client.get("/v1/ctr", params={**minutes, "aggregation": "90"}).status_code == 200
    lake.publish([view("2016-01-01 00:00:00")])
    eventually(lambda: client.get("/v1/platforms").headers["x-data-version"] == "2")
    told = problem(client.get("/v1/ctr", params={**minutes, "asOf": "1"})).errors[0].hint
    assert "only when its rows are counted" in told


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
    assert found.errors[0].hint.startswith("one bucket alone has more: name a platform or products; format")
    hour = {**HOURLY, "endTimestamp": "2016-01-01 01:00:00"}
    hint = problem(serve(lake, json_rows=2).get("/v1/ctr", params={**hour, "platform": "iOS"})).errors[0].hint
    assert hint.startswith("one bucket alone has more: name a platform or products; up to 2 products pass; format")
    client = serve(lake, json_rows=2, filter_products=1)
    hint = problem(client.get("/v1/ctr", params={**hour, "platform": "iOS"})).errors[0].hint
    assert "; up to 1 products pass; " in hint, "more are refused"


def test_limits_hold_for_a_body_too(client):
    body = {**HOURLY, "endTimestamp": "2046-01-04 00:00:00", "aggregation": 60}
    assert [fault.code for fault in problem(client.post("/v1/ctr", json=body)).errors or []] == ["range_too_long"]


def test_a_url_above_the_limit_is_414_and_names_the_way_out(lake, serve):
    client = serve(lake, url_bytes=300)
    found = problem(client.get("/v1/ctr", params={**HOURLY, "product": "x" * 300}))
    assert (found.status, found.code) == (414, "url_too_long")
    assert "the limit is 300 (setting url_bytes). POST /v1/ctr takes the same parameters in a body." in found.detail
    found = problem(client.get("/v1/products", params={"search": "x" * 300}))
    assert found.detail == "The URL has 320 bytes; the limit is 300 (setting url_bytes). One of 300 bytes would pass."
    assert client.get("/v1/ctr", params={"product": "x" * 300}).headers["x-content-type-options"] == "nosniff"
    assert client.get("/v1/ctr", params=HOURLY).status_code == 503


@pytest.mark.parametrize("path", ["/v1/x", "/v1/status?"])
def test_a_url_at_the_limit_is_read_and_one_byte_more_is_414(lake, serve, path):
    client = serve(lake, url_bytes=300)
    assert client.get(path + "x" * (300 - len(path))).status_code in (404, 422)
    assert client.get(path + "x" * (301 - len(path))).status_code == 414


def test_a_client_learns_of_so_many_faults_and_no_more(client):
    found = problem(client.post("/v1/ctr", json={**HOURLY, "platform": [f"tv{number}" for number in range(10_000)]}))
    assert len(found.errors or []) == 50
