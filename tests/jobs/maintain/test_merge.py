"""Merging data files: the same rows, in order, in full row groups, in bounded pieces."""

from __future__ import annotations

import json
from datetime import date

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.datafiles import ROW_GROUP, DataFile, DataFileWriter, file_schema
from jobs.errors import AccountError
from jobs.lake import rows_of
from jobs.maintain.merge import held_bytes, merge
from jobs.schemas import QUARANTINE, VIEWS
from tests.jobs.lakes import DAY, multiset, reject, view

pytestmark = pytest.mark.slow

PRODUCTS = st.sampled_from(["", "a", "b", "ß", "😀", "\uffff", "zz"])
FILES = st.lists(st.lists(st.tuples(PRODUCTS, st.integers(0, 5)), max_size=30), min_size=1, max_size=6)


def write(root, rows, table=VIEWS):
    """One file that holds the rows as they are, in this order."""
    writer = DataFileWriter(str(root), table, DAY, "iOS")
    writer.write(rows_of(table, rows).select(file_schema(table).names))
    return [f"{root}/{table.name}/{file.path}" for file in writer.close()]


def read(root, file, table=VIEWS):
    return pq.read_table(f"{root}/{table.name}/{file.path}", partitioning=None)


def order(rows):
    return [(row["product"].encode(), row["time"]) for row in rows.to_pylist()]


@settings(max_examples=60, deadline=None)
@given(FILES, st.booleans())
def test_a_merge_has_the_same_rows_as_its_files_in_order_and_unsorted_files_cost_no_row(tmp_path_factory, files, tidy):
    root = tmp_path_factory.mktemp("merge")
    contents = [[view(p, t, offset=n) for n, (p, t) in enumerate(sorted(rows) if tidy else rows)] for rows in files]
    paths = [path for rows in contents for path in write(root, rows)]
    wanted = multiset(rows_of(VIEWS, [row for rows in contents for row in rows]).select(file_schema(VIEWS).names))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("jobs.maintain.merge._BATCH", 4)  # every file has several batches, some are read whole
        patched.setattr("jobs.maintain.merge._TOGETHER", 6)
        merged = merge(str(root), VIEWS, DAY, "iOS", paths)
    found = [read(root, file) for file in merged]
    assert len(merged) == (1 if wanted else 0)
    assert sum((multiset(rows) for rows in found), start=type(wanted)()) == wanted
    if tidy and found:
        assert order(found[0]) == sorted(order(found[0]))


def test_a_large_merge_streams_into_full_row_groups_with_statistics(tmp_path):
    day = [{"product": f"{n // 300:05}", "second": n % 300} for n in range(200_000)]
    paths = [path for part in range(4) for path in write(tmp_path, [view(**row) for row in day[part::4]])]
    [merged] = merge(str(tmp_path), VIEWS, DAY, "iOS", paths)
    metadata = pq.read_metadata(tmp_path / "views" / merged.path)
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [ROW_GROUP, 200_000 - ROW_GROUP]
    assert order(read(tmp_path, merged)) == [(row["product"].encode(), view(**row)["time"]) for row in day]
    stats = json.loads(merged.stats)
    assert (merged.rows, stats["numRecords"], stats["maxValues"]["product"]) == (200_000, 200_000, "00666")


def test_rejects_keep_their_raw_bytes_and_nulls(tmp_path):
    rows = [reject(bytes([n]) * n, file_id=None if n % 3 else "f", offset=None if n % 2 else n) for n in range(40)]
    paths = [path for part in range(5) for path in write(tmp_path, rows[part::5], QUARANTINE)]
    [merged] = merge(str(tmp_path), QUARANTINE, DAY, "iOS", paths)
    wanted = multiset(rows_of(QUARANTINE, rows).select(file_schema(QUARANTINE).names))
    assert multiset(read(tmp_path, merged, QUARANTINE)) == wanted


def test_a_merge_that_loses_a_row_is_an_error(tmp_path, monkeypatch):
    paths = write(tmp_path, [view(), view()]) + write(tmp_path, [view()])
    lossy = rows_of(VIEWS, [view()]).select(file_schema(VIEWS).names)
    monkeypatch.setattr("jobs.maintain.merge._merged", lambda *_: iter([lossy]))
    with pytest.raises(AccountError, match="wrote 1 of 3 rows; nothing was changed"):
        merge(str(tmp_path), VIEWS, DAY, "iOS", paths)


def test_what_a_file_holds_in_memory_is_bounded_by_a_batch_and_a_row_group():
    def file(rows, size):
        return DataFile("x", size, rows, date(2016, 2, 1), "iOS")

    assert held_bytes(file(10, 3000)) == 10 * 200 + 3000
    large = held_bytes(file(100 * ROW_GROUP, 100 << 20))
    assert large == held_bytes(file(1000 * ROW_GROUP, 1000 << 20)) < 5 << 20
