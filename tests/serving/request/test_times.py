from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.request.times import (
    FIRST_SECOND,
    LAST_SECOND,
    TimeFault,
    offsets,
    parse_time,
    restore_plus,
    to_local,
    to_second,
)
from tests.serving.conftest import patient

UTC = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"]
seconds = st.integers(FIRST_SECOND, LAST_SECOND - 1)


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp())


@pytest.mark.parametrize(
    "text",
    [
        "2016-01-03 13:55:00",
        "2016-01-03T13:55:00",
        "2016-01-03 13:55",
        "2016-01-03T13:55Z",
        "2016-01-03 13:55:00z",
        "2016-01-03 13:55:00+00:00",
        "2016-01-03T10:55:00-03:00",
        "2016-01-03T10:55:00-0300",
        "2016-01-03T10:55:00-03",
        "2016-01-03 19:25:00 +05:30",
    ],
)
def test_every_accepted_form_names_the_same_instant(text):
    assert parse_time(text, UTC) == utc("2016-01-03 13:55:00")


def test_a_time_without_offset_is_read_in_the_zone_and_one_with_offset_is_not():
    assert parse_time("2016-01-03 13:55:00", SAO_PAULO) == utc("2016-01-03 15:55:00")
    assert parse_time("2016-01-03 13:55:00Z", SAO_PAULO) == utc("2016-01-03 13:55:00")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "time_format"),
        ("yesterday", "time_format"),
        ("2016-01-03", "time_format"),
        ("2016-1-3 13:55:00", "time_format"),
        (" 2016-01-03 13:55:00", "time_format"),
        ("2016-01-03 13:55:00\n", "time_format"),
        ("2016-01-03 13:55:00+3", "time_format"),
        ("1451829300", "time_format"),
        ("٢٠١٦-01-03 13:55:00", "time_format"),
        ("2016-01-03 13:55:00.5", "time_fraction"),
        ("2016-01-03T13:55:00.000Z", "time_fraction"),
        ("2016-02-30 13:55:00", "time_value"),
        ("2016-01-03 24:00:00", "time_value"),
        ("2016-01-03 13:55:60", "time_value"),
        ("2016-01-03 13:55:00+24:00", "time_value"),
        ("1999-12-31 23:59:59", "time_range"),
        ("2100-01-01 00:00:01", "time_range"),
        ("0001-01-01 00:00:00", "time_range"),
        ("9999-12-31 23:59:59", "time_range"),
        ("9999-12-31 23:59:59-23:00", "time_range"),
    ],
)
def test_a_wrong_time_is_refused_with_a_stable_code(text, code):
    with pytest.raises(TimeFault) as caught:
        parse_time(text, UTC)
    assert caught.value.code == code
    assert caught.value.hint


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
@pytest.mark.parametrize("text", ["0001-01-01 00:00:00", "9999-12-31 23:59:59"])
def test_the_ends_of_the_calendar_are_refused_in_every_zone(zone, text):
    with pytest.raises(TimeFault):
        parse_time(text, ZoneInfo(zone))


def test_a_local_time_in_a_gap_is_refused_and_told_so():
    with pytest.raises(TimeFault) as caught:
        parse_time("2016-03-27 02:30:00", BERLIN)
    assert caught.value.code == "time_in_gap"
    assert "2016-03-27 03:30:00" in caught.value.hint


def test_midnight_in_the_gap_of_sao_paulo_is_refused():
    with pytest.raises(TimeFault) as caught:
        parse_time("2016-10-16 00:00:00", SAO_PAULO)
    assert caught.value.code == "time_in_gap"


def test_of_a_local_time_that_occurs_twice_the_first_is_meant():
    assert parse_time("2016-10-30 02:30:00", BERLIN) == utc("2016-10-30 00:30:00")


@pytest.mark.parametrize(
    ("given_text", "meant"),
    [
        ("2016-01-03 13:55:00 00:00", "2016-01-03 13:55:00+00:00"),
        ("2016-01-03T13:55 05:30", "2016-01-03T13:55+05:30"),
        ("2016-01-03T13:55 0530", "2016-01-03T13:55+0530"),
        ("2016-01-03 13:55:00 05", "2016-01-03 13:55:00+05"),
        ("2016-01-03 13:55:00 5", "2016-01-03 13:55:00 5"),
        ("2016-01-03 13", "2016-01-03 13"),
        ("2016-01-03 13:55:00", "2016-01-03 13:55:00"),
        ("2016-01-03 13:55", "2016-01-03 13:55"),
        ("2016-01-03 13:55:00-03:00", "2016-01-03 13:55:00-03:00"),
    ],
)
def test_the_plus_that_a_url_lost_comes_back_and_nothing_else_changes(given_text, meant):
    assert restore_plus(given_text) == meant


@patient
@given(seconds, st.sampled_from(ZONES))
def test_local_time_and_back_is_the_same_instant_or_its_first_occurrence(second, name):
    zone = ZoneInfo(name)
    back = to_second(to_local(second, zone), zone)
    assert back <= second
    assert to_local(back, zone) == to_local(second, zone)


@patient
@given(seconds, st.integers(1, 400 * 86_400), st.sampled_from(ZONES), st.integers(0, 10**9))
def test_offsets_are_those_of_the_zone_at_every_instant(start, span, name, probe):
    zone = ZoneInfo(name)
    second = start + probe % span
    found = [offset for begin, offset in offsets(start, start + span, zone) if begin <= second][-1]
    expected = datetime.fromtimestamp(second, timezone.utc).astimezone(zone).utcoffset()
    assert timedelta(seconds=found) == expected


def test_a_change_of_the_clock_is_found_to_the_second():
    changes = offsets(utc("2016-03-01 00:00:00"), utc("2016-12-01 00:00:00"), BERLIN)
    assert changes[1:] == ((utc("2016-03-27 01:00:00"), 7200), (utc("2016-10-30 01:00:00"), 3600))
