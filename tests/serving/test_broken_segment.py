"""A file of the replica that breaks while it is attached: the answer comes from Delta, and the file is made anew."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from serving.reply.answers import answer_ctr
from serving.reply.catalog import answer_products
from serving.request.parameters import CtrRequest, ProductsRequest
from serving.state.store import Store
from tests.serving.conftest import eventually
from tests.serving.lake import purchase, view
from tests.serving.replica.test_replica import DAY, VIEWS, files, open_replica, whole

__all__ = ["open_replica"]

CASES = {
    "small": replace(DAY, products=("a", "b")),
    "large": DAY,
    "typed": replace(DAY, format="arrow"),
    "two segments": CtrRequest(DAY.start - 86_400, DAY.end, 60),
}


def truncate(file: Path) -> None:
    os.truncate(file, 12288)


def overwrite(file: Path) -> None:
    with file.open("r+b") as handle:
        handle.seek(12288)
        handle.write(b"\xa5" * (file.stat().st_size - 12288))


def files_of(store: Store, rollup: str) -> list[Path]:
    assert store.replica is not None
    return sorted(store.replica.folder.glob(f"{rollup}*.duckdb"))


@pytest.mark.parametrize("damage", [truncate, overwrite])
@pytest.mark.parametrize("case", CASES)
def test_an_answer_whose_segment_breaks_comes_from_delta_and_the_segment_is_made_anew(
    lake, open_store, open_replica, caplog, case, damage
):
    lake.publish(VIEWS, [purchase("2016-02-01 14:00:00", "a")])
    request = CASES[case]
    wanted = answer_ctr(open_store(lake), request, None, 10**6)
    store = open_replica(lake, cache_bytes="0")
    whole_files = files(store)
    hours = files_of(store, "ctr_hour_201602")
    for file in hours:
        damage(file)
    broken = answer_ctr(store, request, None, 10**6)
    assert broken.body == wanted.body
    assert 'source;desc="delta"' in broken.headers["server-timing"]
    assert "are in doubt, Delta answers meanwhile" in caplog.text
    with store.lease() as lease:
        assert not {file.stem for file in hours} & {segment.name for segment in lease.snapshot.held}
    eventually(lambda: whole(store))
    again = answer_ctr(store, request, None, 10**6)
    assert again.body == wanted.body
    assert 'source;desc="replica"' in again.headers["server-timing"]
    assert store.replica.discarded == len(hours)
    assert {name for name, mark in files(store).items() if mark != whole_files[name]} == {file.name for file in hours}
    assert all(f"{file} is broken and was thrown away" in caplog.text for file in hours)


def test_a_segment_in_doubt_that_can_be_read_whole_is_kept(lake, open_replica):
    lake.publish(VIEWS)
    store = open_replica(lake)
    before = files(store)
    with store.lease() as lease:
        store.suspect(lease.snapshot.held, OSError("IO Error: Corrupt database file: another one"))
    with store.lease() as lease:
        assert lease.snapshot.held == frozenset()
    eventually(lambda: whole(store))
    assert files(store) == before
    assert store.replica.discarded == 0


def test_an_error_that_is_not_of_the_replica_puts_none_of_it_in_doubt(lake, open_replica):
    lake.publish(VIEWS)
    store = open_replica(lake)
    with store.lease() as lease:
        store.suspect(lease.snapshot.held, OSError("IO Error: Cannot open file x.parquet"))
        held = lease.snapshot.held
    with store.lease() as lease:
        assert lease.snapshot.held == held


@pytest.mark.parametrize("table", ["ctr_minute", "ctr_hour"])
def test_an_older_publication_that_shares_the_broken_segment_gives_it_back_too(lake, open_replica, table):
    lake.publish(VIEWS)
    store = open_replica(lake)
    lake.write(table, [], mode="append")
    lake.announce()
    store.poll()
    store.lease(1).close()
    for file in files_of(store, "ctr_hour"):
        truncate(file)
    assert answer_ctr(store, DAY, None, 10**6).headers["x-row-count"] == "2"
    eventually(lambda: whole(store))
    older = replace(DAY, as_of=1)
    assert answer_ctr(store, older, None, 10**6).headers["x-row-count"] == "2"
    assert store.replica.discarded == 1


def test_a_read_that_began_before_goes_on_while_the_segment_is_replaced(lake, open_replica):
    lake.publish([view("2016-02-01 13:00:00", f"p{number:05}") for number in range(50_000)])
    store = open_replica(lake)
    stream = answer_ctr(store, DAY, None, 1000)
    with store.lease() as lease:
        store.suspect(lease.snapshot.held, OSError("IO Error: Corrupt database file"))
    for file in files_of(store, "ctr_"):
        truncate(file)
    eventually(lambda: whole(store))
    text = b"".join(stream.chunks)
    stream.close()
    assert text.count(b"timestamp") == 50_000
    assert store.replica.discarded > 0


def test_a_segment_that_breaks_under_a_stream_is_put_in_doubt(lake, open_replica, monkeypatch):
    lake.publish([view("2016-02-01 13:00:00", f"p{number:05}") for number in range(5_000)])
    store = open_replica(lake)

    def breaking(body):
        yield b"["
        raise OSError("IO Error: Corrupt database file: computed checksum 1")

    monkeypatch.setattr("serving.reply.encode.Body.chunks", breaking)
    stream = answer_ctr(store, DAY, None, 1000)
    with pytest.raises(Exception, match="could not be read"):
        list(stream.chunks)
    stream.close()
    with store.lease() as lease:
        # of hours, and of days, which have the names: DuckDB does not say which of the files it is
        assert {segment.rollup for segment in lease.snapshot.held} == {"ctr_minute"}


PRODUCTS = [
    view("2015-12-31 10:00:00", "old_É"),
    view("2016-01-02 10:00:00", "New_é", "Android"),
    view("2016-01-02 10:00:00", "both%", "Android"),
    view("2016-01-02 10:00:00", "both%", "MobileWeb"),
    view("2016-01-02 10:00:00", "zoë"),
]
ASKED = [
    ProductsRequest(search, limit, platforms)
    for search in ("", "e", "É", "_", "%", "NEW", "none", "zoë")
    for limit in (1, 100)
    for platforms in ((), ("iOS",), ("Android", "MobileWeb"), ("MobileWeb",))
]


def test_products_of_the_replica_are_those_of_delta_for_every_search_limit_and_platform(lake, open_store, open_replica):
    lake.publish(PRODUCTS, [purchase("2014-05-01 00:00:00", "bought e", "MobileWeb")])
    delta, replica = open_store(lake), open_replica(lake)
    for request in ASKED:
        assert answer_products(replica, request, None).body == answer_products(delta, request, None).body, request
    assert answer_products(replica, ProductsRequest(), None).body.decode().count('"') == 10


def test_products_are_read_from_the_replica_and_from_delta_where_that_breaks(lake, open_store, open_replica):
    lake.publish(PRODUCTS)
    wanted = answer_products(open_store(lake), ProductsRequest(), None).body
    store = open_replica(lake)
    (lake.path / "ctr_day").rename(lake.path / "away")
    assert answer_products(store, ProductsRequest(), None).body == wanted, "the replica needs no table of the lake"
    (lake.path / "away").rename(lake.path / "ctr_day")
    for file in files_of(store, "ctr_day"):
        truncate(file)
    store.poll()
    assert answer_products(store, ProductsRequest(), None).body == wanted
    eventually(lambda: whole(store))
    assert answer_products(store, ProductsRequest(), None).body == wanted
