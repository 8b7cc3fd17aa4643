"""Counting one partition: each view once, cells, coarser grains."""

from __future__ import annotations

from collections import Counter
from datetime import date

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from jobs.counts import MINUTES, Counts, PartitionCounter, Rows, is_among, repeated, view_keys, views_once
from tests.rows import at

DAY = date(2016, 2, 1)
MIDNIGHT = int(at("2016-02-01 00:00:00").timestamp()) * 1_000_000

IDS = st.sampled_from(
    [["a", "b", "", "é"], ["12345678", "12345679", "22345678"], ["0123456789-a", "0123456789-b", "x123456789-a"]]
)
"""Ids of any length, and of one length, which are compared by hashes first."""

VIEWS = IDS.flatmap(
    lambda ids: st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from(ids), st.integers(0, 2)), max_size=30
    )
)
"""Product, time, message id, position: few values, so that copies and differing copies are common."""


def once(views):
    product, time, message_id, position = (
        (list(column) for column in zip(*views, strict=True)) if views else ([], [], [], [])
    )
    kept = views_once(
        Rows(np.array(product, np.int64), np.array(time, np.int64)),
        pa.chunked_array([pa.array(message_id[:2], pa.string()), pa.array(message_id[2:], pa.string())]),
        np.array(position, np.int64),
    )
    return sorted(zip(kept.time.tolist(), kept.product.tolist(), strict=True))


def plainly_once(views):
    """The rule as it stands in the design, one view after the other."""
    first = {}
    for product, time, message_id, position in views:
        key = message_id, position
        first[key] = min(first.get(key, (time, product)), (time, product))
    return sorted(first.values())


def counted(*rows):
    counter = PartitionCounter()
    for product, time, is_view in rows:
        add = counter.add_views if is_view else counter.add_purchases
        add(Rows(np.array([product]), np.array([MIDNIGHT + time])))
    return counter


def test_a_message_delivered_twice_counts_once():
    assert once([(1, 9, "m", 0), (1, 9, "m", 0)]) == [(9, 1)]


def test_positions_of_one_message_are_views_of_their_own():
    assert once([(1, 9, "m", 0), (1, 9, "m", 1), (1, 9, "n", 0)]) == [(9, 1)] * 3


def test_of_differing_copies_the_smallest_time_then_product_counts():
    assert once([(0, 8, "m", 0), (1, 7, "m", 0), (0, 7, "m", 0)]) == [(7, 0)]


@given(st.lists(st.tuples(st.text(max_size=20), st.integers(0, 3)), max_size=30), st.integers(0, 30))
def test_copies_have_the_same_key_and_other_views_mostly_another(views, cut):
    ids, positions = pa.array(["cut off", *(text for text, _ in views)]).slice(1), [position for _, position in views]
    keys = view_keys(ids, np.array(positions, np.int64)).tolist()
    assert len(set(zip(views, keys, strict=True))) == len(set(views)) == len(set(keys))
    again = repeated([np.array(part, np.int64) for part in (keys[:cut], keys[cut:])])
    assert again.tolist() == sorted(key for key, count in Counter(keys).items() if count > 1)
    assert is_among(np.array(keys, np.int64), again).tolist() == [keys.count(key) > 1 for key in keys]


@given(VIEWS, st.randoms())
def test_the_order_of_arrival_does_not_matter(views, random):
    shuffled = random.sample(views, len(views))
    assert once(shuffled) == once(views)


@given(VIEWS)
def test_each_message_and_position_counts_once_with_its_smallest_copy(views):
    assert once(views) == plainly_once(views)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 86_399_999_999), st.booleans()), max_size=60))
def test_sums_of_a_finer_grain_give_the_coarser_one_and_all_add_up(rows):
    counter = counted(*rows)
    minutes = counter.minutes()
    for grain, factor in ((3_600_000_000, 60), (86_400_000_000, MINUTES)):
        expected = Counter((product, time // grain, is_view) for product, time, is_view in rows)
        coarse = minutes.coarser(factor)
        got = Counter()
        for cell, views, purchases in zip(
            coarse.cell.tolist(), coarse.views.tolist(), coarse.purchases.tolist(), strict=True
        ):
            key = divmod(cell, MINUTES // factor)
            got[(*key, True)], got[(*key, False)] = views, purchases
        assert +got == expected
    assert (minutes.views.sum(), minutes.purchases.sum()) == (counter.views, counter.purchases)
    assert (np.diff(minutes.cell) > 0).all()


def test_first_and_last_times_are_exact():
    counter = counted((0, 5, True), (1, 7, True), (0, 6, False))
    assert (counter.first_view, counter.last_view) == (MIDNIGHT + 5, MIDNIGHT + 7)
    assert (counter.first_purchase, counter.last_purchase) == (MIDNIGHT + 6, MIDNIGHT + 6)
    assert counted().first_view is None


def test_tables_carry_product_and_time_in_order():
    minutes = counted((1, 60_000_000, True), (0, 61_000_000, True), (0, 0, False), (0, 119_999_999, True)).minutes()
    [table] = minutes.tables(pa.array(["a", "b"]), DAY, 1, 100)
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("a", at("2016-02-01 00:00:00"), 0, 1),
        ("a", at("2016-02-01 00:01:00"), 2, 0),
        ("b", at("2016-02-01 00:01:00"), 1, 0),
    ]
    assert [part.num_rows for part in minutes.tables(pa.array(["a", "b"]), DAY, 1, 2)] == [2, 1]


def test_no_rows_are_no_cells():
    assert len(Counts.of([], [], []).cell) == 0
    assert list(counted().minutes().tables(pa.array([], pa.string()), DAY, 1, 10)) == []
