from __future__ import annotations

import itertools
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.contract import GRAINS
from serving.query.plan import Buckets, Piece, cut, make_plan
from serving.request.parameters import CtrRequest
from serving.request.times import to_local, to_second
from tests.serving.conftest import patient


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp())


def request(start: str, end: str, aggregation: int, zone: str = "UTC") -> CtrRequest:
    return CtrRequest(utc(start), utc(end), aggregation, timezone=zone)


@pytest.mark.parametrize(
    ("start", "end", "aggregation", "sources"),
    [
        ("2016-01-03 00:00:00", "2016-01-05 00:00:00", 1440, "ctr_day"),
        ("2016-01-03 00:00:00", "2016-01-05 00:00:00", 2880, "ctr_day"),
        ("2016-01-03 00:00:00", "2016-01-05 00:00:00", 60, "ctr_hour"),
        ("2016-01-03 00:00:00", "2016-01-05 00:00:00", 90, "ctr_minute"),
        ("2016-01-03 00:00:00", "2016-01-05 00:00:00", 120, "ctr_hour"),
        ("2016-01-03 05:00:00", "2016-01-05 00:00:00", 1440, "ctr_hour"),
        ("2016-01-03 13:55:00", "2016-01-04 13:55:00", 60, "ctr_minute"),
        ("2016-01-03 13:55:00", "2016-01-04 13:55:01", 60, "ctr_minute+views+purchases"),
        ("2016-01-03 00:00:00", "2016-01-04 13:55:30", 1440, "ctr_day+ctr_hour+ctr_minute+views+purchases"),
        ("2016-01-03 00:00:00", "2016-01-04 13:00:00", 7 * 1440, "ctr_day+ctr_hour"),
        ("2016-01-03 00:00:00", "2016-01-03 13:00:00", 7 * 1440, "ctr_hour"),
        ("2016-01-03 00:00:00", "2016-01-05 00:00:00", 10**9 - 7, "ctr_day"),
        ("2016-01-03 00:00:30", "2016-01-05 00:00:00", 1440, "views+purchases"),
        ("2016-01-03 00:00:00", "2016-01-03 00:00:01", 1, "views+purchases"),
    ],
)
def test_the_coarsest_exact_table_answers(start, end, aggregation, sources):
    assert make_plan(request(start, end, aggregation)).sources == sources


def test_the_tail_is_read_from_finer_tables():
    plan = make_plan(request("2016-01-03 00:00:00", "2016-01-04 13:55:30", 1440))
    day, hour, minute = (utc(f"2016-01-04 {time}") for time in ("00:00:00", "13:00:00", "13:55:00"))
    assert plan.pieces == (
        Piece("ctr_day", utc("2016-01-03 00:00:00"), day),
        Piece("ctr_hour", day, hour),
        Piece("ctr_minute", hour, minute),
        Piece(None, minute, minute + 30),
    )


def test_a_part_of_a_plan_has_its_buckets_and_what_is_read_for_them():
    plan = make_plan(request("2016-01-03 00:00:00", "2016-01-05 13:55:00", 1440))
    days = [utc(f"2016-01-0{day} 00:00:00") for day in (3, 4, 5)]
    assert cut(plan, days[0], days[1]).pieces == (Piece("ctr_day", days[0], days[1]),)
    last = cut(plan, days[1], plan.buckets.end)
    assert last.buckets == Buckets(days[1], plan.buckets.end, step=86_400)
    assert last.pieces == (Piece("ctr_day", days[1], days[2]), *plan.pieces[1:])
    assert cut(plan, plan.buckets.start, plan.buckets.end) == plan


def test_a_part_by_the_days_of_a_zone_keeps_their_edges_and_the_end_that_the_last_has_uncut():
    plan = make_plan(request("2016-03-25 23:00:00", "2016-03-29 10:00:00", 1440, "Europe/Berlin"))
    first, second, third, fourth, end = plan.buckets.edges
    assert cut(plan, first, third).buckets == Buckets(first, third, edges=(first, second, third))
    assert cut(plan, third, plan.buckets.end).buckets == Buckets(third, plan.buckets.end, edges=(third, fourth, end))


