"""jobs/audit/once.py: each view once, in any order."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.audit import once as module
from jobs.audit.cells import TOTAL, Cell
from jobs.audit.once import TooManyViews, ViewsOnce
from jobs.audit.raw import View
from tests.rows import NOON, at

MIDNIGHT = at("2016-02-01 00:00:00")
START_MS = NOON - 43_200_000
NOON_CELL = Cell("any", "ctr_minute", "iOS", "a", at("2016-02-01 12:00:00"), 1, 0, 0)
DAY_CELL = Cell("any", "ctr_day", "iOS", "a", MIDNIGHT, 1440, 0, 0)
TOTAL_CELL = Cell(TOTAL, "ctr_day", "iOS", None, MIDNIGHT, 1440, 0, 0)
CELLS = (NOON_CELL, DAY_CELL, TOTAL_CELL)


def count(*views):
    once = ViewsOnce(CELLS)
    for view in views:
        once.add([view], once.days)
    counts = once.count()
    return [counts[cell] for cell in CELLS]


def test_the_end_of_a_bucket_is_not_in_it():
    assert count(View(None, 0, NOON, "a"), View(None, 0, NOON + 59_999, "a"), View(None, 0, NOON + 60_000, "a")) == [
        2,
        3,
        3,
    ]


def test_views_of_other_products_and_days_are_in_no_cell_of_a_product():
    assert count(
        View("1", 0, NOON, "b"), View("2", 0, START_MS - 1, "a"), View("3", 0, START_MS + 86_400_000, "a")
    ) == [0, 0, 1]


def test_copies_count_once_and_views_without_message_id_every_time():
    assert count(View("1", 0, NOON, "a"), View("1", 0, NOON, "a"), View("1", 1, NOON, "a")) == [2, 2, 2]
    assert count(View(None, 0, NOON, "a"), View(None, 0, NOON, "a")) == [2, 2, 2]


@pytest.mark.parametrize("order", [1, -1])
def test_of_different_copies_the_smallest_time_then_product_counts(order):
    assert count(*[View("1", 0, NOON - 60_000, "a"), View("1", 0, NOON, "a")][::order]) == [0, 1, 1]
    assert count(*[View("1", 0, NOON, "A"), View("1", 0, NOON, "a")][::order]) == [0, 0, 1]


def test_views_of_days_that_are_not_asked_for_are_left_out():
    once = ViewsOnce(CELLS)
    once.add([View("1", 0, NOON, "a")], [])
    assert not once.count()


def test_more_views_than_fit_are_refused(monkeypatch):
    monkeypatch.setattr(module, "MOST_VIEWS", 20)
    once = ViewsOnce(CELLS)
    for number in range(12):  # and one product, which counts as 8
        once.add([View(str(number), 0, NOON, "a")], once.days)
    with pytest.raises(TooManyViews, match=r"ask for fewer \(--days; --from, --to\)"):
        once.add([View("12", 0, NOON, "a")], once.days)


VIEWS = st.builds(
    View,
    st.none() | st.sampled_from("12"),
    st.integers(0, 1),
    st.sampled_from([NOON - 1, NOON, NOON + 59_999, NOON + 60_000]),
    st.sampled_from("ab"),
)


@given(st.lists(VIEWS, max_size=20), st.randoms(use_true_random=False))
def test_counts_are_those_of_the_rule_in_any_order(views, dice: random.Random):
    copies = defaultdict(list)
    for number, view in enumerate(views):
        copies[number if view.message_id is None else view[:2]].append(view[2:])
    kept = [min(group) for group in copies.values()]
    noon = sum(product == "a" and NOON <= time < NOON + 60_000 for time, product in kept)
    wanted = [noon, sum(product == "a" for _, product in kept), len(kept)]
    shuffled = list(views)
    dice.shuffle(shuffled)
    assert count(*views) == count(*shuffled) == wanted
