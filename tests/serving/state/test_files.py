from __future__ import annotations

import ctypes
from datetime import date

import pyarrow as pa
import pytest
from deltalake import DeltaTable, TableFeatures, write_deltalake

from serving.contract import TABLES
from serving.errors import PublicationError
from serving.reply.answers import answer_ctr
from serving.request.parameters import CtrRequest
from serving.state.files import TableFiles, files_of
from tests.serving.lake import view
from tests.serving.replica.test_replica import second
from tests.serving.state.test_store import views_of

FIRST, SECOND, THIRD = (date(2016, 1, day) for day in (1, 2, 3))
FILES = TableFiles(
    "views",
    "/lake/views",
    {(FIRST, "Android"): ("a",), (FIRST, "iOS"): ("b", "c"), (SECOND, "iOS"): ("d",), (THIRD, "Android"): ("e",)},
)


@pytest.mark.parametrize(
    ("first", "last", "platforms", "found"),
    [
        (FIRST, THIRD, (), "abcde"),
        (FIRST, FIRST, (), "abc"),
        (SECOND, THIRD, (), "de"),
        (FIRST, THIRD, ("iOS",), "bcd"),
        (FIRST, SECOND, ("Android", "iOS"), "abcd"),
        (SECOND, THIRD, ("MobileWeb",), ""),
        (date(2017, 1, 1), date(2018, 1, 1), (), ""),
    ],
)
def test_only_the_files_of_the_days_and_platforms_asked_for_are_named(first, last, platforms, found):
    assert FILES.within(first, last, platforms) == [f"/lake/views/{name}" for name in found]


def test_the_files_of_a_version_are_those_and_no_later_ones(lake):
    lake.publish([view("2016-01-01 00:00:00")])
    before = files_of(str(lake.path), "views", 0)
    lake.write("views", [view("2016-01-02 00:00:00", platform="Android")], mode="append")
    after = files_of(str(lake.path), "views", 1)
    assert list(before.names) == [(FIRST, "iOS")]
    assert list(after.names) == [(FIRST, "iOS"), (SECOND, "Android")]
    assert files_of(str(lake.path), "views", 0) == before
    assert set(before.all) < set(after.all)


def test_a_table_without_partitions_has_its_files_without_day_and_platform(lake):
    lake.publish([view("2016-01-01 00:00:00")])
    assert list(files_of(str(lake.path), "coverage", 0).names) == [None]


def test_a_table_without_rows_has_no_files(lake):
    lake.publish()
    assert [files_of(str(lake.path), table, 0).all for table in TABLES] == [[]] * len(TABLES)


def test_a_table_whose_rows_are_not_those_of_its_files_is_not_served(lake, open_store):
    """With deletion vectors files hold rows that are deleted."""
    lake.publish()
    store = open_store(lake)
    feature = TableFeatures.DeletionVectors
    DeltaTable(str(lake.path / "views")).alter.add_feature(feature, allow_protocol_versions_increase=True)
    lake.announce(views=1)
    store.poll()
    told = "Publication 2: table views wants reader version 3 at version 1; the service reads 1."
    assert store.problem == told
    assert store.snapshot is not None
    assert store.snapshot.version == 1


def test_a_file_that_lies_outside_its_partition_is_refused(lake):
    lake.publish([view("2016-01-01 00:00:00")])
    log = lake.path / "views" / "_delta_log" / f"{0:020}.json"
    log.write_text(log.read_text().replace('"path":"date=2016-01-01/', '"path":"date=2016-01-02/'))
    with pytest.raises(PublicationError, match="table views has a data file outside its partition at version 0"):
        files_of(str(lake.path), "views", 0)


def test_a_column_that_was_added_later_is_null_in_older_files(lake, open_store):
    lake.publish()
    narrow = TABLES["purchases"].remove(TABLES["purchases"].get_field_index("product"))
    rows = [{"date": FIRST, "platform": "iOS", "time": view("2016-01-01 10:00:00")["time"]}]
    write_deltalake(
        str(lake.path / "purchases"),
        pa.Table.from_pylist(rows, schema=narrow),
        mode="overwrite",
        schema_mode="overwrite",
        partition_by=["date", "platform"],
    )
    whole = pa.Table.from_pylist([{**rows[0], "product": "p"}], schema=TABLES["purchases"])
    write_deltalake(str(lake.path / "purchases"), whole, mode="append", schema_mode="merge")
    lake.announce(purchases=2)
    store = open_store(lake)
    request = CtrRequest(second("2016-01-01 00:00:30"), second("2016-01-01 23:00:00"), 1440, format="csv")
    with store.lease() as lease:
        assert lease.snapshot.version == 2
        assert views_of(lease) == 0
    rows_told = answer_ctr(store, request, None, 100).body.decode().splitlines()[1:]
    assert [line.split(",")[2] for line in rows_told] == ["p", ""]


@pytest.mark.slow
def test_asking_delta_again_and_again_keeps_no_memory(lake, open_store):
    """A reader that keeps a part of the log each time keeps some 30 kB of these 60 data files."""
    used = _used_bytes()
    days = [f"2016-{month:02}-{day:02}" for month in (1, 2) for day in range(1, 31) if (month, day) != (2, 30)]
    lake.publish([view(f"{day} 10:00:00") for day in days])
    store = open_store(lake, cache_bytes=0)
    request = CtrRequest(second("2016-01-05 10:00:00"), second("2016-01-05 11:00:00"), 1, ("p1",))

    def ask(times: int) -> int:
        for _ in range(times):
            assert b'"p1"' in bytes(answer_ctr(store, request, None, 100).body)
        return used()

    ask(100)
    before = ask(100)
    assert (ask(300) - before) / 300 < 8_000


def _used_bytes():
    """What gives the bytes that C libraries have asked for and not given back."""
    fields = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    mallinfo = type("Mallinfo2", (ctypes.Structure,), {"_fields_": [(name, ctypes.c_size_t) for name in fields]})
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        pytest.skip("the C library does not tell how much memory is in use")
    libc.mallinfo2.restype = mallinfo

    def used() -> int:
        found = libc.mallinfo2()
        return int(found.uordblks + found.hblkhd)

    return used
