"""Order items against the data files of a partition: whether they are the same rows, in whichever order."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timezone

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.compare import ITEM, PURCHASE, Held, compare
from jobs.datafiles import write_partitions
from jobs.schemas import PURCHASES

DAY = date(2016, 2, 1)
KEY = (DAY, "iOS")
FEW = {
    "item_id": st.sampled_from([None, "1", "2", "3", "4"]),
    "order_id": st.sampled_from(["7", "8"]),
    "product": st.sampled_from(["a", "b"]),
    "time": st.sampled_from([datetime(2016, 2, 1, 12, minute, tzinfo=timezone.utc) for minute in (0, 1)]),
    "device": st.just("iOS"),
    "status": st.sampled_from([None, "paid"]),
}
ROWS = st.lists(st.fixed_dictionaries(FEW), max_size=6)


def items(rows):
    """Purchases of one partition as a Spark task gets them."""
    others = {"date": DAY, "platform": "iOS", "kind": PURCHASE, "raw": None, "detail": None}
    types = {"kind": pa.string(), "raw": pa.binary(), "detail": pa.string()}
    schema = pa.schema([PURCHASES.schema.field(name) if name not in types else (name, types[name]) for name in ITEM])
    return pa.Table.from_pylist([others | row for row in rows], schema=schema)


def compared(lake, held, given):
    """What comes of items where the lake holds others, the first in a data file of its own."""
    parts = [held[:1], held[1:]]
    files = [file for part in parts for file in write_partitions(str(lake), PURCHASES, stored(part), ["product"])]
    return compare(items(given).to_batches(), Held(str(lake), {KEY: files} if files else {}, 2, DAY))


def stored(rows):
    return items(rows).select(PURCHASES.columns).cast(PURCHASES.schema)


def multiset(rows):
    return Counter(tuple(row.items()) for row in rows)


@st.composite
def changed(draw):
    """Rows, and the same rows in another order with perhaps one value changed, one row left out or one there twice."""
    rows = draw(ROWS)
    others = [dict(row) for row in draw(st.permutations(rows))]
    if others:
        index = draw(st.integers(0, len(others) - 1))
        change = draw(st.sampled_from(["value", "less", "more"]))
        if change == "value":
            name = draw(st.sampled_from(sorted(FEW)))
            others[index][name] = draw(FEW[name])
        elif change == "less":
            del others[index]
        else:
            others.append(others[index])
    return rows, others


@settings(deadline=None)
@given(st.one_of(changed(), st.tuples(ROWS, ROWS)))
def test_a_partition_is_the_same_exactly_if_its_rows_are(tmp_path_factory, both):
    held, given = both
    found = compared(tmp_path_factory.mktemp("lake"), held, given)
    same = {KEY} if given and multiset(held) == multiset(given) else set()
    assert found.same == same
    assert found.changed == ({KEY} if given else set()) - same
    assert bool(found.adds) == bool(found.changed)
    assert found.kinds == ({PURCHASE: len(given)} if given else {})


@settings(deadline=None)
@given(ROWS.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
def test_the_order_of_the_rows_does_not_matter(tmp_path_factory, both):
    held, given = both
    assert compared(tmp_path_factory.mktemp("lake"), held, given).same == ({KEY} if given else set())
