"""The ledger: which of several statements about a file holds, whoever asks."""

from __future__ import annotations

from datetime import datetime, timezone

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.lake import rows_of
from jobs.ledger import Ledger, _values, newest_statements
from jobs.schemas import FILES
from tests.jobs.lakes import make_lake, said

STATEMENTS = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from(["planned", "loaded", "replaced"]), st.integers(0, 3), st.integers(1, 2)
    ),
    max_size=12,
)


def newest(*statements):
    return newest_statements(rows_of(FILES, list(statements))).to_pylist()


def age(row):
    return row["batch"], row["state"] != "planned", row["recorded_at"]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (said("a", "loaded", minute=9, batch=1), said("a", "failed", minute=0, batch=2)),  # the clock went back
        (said("a", "planned", minute=9), said("a", "loaded", minute=0)),  # and so it did within a run
        (said("a", "loaded", minute=0), said("a", "replaced", minute=1)),
        (said("a", "loaded", batch=1), said("a", "planned", batch=2)),
    ],
)
def test_the_newest_statement_holds_in_whichever_order_they_lie(older, newer):
    for rows in ([older, newer], [newer, older]):
        [found] = newest(*rows)
        assert (found["state"], found["batch"]) == (newer["state"], newer["batch"])


def test_the_statements_that_hold_come_oldest_first():
    found = newest(said("c", batch=3), said("a", batch=1), said("b", batch=2), said("a", batch=4))
    assert [row["file_id"] for row in found] == ["b", "c", "a"]
    assert newest() == []


@given(STATEMENTS)
def test_one_statement_of_each_file_holds_and_none_is_newer(statements):
    rows = [said(*statement) for statement in statements]
    found = newest(*rows)
    assert sorted(row["file_id"] for row in found) == sorted({row["file_id"] for row in rows})
    for row in found:
        assert age(row) == max(age(other) for other in rows if other["file_id"] == row["file_id"])
    assert newest(*found) == found


TIMES = st.none() | st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone.utc))


@given(st.lists(TIMES, max_size=3), st.lists(TIMES, max_size=3))
def test_the_values_of_a_column_are_those_that_arrow_gives_whatever_its_type(one, two):
    times = pa.chunked_array([one, two], pa.timestamp("us", "UTC"))
    assert _values(times) == times.to_pylist()
    assert all(time is None or time.tzinfo is timezone.utc for time in _values(times))
    texts = pa.chunked_array([["a", None], []], pa.string())
    assert _values(texts) == ["a", None]


def test_the_ledger_of_a_lake_goes_by_these_statements_before_and_after_they_are_compacted(tmp_path):
    lake = make_lake(tmp_path)
    lake.append(FILES, rows_of(FILES, [said("a", "loaded", minute=9, batch=2), said("b", "planned", batch=2)]), 2)
    lake.append(FILES, rows_of(FILES, [said("a", "planned", batch=3), said("b", "loaded", batch=1)]), 3)
    ledger = Ledger.read(lake, tried={"c": "iOS/c"})
    assert {file_id: known.state for file_id, known in ledger.statements.items()} == {"a": "planned", "b": "planned"}
    assert ledger.tried == {"c": "iOS/c"}
    lake.overwrite(FILES, newest_statements(lake.read(FILES)), 4)
    assert Ledger.read(lake, tried={"c": "iOS/c"}) == ledger
