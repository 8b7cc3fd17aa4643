from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.days import days_of_runs, missing_days, runs_of_days

DAYS = st.sets(st.integers(0, 60)).map(
    lambda numbers: {date(2016, 2, 1) + timedelta(days=number) for number in numbers}
)


@given(DAYS, DAYS, st.integers(-1, 61))
def test_a_day_is_missing_between_two_that_are_there_or_while_its_files_wait(have, awaited, last):
    until = date(2016, 2, 1) + timedelta(days=last)
    every = [date(2016, 1, 1) + timedelta(days=number) for number in range(120)]
    wanted = [
        day
        for day in every
        if (day not in have and have and min(have) < day < max(have)) or (day in awaited and day <= until)
    ]
    assert missing_days(have, awaited, until) == wanted


@given(st.sets(st.integers(0, 60)))
def test_days_come_back_from_their_runs_which_do_not_touch(numbers):
    days = sorted(date(2016, 2, 1) + timedelta(days=number) for number in numbers)
    runs = runs_of_days(reversed(days))
    assert list(days_of_runs(runs)) == days
    assert all(
        date.fromisoformat(last) + timedelta(days=1) < date.fromisoformat(first)
        for (_, last), (first, _) in pairwise(runs)
    )


@pytest.mark.parametrize("runs", ["no list of runs", [["2016-02-01"]], [["2016-02-01", "later"]], [[1, 2]], 7])
def test_what_are_no_runs_is_an_error(runs):
    with pytest.raises((TypeError, ValueError)):
        list(days_of_runs(runs))
