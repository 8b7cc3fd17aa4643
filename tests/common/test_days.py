from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.days import days_of_runs, runs_of_days


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
