"""The order of rows in data files."""

from __future__ import annotations

from datetime import date, datetime, timezone

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.datafiles import sort_rows

SCHEMA = pa.schema(
    [
        ("date", pa.date32()),
        ("text", pa.string()),
        ("number", pa.int64()),
        ("time", pa.timestamp("us", "UTC")),
        ("coded", pa.dictionary(pa.int32(), pa.string())),
    ]
)
ROW = st.fixed_dictionaries(
    {
        "date": st.dates(date(1970, 1, 1), date(2100, 1, 1)),
        "text": st.one_of(st.sampled_from(["", "a", "é", "~", "ab"]), st.none()),
        "number": st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1)),
        "time": st.datetimes(datetime(1969, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone.utc)),
        "coded": st.sampled_from("ba"),
    }
)


@settings(deadline=None)
@given(st.lists(ROW, max_size=20), st.permutations(SCHEMA.names), st.integers(1, 5), st.integers(0, 20))
def test_rows_come_in_the_order_that_arrow_gives(rows, names, count, cut):
    names = names[:count]
    table = pa.concat_tables([pa.Table.from_pylist(part, schema=SCHEMA) for part in (rows[:cut], rows[cut:])])
    ours = sort_rows(table, names)
    plain = table.set_column(4, "coded", table["coded"].cast(pa.string()))  # Arrow sorts no coded columns in chunks
    arrows = plain.sort_by([(name, "ascending") for name in names])
    assert ours.select(names).to_pylist() == arrows.select(names).to_pylist()
    assert sorted(map(repr, ours.to_pylist())) == sorted(map(repr, table.to_pylist()))


@pytest.mark.parametrize("spread", [1, 2**40])
def test_one_key_and_several_give_the_same_order(spread):
    rows = [{"product": f"p{n % 7}", "number": n * 37 % 11 * spread} for n in range(50)]
    schema = pa.schema([("product", pa.string()), ("number", pa.int64())])
    ours = sort_rows(pa.Table.from_pylist(rows, schema=schema), ["product", "number"]).to_pylist()
    assert ours == sorted(rows, key=lambda row: (row["product"], row["number"]))


@pytest.mark.parametrize("low", [-(2**63), -1, 0, 1])
def test_numbers_as_far_apart_as_can_be_are_sorted(low):
    rows = pa.table({"number": pa.array([2**63 - 1, low, 5], pa.int64())})
    assert sort_rows(rows, ["number"])["number"].to_pylist() == sorted([2**63 - 1, low, 5])
