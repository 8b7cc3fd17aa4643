"""Publications, and taking back what a dead run left."""

from __future__ import annotations

import json
from datetime import date

import pyarrow as pa
import pytest

from jobs.datafiles import write_partitions
from jobs.lake import Lake
from jobs.publish import LOADS, newest_publication, newest_runs, next_number, publish, recover
from jobs.schemas import CTR_DAY, PUBLICATIONS, PUBLISHED, TABLES
from tests.rows import at

DAY = date(2016, 2, 1)


def counts(product, views=1):
    row = {
        "date": DAY,
        "platform": "iOS",
        "product": product,
        "time": at("2016-02-01 00:00:00"),
        "views": views,
        "purchases": 0,
    }
    return pa.Table.from_pylist([row], schema=CTR_DAY.schema)


@pytest.fixture
def lake(tmp_path):
    lake = Lake(str(tmp_path))
    lake.create()
    return lake


def add(lake, product):
    lake.commit(CTR_DAY, 1, write_partitions(lake.root, CTR_DAY, counts(product), ["product"]))


def products(lake):
    return sorted(lake.read(CTR_DAY)["product"].to_pylist())


def test_a_new_lake_has_every_table_and_no_publication(lake):
    assert lake.exists()
    assert newest_publication(lake) is None
    assert next_number(lake) == 1
    for table in TABLES:
        assert lake.open(table).protocol().min_reader_version == 1
        assert lake.open(table).protocol().min_writer_version == 2


def test_a_publication_names_the_newest_version_of_every_table(lake):
    add(lake, "a")
    assert publish(lake, 1, "daily", {"views": 1}) == 1
    newest = newest_publication(lake)
    assert newest["ctr_day_version"] == 1
    assert {newest[f"{table.name}_version"] for table in PUBLISHED if table is not CTR_DAY} == {0}
    assert json.loads(newest["report"]) == {"views": 1}
    assert next_number(lake) == 2


def test_runs_come_newest_first_and_loads_are_those_that_read_files_and_the_database(lake):
    assert list(newest_runs(lake)) == []
    for number, job in enumerate(("daily", "maintain", "backfill", "backfill --rebuild", "replay", "publish"), start=1):
        publish(lake, number, job, {"job": job})
    assert [run["publication"] for run in newest_runs(lake)] == [6, 5, 4, 3, 2, 1]
    assert [(run["job"], run["report"]) for run in newest_runs(lake, LOADS)] == [
        ("backfill", {"job": "backfill"}),
        ("daily", {"job": "daily"}),
    ]


def test_what_lies_beyond_the_newest_publication_is_taken_back(lake):
    add(lake, "a")
    publish(lake, 1, "daily", {})
    add(lake, "b")
    add(lake, "c")
    assert recover(lake) == ["ctr_day"]
    assert products(lake) == ["a"]


def test_without_a_publication_everything_is_taken_back(lake):
    add(lake, "a")
    assert recover(lake) == ["ctr_day"]
    assert products(lake) == []


def test_recovery_is_done_once_and_commits_nothing_where_nothing_is_left(lake):
    add(lake, "a")
    recover(lake)
    versions = lake.versions()
    assert recover(lake) == []
    assert lake.versions() == versions
    add(lake, "b")
    assert recover(lake) == ["ctr_day"]


def test_the_publications_table_grows_by_one_row_a_run(lake):
    for number in (1, 2, 3):
        publish(lake, next_number(lake), "daily", {})
        assert newest_publication(lake)["publication"] == number
    assert lake.read(PUBLICATIONS).num_rows == 3


def test_data_files_are_replaced_by_one_commit(lake):
    add(lake, "a")
    new = write_partitions(lake.root, CTR_DAY, counts("b"), ["product"])
    lake.commit(CTR_DAY, 2, new, lake.files(CTR_DAY, [(DAY, "iOS")]))
    assert products(lake) == ["b"]
    assert lake.open(CTR_DAY).version() == 2
    assert lake.files(CTR_DAY, [(DAY, "Android")]) == []


def test_statistics_let_readers_skip_files_and_are_never_too_narrow(lake):
    rows = counts("b").set_column(
        3, CTR_DAY.schema.field("time"), pa.array([at("2016-02-01 10:00:00.000500")], CTR_DAY.schema.field("time").type)
    )
    lake.commit(CTR_DAY, 1, write_partitions(lake.root, CTR_DAY, rows, ["product"]))
    [action] = pa.table(lake.open(CTR_DAY).get_add_actions(flatten=True)).to_pylist()
    assert (action["num_records"], action["min.product"], action["max.product"]) == (1, "b", "b")
    assert (action["min.time"], action["max.time"]) == (at("2016-02-01 10:00:00"), at("2016-02-01 10:00:00.001"))
    # What readers compare with is what counts: the value lies between the ends.
    assert action["min.time"] <= rows["time"][0].as_py() <= action["max.time"]
