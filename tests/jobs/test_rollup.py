"""Rollups of one partition from its data files: what is written, sorted, in how many passes; tasks. No Spark needed."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import rollup
from jobs.datafiles import write_partitions
from jobs.lake import Lake
from jobs.rollup import make_rollup_tasks, roll_up
from jobs.schemas import CTR_DAY, CTR_HOUR, CTR_MINUTE, PURCHASES, VIEWS
from tests.rows import at

DAY = date(2016, 2, 1)


def view(product="a", time="2016-02-01 12:00:00", message_id="m", position=0, platform="iOS"):
    when = at(time)
    return {
        "date": when.date(),
        "platform": platform,
        "product": product,
        "time": when,
        "message_id": message_id,
        "position": position,
        "file_id": "f",
        "offset": 0,
    }


def purchase(product="a", time="2016-02-01 12:00:00", platform="iOS"):
    when = at(time)
    return {
        "date": when.date(),
        "platform": platform,
        "product": product,
        "time": when,
        "order_id": "1",
        "item_id": "1",
    }


class Place:
    """A lake into which rows are committed."""

    def __init__(self, root):
        self.lake = Lake(str(root))
        self.lake.create()

    def put(self, table, *rows):
        files = write_partitions(
            self.lake.root, table, pa.Table.from_pylist(list(rows), schema=table.schema), ["product", "time"]
        )
        self.lake.commit(table, 1, files)

    def tasks(self, *partitions):
        return make_rollup_tasks(self.lake, partitions or [(DAY, "iOS")])

    def rolled(self):
        [task] = self.tasks()
        files, coverage = roll_up(task, self.lake.root)
        rows = {}
        for table in (CTR_MINUTE, CTR_HOUR, CTR_DAY):
            [file] = files[table.name]
            assert (file.date, file.platform) == (DAY, "iOS")
            read = pq.read_table(Path(self.lake.uri(table)) / file.path, partitioning=None)
            rows[table.name] = [
                (r["product"], f"{r['time']:%H:%M}", r["views"], r["purchases"]) for r in read.to_pylist()
            ]
        return rows, coverage


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_three_rollups_are_written_sorted_with_equal_sums(place):
    place.put(VIEWS, view("b", "2016-02-01 00:00:01", "1"), view("é", "2016-02-01 13:59:59.999", "2"))
    place.put(
        VIEWS,
        view("a", "2016-02-01 14:00:00", "3"),
        view("a", "2016-02-01 14:00:01", "4"),
        view("a", "2016-02-01 13:59:00", "5"),
    )
    place.put(PURCHASES, purchase("a", "2016-02-01 23:00:00"), purchase("c", "2016-02-01 14:00:59"))
    rows, _ = place.rolled()
    assert rows["ctr_minute"] == [
        ("a", "13:59", 1, 0),
        ("a", "14:00", 2, 0),
        ("a", "23:00", 0, 1),
        ("b", "00:00", 1, 0),
        ("c", "14:00", 0, 1),
        ("é", "13:59", 1, 0),
    ]
    assert rows["ctr_hour"] == [
        ("a", "13:00", 1, 0),
        ("a", "14:00", 2, 0),
        ("a", "23:00", 0, 1),
        ("b", "00:00", 1, 0),
        ("c", "14:00", 0, 1),
        ("é", "13:00", 1, 0),
    ]
    assert rows["ctr_day"] == [("a", "00:00", 3, 1), ("b", "00:00", 1, 0), ("c", "00:00", 0, 1), ("é", "00:00", 1, 0)]


def test_copies_in_different_data_files_count_once_and_rows_without_id_all(place):
    place.put(VIEWS, view(), view(message_id=None))
    place.put(VIEWS, view(), view(message_id=None), view(position=1))
    rows, coverage = place.rolled()
    assert rows["ctr_day"] == [("a", "00:00", 4, 0)]
    assert coverage["views"] == 4


def test_coverage_has_counts_and_exact_ends(place):
    place.put(
        VIEWS,
        view(time="2016-02-01 10:00:00.001", message_id="1"),
        view(time="2016-02-01 11:00:00.002", message_id="2"),
    )
    place.put(PURCHASES, purchase(time="2016-02-01 09:00:00"))
    _, coverage = place.rolled()
    assert rollup._coverage_from_json(coverage) == {
        "date": DAY,
        "platform": "iOS",
        "views": 2,
        "purchases": 1,
        "first_view": at("2016-02-01 10:00:00.001"),
        "last_view": at("2016-02-01 11:00:00.002"),
        "first_purchase": at("2016-02-01 09:00:00"),
        "last_purchase": at("2016-02-01 09:00:00"),
    }


def test_many_passes_give_the_same_counts_as_one(place, monkeypatch):
    ids = [None, "", "x", "é", *(f"message-{n}" for n in range(50)), *(f"{n:036d}" for n in range(50))]
    place.put(
        VIEWS,
        *[view(f"p{n % 7}", f"2016-02-01 12:{n % 60:02d}:00", message_id) for n, message_id in enumerate(ids * 2)],
    )
    place.put(
        VIEWS, *[view(f"p{n % 7}", f"2016-02-01 12:{n % 60:02d}:00", message_id) for n, message_id in enumerate(ids)]
    )
    one = place.rolled()
    monkeypatch.setattr(rollup, "PASS_ROWS", 40)
    assert place.rolled() == one
    monkeypatch.setattr(rollup, "view_keys", lambda ids, position: np.zeros(len(ids), np.int64))
    assert place.rolled() == one


VIEW = st.builds(
    view,
    st.sampled_from("abc"),
    st.sampled_from(["2016-02-01 00:00:00", "2016-02-01 12:00:01", "2016-02-01 12:00:02.5", "2016-02-01 23:59:59.999"]),
    st.sampled_from([None, "", "1", "22", f"{1:036d}", f"{2:036d}"]),
    st.integers(0, 1),
)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(VIEW, min_size=1, max_size=8), min_size=1, max_size=3))
def test_any_views_in_any_files_are_counted_as_the_rule_says(tmp_path_factory, files):
    place = Place(tmp_path_factory.mktemp("lake"))
    for rows in files:
        place.put(VIEWS, *rows)
    rows = [row for file in files for row in file]
    copies = {}
    for row in rows:
        if row["message_id"] is not None:
            found = row["time"], row["product"]
            key = row["message_id"], row["position"]
            copies[key] = min(copies.get(key, found), found)
    counted = [*copies.values(), *((row["time"], row["product"]) for row in rows if row["message_id"] is None)]
    rolled, coverage = place.rolled()
    cells = Counter((product, f"{time:%H:%M}") for time, product in counted)
    assert rolled["ctr_minute"] == sorted((*cell, count, 0) for cell, count in cells.items())
    ends = rollup._coverage_from_json(coverage)
    times = [time for time, _ in counted]
    assert (ends["views"], ends["first_view"], ends["last_view"]) == (len(counted), min(times), max(times))


def test_a_task_for_each_partition_that_has_rows_the_largest_first(place):
    place.put(
        VIEWS, view(message_id="1"), view(message_id="2", platform="Android"), view(message_id="3", platform="Android")
    )
    place.put(PURCHASES, purchase(time="2016-02-02 10:00:00"), purchase())
    tasks = place.tasks((DAY, "iOS"), (DAY, "Android"), (date(2016, 2, 2), "iOS"), (DAY, "MobileWeb"))
    assert [(task.date.day, task.platform, len(task.views), len(task.purchases), task.view_rows) for task in tasks] == [
        (1, "Android", 1, 0, 2),
        (1, "iOS", 1, 1, 1),
        (2, "iOS", 0, 1, 0),
    ]