def test_days_of_a_zone_have_23_and_25_hours():
    spring = make_plan(request("2016-03-25 23:00:00", "2016-03-28 22:00:00", 1440, "Europe/Berlin")).buckets.edges
    assert [(b - a) // 3600 for a, b in itertools.pairwise(spring)] == [24, 23, 24]
    autumn = make_plan(request("2016-10-28 22:00:00", "2016-10-31 23:00:00", 1440, "Europe/Berlin")).buckets.edges
    assert [(b - a) // 3600 for a, b in itertools.pairwise(autumn)] == [24, 25, 24]


def test_a_day_whose_midnight_does_not_exist_begins_when_the_clocks_go_on():
    edges = make_plan(request("2016-10-15 03:00:00", "2016-10-18 02:00:00", 1440, "America/Sao_Paulo")).buckets.edges
    assert edges == tuple(
        utc(f"2016-10-{text}") for text in ("15 03:00:00", "16 03:00:00", "17 02:00:00", "18 02:00:00")
    )


def test_days_of_a_zone_are_read_by_hour_or_in_a_half_hour_zone_by_minute():
    assert make_plan(request("2016-01-03 23:00:00", "2016-01-09 23:00:00", 1440, "Europe/Berlin")).sources == "ctr_hour"
    kolkata = request("2016-01-03 18:30:00", "2016-01-09 18:30:00", 1440, "Asia/Kolkata")
    assert make_plan(kolkata).sources == "ctr_minute"


def test_shorter_steps_of_a_zone_count_elapsed_minutes():
    buckets = make_plan(request("2016-03-26 23:00:00", "2016-03-27 22:00:00", 60, "Europe/Berlin")).buckets
    assert buckets.step == 3600
    assert buckets.edges == ()


starts = st.integers(utc("2000-01-01 00:00:00"), utc("2098-01-01 00:00:00"))
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Australia/Lord_Howe"])
requests = st.builds(
    lambda start, grid, span, step, zone: CtrRequest(
        start // grid * grid, start // grid * grid + span, step, timezone=zone
    ),
    starts,
    st.sampled_from([1, 60, 300, 3600, 86_400]),
    st.integers(1, 500 * 86_400),
    st.one_of(st.integers(1, 4000), st.sampled_from([60, 720, 1440, 2880, 10_080, 10**9])),
    zones,
)


@patient
@given(requests)
def test_pieces_cover_the_range_once_and_each_is_whole_in_its_grain(wanted):
    pieces = make_plan(wanted).pieces
    assert pieces[0].start == wanted.start
    assert pieces[-1].end == wanted.end
    assert all(a.end == b.start for a, b in itertools.pairwise(pieces))
    assert all(piece.start < piece.end for piece in pieces)
    for piece in pieces:
        if piece.rollup is not None:
            grain = GRAINS[piece.rollup]
            assert piece.start % grain == 0
            assert piece.end % grain == 0


@patient
@given(requests)
def test_no_cell_of_a_piece_lies_in_two_buckets(wanted):
    plan = make_plan(wanted)
    edges = plan.buckets.edges[:-1] or range(wanted.start, wanted.end, wanted.aggregation * 60)[:5000]
    for edge in edges:
        piece = next(piece for piece in plan.pieces if piece.start <= edge < piece.end)
        if piece.rollup is not None:
            assert edge % GRAINS[piece.rollup] == 0


@patient
@given(requests)
def test_calendar_edges_ascend_from_the_start_past_the_end_at_the_same_time_of_day(wanted):
    edges = make_plan(wanted).buckets.edges
    if not edges:
        assert wanted.timezone == "UTC" or wanted.aggregation % 1440
        return
    assert edges[0] == wanted.start
    assert all(a < b for a, b in itertools.pairwise(edges))
    assert edges[-2] < wanted.end <= edges[-1]
    zone = ZoneInfo(wanted.timezone)
    first = to_local(wanted.start, zone)
    for number, edge in enumerate(edges[:50]):
        local = to_local(edge, zone)
        assert abs((local - first).total_seconds() - number * wanted.aggregation * 60) <= 3600


def test_a_day_that_a_zone_left_out_is_no_bucket():
    apia = ZoneInfo("Pacific/Apia")  # went from the 29th of December 2011 to the 31st
    days = [to_second(datetime(2011, 12, day), apia) for day in (28, 29, 31)] + [to_second(datetime(2012, 1, 1), apia)]
    wanted = CtrRequest(days[0], days[-1], 1440, timezone="Pacific/Apia")
    assert list(make_plan(wanted).buckets.edges) == days
    assert [b - a for a, b in itertools.pairwise(days)] == [86_400, 86_400, 86_400]
