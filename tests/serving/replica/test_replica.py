from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import os
import random
import resource
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from serving.contract import PLATFORMS
from serving.query.plan import make_plan
from serving.query.queries import ctr
from serving.query.small import fits
from serving.replica.builder import Builder, _locked
from serving.replica.replica import Replica
from serving.replica.segments import product_id, segments_of
from serving.reply.answers import answer_at_once, answer_ctr
from serving.reply.catalog import answer_ready
from serving.request.parameters import CtrRequest
from serving.settings import Settings
from serving.state.store import Store
from tests.serving.conftest import eventually
from tests.serving.lake import Lake, at, purchase, view


def second(text: str) -> int:
    return int(at(text).timestamp())


def rows_of(store: Store, request: CtrRequest) -> tuple[str, str]:
    """What reads the answer, and its text."""
    with store.lease() as lease:
        plan = make_plan(request, lease.snapshot.segments, lease.snapshot.held)
        query = ctr(request, plan, lease.snapshot)
        text = "".join(row[0] for row in lease.cursor.execute(query.sql, query.values).fetchall())
        return plan.readers, text


def small_way(store: Store, request: CtrRequest) -> bool:
    """Whether a request is answered without the large statement."""
    with store.lease() as lease:
        plan = make_plan(request, lease.snapshot.segments, lease.snapshot.held)
        return fits(request, plan) and store.numbers(lease.snapshot, request.products) is not None


def files(store: Store) -> dict[str, tuple[int, int]]:
    """The segment files, with the identity of each on the disk: a number, which may be given again, and a time."""
    assert store.replica is not None
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in store.replica.folder.glob("*.duckdb")}


def whole(store: Store) -> bool:
    """Looks once; whether every segment that the replica is to have is attached."""
    store.poll()
    assert store.replica is not None
    with store.lease() as lease:
        return set(store.replica.wanted(lease.snapshot.segments)) == lease.snapshot.held


@pytest.fixture
def open_replica(open_store, tmp_path):
    """A store whose replica is whole."""

    def start(lake: Lake, **settings) -> Store:
        store = open_store(lake, replica=True, replica_folder=str(tmp_path / "replica"), **settings)
        eventually(lambda: whole(store))
        return store

    return start


VIEWS = [
    view("2016-01-31 23:59:59.999", "a"),
    view("2016-02-01 00:00:00", "b", "Android"),
    view("2016-02-01 13:55:00", "a"),
    view("2016-02-03 10:00:00", "a"),
]
HEADERS, BLOCK = 3 * 4096, 256 << 10
"""Bytes of a DuckDB file before its first block, and of each block."""
DAY = CtrRequest(second("2016-02-01 00:00:00"), second("2016-02-02 00:00:00"), 60)


def test_before_the_replica_stands_delta_answers_and_then_the_replica_the_same(lake, open_store, tmp_path):
    lake.publish(VIEWS, [purchase("2016-02-01 14:00:00", "a")])
    store = open_store(lake, replica=True, replica_folder=str(tmp_path / "replica"))
    with store.lease() as early:
        assert early.snapshot.held == frozenset()
    reader, text = rows_of(open_store(lake), DAY)
    assert reader == "delta"
    eventually(lambda: whole(store))
    assert rows_of(store, DAY) == ("replica", text)
    assert text.count("timestamp") == 3


def random_rows(chance: random.Random, count: int) -> tuple[list, list]:
    names = ["a", "b_1", "É", 'quo"te', "20001829_048", "zz"]

    def when() -> str:
        moment = datetime(2016, 1, 28) + timedelta(
            seconds=chance.randrange(7 * 86_400), milliseconds=chance.randrange(1000)
        )
        return moment.isoformat(sep=" ")

    views = [view(when(), chance.choice(names), chance.choice(PLATFORMS)) for _ in range(count)]
    return views, [purchase(when(), chance.choice(names), chance.choice(PLATFORMS)) for _ in range(count // 3)]


@pytest.mark.parametrize("minute_days", [None, 2, 0])
def test_random_requests_get_the_same_rows_from_the_replica_as_from_delta(lake, open_store, open_replica, minute_days):
    chance = random.Random(7)
    lake.publish(*random_rows(chance, 2000))
    delta, replica = open_store(lake), open_replica(lake, replica_minute_days=minute_days)
    first, last = second("2016-01-27 00:00:00"), second("2016-02-06 00:00:00")
    readers = set()
    took_small = 0
    for _ in range(60):
        grain = chance.choice([1, 60, 3600, 86_400])
        start, end = sorted(chance.sample(range(first // grain, last // grain), 2))
        request = CtrRequest(
            start * grain,
            end * grain,
            chance.choice([1, 7, 60, 90, 1440, 2880, 10_080]),
            products=tuple(sorted(chance.sample(["a", "É", 'quo"te', "none"], chance.randrange(4)))),
            platforms=tuple(sorted(chance.sample(PLATFORMS, chance.randrange(3)))),
            timezone=chance.choice(["UTC", "America/Sao_Paulo"]),
            detail=chance.random() < 0.5,
        )
        reader, text = rows_of(replica, request)
        readers.add(reader)
        assert ("delta", text) == rows_of(delta, request), request
        answers = [answer_ctr(store, request, None, 10**6) for store in (replica, delta)]
        assert answers[0].body == answers[1].body, request
        took_small += small_way(replica, request)
    assert {"replica", "replica+delta"} <= readers
    assert took_small > 3


def test_a_new_publication_goes_on_with_the_segments_that_it_left_unchanged(lake, open_replica):
    lake.publish(VIEWS)
    store = open_replica(lake)
    before = files(store)
    days = lake.write("ctr_minute", [], mode="append")
    assert days
    lake.announce()
    store.poll()
    with store.lease() as lease:
        assert lease.snapshot.version == 2
        assert lease.snapshot.held == frozenset(lease.snapshot.segments), "nothing changed, so nothing is missing"
    assert files(store) == before


def test_only_changed_segments_are_made_anew_and_old_files_go(lake, open_replica):
    lake.publish(VIEWS)
    store = open_replica(lake)
    before = files(store)
    lake.write("ctr_minute", [cell("2016-02-03 11:00:00")], mode="append")
    lake.announce()
    eventually(lambda: whole(store))
    eventually(lambda: len(files(store)) == len(before))
    after = files(store)
    assert {name[:19] for name, _ in set(before.items()) ^ set(after.items())} == {"ctr_minute_20160203"}
    request = CtrRequest(second("2016-02-03 10:30:00"), second("2016-02-03 12:00:00"), 30)
    assert rows_of(store, request)[0] == "replica"
    assert '"timestamp":"2016-02-03 11:00:00"' in rows_of(store, request)[1]


def cell(time: str) -> dict:
    """One row of a rollup."""
    return {
        "date": at(time).date(),
        "platform": "iOS",
        "product": "a",
        "time": at(time),
        "views": 1,
        "purchases": 0,
    }


def test_a_lease_reads_its_segments_to_the_end_while_they_are_replaced(lake, open_replica):
    lake.publish(VIEWS)
    store = open_replica(lake)
    with store.lease() as old:
        lake.publish([*VIEWS, view("2016-02-01 13:55:00", "a")])
        eventually(lambda: whole(store))
        eventually(lambda: len(files(store)) == 6)
        plan = make_plan(DAY, old.snapshot.segments, old.snapshot.held)
        query = ctr(DAY, plan, old.snapshot)
        assert plan.readers == "replica"
        assert len(old.cursor.execute(query.sql, query.values).fetchall()) == 2


def attached(store: Store) -> set[str]:
    """The names of the segments that are attached to every database of the store."""
    with store._databases.cursors() as cursors:
        found = [
            {name for (name,) in cursor.execute("SELECT database_name FROM duckdb_databases()").fetchall()}
            for cursor in cursors
        ]
    assert found[0] == found[1]
    return {name for name in found[0] if name.startswith("ctr_")}


def test_a_lease_ends_without_waiting_for_who_attaches_segments_and_what_it_held_is_given_back_later(
    lake, open_replica
):
    lake.publish(VIEWS)
    store = open_replica(lake)
    old = store.lease()
    before = attached(store)
    lake.publish([view("2016-02-01 13:55:00", "a")])
    eventually(lambda: whole(store))
    assert attached(store) > before, "the lease still reads them"
    with store.replica._lock:
        ending = threading.Thread(target=old.close, daemon=True)
        ending.start()
        ending.join(2)
        assert not ending.is_alive()
    store.poll()
    with store.lease() as lease:
        assert attached(store) == {segment.name for segment in lease.snapshot.held}
    assert set(store.replica._users) == attached(store)


def test_older_publications_that_are_closed_give_back_their_segments_without_a_look(lake, open_store, tmp_path):
    for _ in range(3):
        lake.publish(VIEWS)
    settings = {"replica": True, "replica_folder": str(tmp_path / "replica"), "older_publications": 1}
    store = open_store(lake, **settings)
    eventually(lambda: whole(store))
    newest = attached(store)
    lake.write("ctr_minute", [], mode="append")
    lake.announce()
    store.poll()
    for number in (3, 2, 1):
        store.lease(number).close()
    assert attached(store) == newest
    assert set(store.replica._users.values()) == {1}, "3 shared them, and is closed"


def test_a_broken_file_is_thrown_away_and_made_anew(lake, open_replica, open_store, caplog):
    lake.publish(VIEWS)
    first = open_replica(lake)
    names = set(files(first))
    first.close()
    broken = first.replica.folder / min(names)
    broken.write_bytes(broken.read_bytes()[:5000])
    second_store = open_replica(lake)
    assert set(files(second_store)) == names
    assert "is broken and was thrown away" in caplog.text
    assert rows_of(second_store, DAY)[0] == "replica"


def test_a_file_whose_products_are_damaged_at_the_start_is_made_anew(lake, open_replica, caplog):
    lake.publish([view("2016-02-01 13:00:00", f"p{number:05}") for number in range(5_000)])
    store = open_replica(lake)
    file = next(store.replica.folder.glob("ctr_day*.duckdb"))
    store.close()
    with duckdb.connect(str(file), read_only=True) as connection:
        asked = "SELECT DISTINCT block_id FROM pragma_storage_info(?) WHERE block_id >= 0"
        blocks, others = (set(connection.execute(asked, [table]).fetchall()) for table in ("product", "segment"))
    with file.open("r+b") as handle:
        handle.seek(HEADERS + min(blocks - others)[0] * BLOCK + 4096)
        handle.write(b"\xa5" * 100)
    again = open_replica(lake)
    assert "cannot be used as a whole" not in caplog.text
    assert f"{file} is broken and was thrown away (IO Error: Corrupt database file" in caplog.text
    assert again.replica.discarded == 1


def test_a_file_of_another_content_under_the_name_of_a_segment_is_not_read(lake, open_replica):
    lake.publish(VIEWS)
    store = open_replica(lake)
    store.close()
    one, other = sorted(store.replica.folder.glob("ctr_minute*.duckdb"))[:2]
    other.write_bytes(one.read_bytes())
    wrong = files(store)[other.name]
    assert files(open_replica(lake))[other.name] != wrong


def test_what_a_killed_builder_left_is_removed(lake, open_replica, tmp_path):
    lake.publish(VIEWS)
    store = open_replica(lake)
    half = store.replica.folder / "ctr_day_2016_x.half"
    half.write_bytes(b"half")
    spill = store.replica.folder / "spill-x"
    spill.mkdir()
    (spill / "duckdb_temp_storage_DEFAULT-0.tmp").write_bytes(b"spilt")
    lake.publish(VIEWS)
    eventually(lambda: whole(store) and not half.exists() and not spill.exists())


def test_a_folder_that_cannot_be_looked_at_for_a_moment_is_told_and_ends_nothing(
    lake, open_replica, monkeypatch, caplog
):
    lake.publish(VIEWS)
    store = open_replica(lake)
    here = threading.current_thread()

    def stale(look):
        def looked(path: Path, **options):
            if path.suffix == ".duckdb" and threading.current_thread() is here:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            return look(path, **options)

        return looked

    for look in ("exists", "stat"):
        monkeypatch.setattr(Path, look, stale(getattr(Path, look)))
    assert json.loads(answer_ready(store).body)["replica"]["held"] == len(store.snapshot.segments)
    lake.publish([*VIEWS, view("2016-02-04 10:00:00", "a")])
    store.poll()
    store.poll()
    told = json.loads(answer_ready(store).body)
    assert (told["status"], told["dataVersion"]) == ("degraded", 2), "the new publication is served all the same"
    assert told["problem"] == "The local copy cannot be used as a whole."
    assert caplog.text.count(os.strerror(errno.ESTALE)) == 1
    monkeypatch.undo()
    eventually(lambda: whole(store))
    assert json.loads(answer_ready(store).body)["status"] == "ready"


@contextlib.contextmanager
def few_handles(count: int) -> Iterator[None]:
    """Leaves this process so many file handles besides those that it has."""
    free = os.dup(0)
    os.close(free)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("spared", [True, False], ids=["spared for others", "all taken"])
def test_a_segment_without_a_file_handle_for_it_is_kept_and_attached_later(
    lake, open_replica, monkeypatch, caplog, spared
):
    lake.publish(VIEWS)
    store = open_replica(lake)
    before = files(store)
    monkeypatch.setattr("serving.load.handles.for_replica", lambda _: 3 if spared else math.inf)
    with store.lease() as lease:
        store.suspect(lease.snapshot.held, OSError("IO Error: Corrupt database file"))
    with few_handles(100 if spared else 3):
        store.poll()
        store.poll()
        with store.lease() as lease:
            assert len(lease.snapshot.held) < len(lease.snapshot.segments)
    assert json.loads(answer_ready(store).body)["status"] == "degraded"
    assert caplog.text.count("it cannot be used as a whole, Delta answers for the rest") == 1
    assert ("LimitNOFILE" if spared else os.strerror(errno.EMFILE)) in caplog.text
    monkeypatch.undo()
    assert whole(store)
    assert store.replica_problem is None
    assert (files(store), store.replica.discarded) == (before, 0)


NO_MEMORY = "SELECT error('Out of Memory Error: could not allocate block')"


def test_a_segment_in_doubt_that_there_is_no_memory_to_read_is_kept_and_stays_in_doubt(lake, open_replica, monkeypatch):
    lake.publish(VIEWS)
    store = open_replica(lake)
    before = files(store)
    with store.lease() as lease:
        store.suspect(lease.snapshot.held, OSError("IO Error: Corrupt database file"))
    monkeypatch.setattr("serving.query.segment_queries.read_segment", lambda _: NO_MEMORY)
    store.poll()
    with store.lease() as lease:
        assert lease.snapshot.held == frozenset()
    assert store.replica_problem is not None
    monkeypatch.undo()
    assert whole(store)
    assert (files(store), store.replica.discarded) == (before, 0)


def test_one_builder_on_a_host(lake, open_store, tmp_path):
    lake.publish(VIEWS)
    settings = Settings(lake=str(lake.path), replica_folder=str(tmp_path / "replica"))
    replica = Replica(settings)
    store = open_store(lake)
    with store.lease() as lease:
        segments = segments_of(lease.snapshot.publication, lease.snapshot.tables)
    first, other = Builder(settings, replica), Builder(settings, replica)
    made: list[bool] = []
    first._make = lambda wanted: made.append(other.build())  # type: ignore[method-assign]
    assert first.build()
    assert made == [False], "while one is at it, another leaves it alone"
    other._wanted = segments
    assert other.build()
    assert replica.missing(segments) == []


@pytest.fixture
def two_services(lake, open_store, tmp_path):
    """One that keeps all minutes, and one that keeps the newest day of them, with one folder for both."""
    lake.publish(VIEWS)
    folder = str(tmp_path / "replica")
    every = open_store(lake, replica=True, replica_folder=folder)
    few = open_store(lake, replica=True, replica_folder=folder, replica_minute_days=1)
    eventually(lambda: whole(every) and whole(few))
    return every, few


def test_two_services_that_want_different_files_of_a_lake_leave_each_other_theirs(two_services):
    every, few = two_services
    before = files(every)
    for store in (few, every, few):
        assert store.builder is not None
        eventually(store.builder.build)
    assert files(every) == before
    assert len([name for name in before if name.startswith("ctr_minute")]) > 1


def test_a_file_that_nobody_wanted_for_a_while_goes(lake, open_replica):
    lake.publish(VIEWS)
    store = open_replica(lake)
    assert store.replica is not None
    assert store.builder is not None
    ages = {"young": 500, "old": 700, "of_a_clock_ahead": -86_400}
    others = {name: store.replica.folder / f"ctr_day_2015_{name}.duckdb" for name in ages}
    for name, file in others.items():
        file.write_bytes(b"of another version of DuckDB")
        os.utime(file, (time.time() - ages[name], 0))
    eventually(store.builder.build)
    assert {name for name, file in others.items() if file.exists()} == {"young", "of_a_clock_ahead"}
    assert others["of_a_clock_ahead"].stat().st_atime <= time.time()
    assert whole(store)


def test_a_builder_marks_its_files_while_another_builds(lake, open_replica):
    lake.publish(VIEWS)
    store = open_replica(lake)
    assert store.replica is not None
    assert store.builder is not None
    eventually(store.builder.build)  # its own thread has ended its round
    before = files(store)
    for name in before:
        os.utime(store.replica.folder / name, ns=(0, before[name][1]))
    with _locked(store.replica.folder / "lock") as mine:
        assert mine
        assert not store.builder.build()
    assert min((store.replica.folder / name).stat().st_atime for name in before) > time.time() - 60
    assert files(store) == before


def test_a_day_that_one_service_keeps_no_longer_stays_for_who_does(lake, two_services):
    every, few = two_services
    before = files(every)
    lake.write("ctr_minute", [cell("2016-02-09 11:00:00")], mode="append")
    lake.announce()
    eventually(lambda: whole(few) and whole(every))
    assert files(every).items() >= before.items()
    assert len(files(every)) == len(before) + 1


def test_a_folder_that_can_be_written_no_more_and_has_all_files_is_no_problem(lake, open_replica):
    lake.publish(VIEWS)
    store = open_replica(lake)
    assert store.replica is not None
    assert store.builder is not None
    lock = store.replica.folder / "lock"
    lock.unlink()
    lock.mkdir()  # what cannot be opened, whoever tries
    assert store.builder.build()
    lake.write("ctr_minute", [cell("2016-02-09 11:00:00")], mode="append")
    lake.announce()
    eventually(lambda: not whole(store) and store.replica_problem)


def test_a_segment_that_could_not_be_made_is_tried_again_from_the_version_that_is_published_now(
    lake, open_store, tmp_path
):
    lake.publish(VIEWS)
    settings = Settings(lake=str(lake.path), replica_folder=str(tmp_path / "replica"))
    store = open_store(lake)
    with store.lease() as lease:
        segments = segments_of(lease.snapshot.publication, lease.snapshot.tables)
    later = tuple(dataclasses.replace(segment, version=7) for segment in segments)
    assert later == segments, "their files hold the same"
    builder = Builder(settings, Replica(settings))
    builder.close()
    builder._wanted, builder.failure = segments, OSError()
    builder.want(later)
    assert {segment.version for segment in builder._wanted} == {7}


def test_a_folder_that_cannot_be_written_leaves_delta_answering_and_is_told_until_it_can(
    lake, open_store, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("serving.replica.builder._RETRY_SECONDS", 0.05)
    lake.publish(VIEWS)
    (tmp_path / "file").write_text("no folder")
    store = open_store(lake, replica=True, replica_folder=str(tmp_path / "file"))
    eventually(lambda: not whole(store) and store.replica_problem)
    told = json.loads(answer_ready(store).body)
    assert (told["status"], told["problem"]) == ("degraded", "The local copy cannot be built.")
    assert "the replica could not be built" in caplog.text
    assert rows_of(store, DAY)[0] == "delta"
    (tmp_path / "file").unlink()
    eventually(lambda: whole(store) and store.replica_problem is None)
    assert json.loads(answer_ready(store).body)["status"] == "ready"


def test_a_lost_data_file_costs_the_local_copy_its_own_days_alone(lake, open_store, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("serving.replica.builder._RETRY_SECONDS", 0.05)
    lake.publish(VIEWS)
    lost = next((lake.path / "ctr_day" / "date=2016-02-01").rglob("*.parquet"))
    lost.rename(tmp_path / lost.name)
    store = open_store(lake, replica=True, replica_folder=str(tmp_path / "replica"))
    eventually(lambda: not whole(store) and len(store.snapshot.held) == len(store.snapshot.segments) - 1)
    told = json.loads(answer_ready(store).body)["problem"]
    assert told.startswith("The local copy cannot be built as a whole: ctr_day of 2016-01-31 to 2016-02-03.")
    assert str(lost) in caplog.text
    lake.write("ctr_minute", [cell("2016-02-09 11:00:00")], mode="append")
    lake.announce()
    eventually(lambda: not whole(store) and "ctr_minute_20160209" in {one.name[:19] for one in store.snapshot.held})
    assert {one.rollup for one in set(store.snapshot.segments) - store.snapshot.held} == {"ctr_day"}
    (tmp_path / lost.name).rename(lost)
    eventually(lambda: whole(store) and store.replica_problem is None)


def test_what_could_not_be_built_keeps_no_room_on_the_disk(lake, open_store, tmp_path, no_long_files):
    lake.publish(VIEWS)
    settings = Settings(lake=str(lake.path), replica_folder=str(tmp_path / "replica"))
    with open_store(lake).lease() as lease:
        segments = segments_of(lease.snapshot.publication, lease.snapshot.tables)
    replica = Replica(settings)
    builder = Builder(settings, replica)
    builder._wanted = segments
    with pytest.raises(duckdb.IOException, match="Could not write file"):
        builder.build()
    assert [path.name for path in replica.folder.iterdir()] == ["lock"]


def test_a_builder_that_waits_for_another_does_not_take_its_own_failure_for_mended(lake, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.replica.builder._RETRY_SECONDS", 0.01)
    settings = Settings(lake=str(lake.path), replica_folder=str(tmp_path / "replica"))
    builder = Builder(settings, Replica(settings))
    outcomes = iter([OSError("full"), False, False, True])
    seen: list[Exception | None] = []

    def build() -> bool:
        seen.append(builder.failure)
        outcome = next(outcomes, True)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(builder, "build", build)
    builder._thread.start()
    eventually(lambda: len(seen) == 4 and builder.failure is None)
    builder.close()
    assert [str(one) for one in seen] == ["None", "full", "full", "full"]


def test_a_product_whose_number_another_has_gets_no_rows_of_it(lake, open_replica, monkeypatch):
    lake.publish(VIEWS)
    store = open_replica(lake)
    monkeypatch.setattr("serving.query.cells.product_id", lambda name: product_id("a"))
    monkeypatch.setattr("serving.replica.replica.product_id", lambda name: product_id("a"))
    asked = CtrRequest(DAY.start, DAY.end, 60, products=("stranger",))
    assert rows_of(store, asked) == ("replica", "")
    assert small_way(store, asked)
    assert answer_ctr(store, asked, None, 100).body == b"[]"


def test_products_that_share_a_number_are_told_apart_by_the_large_statement(lake, open_replica):
    lake.publish(VIEWS)
    store = open_replica(lake)
    asked = CtrRequest(DAY.start, DAY.end, 60, products=("a",))
    assert small_way(store, asked)
    store.replica._names[product_id("a")] = None
    assert not small_way(store, asked)
    assert answer_ctr(store, asked, None, 100).headers["x-row-count"] == "1"


def test_few_cells_are_answered_at_once_with_the_same_answer(lake, open_replica):
    lake.publish(VIEWS)
    store = open_replica(lake, cache_bytes=0)
    asked = CtrRequest(DAY.start, DAY.end, 60, products=("a",))
    at_once = answer_at_once(store, asked, None, 10_000)
    assert at_once.body == answer_ctr(store, asked, None, 100).body != b"[]"
    assert answer_at_once(store, asked, at_once.headers["etag"], 10_000).status_code == 304
    assert answer_at_once(store, DAY, None, 10_000) is None, "all products are work for a thread"
    assert answer_at_once(store, asked, None, 1) is None, "the limit of rows is the business of the large statement"


def test_what_is_kept_is_given_at_once_and_an_older_publication_is_left_to_a_thread(lake, open_replica):
    lake.publish(VIEWS)
    store = open_replica(lake)
    answer = answer_ctr(store, DAY, None, 100)
    again = answer_at_once(store, DAY, None, 10_000)
    assert (again.body, again.headers["etag"]) == (answer.body, answer.headers["etag"])
    assert "cache;dur=" in again.headers["server-timing"]
    lake.publish([*VIEWS, view("2016-02-01 15:00:00", "z")])
    eventually(lambda: whole(store))
    asked = CtrRequest(DAY.start, DAY.end, 60, products=("z",))
    assert answer_at_once(store, dataclasses.replace(asked, as_of=1), None, 10_000) is None
    assert answer_at_once(store, dataclasses.replace(asked, as_of=2), None, 10_000).body != b"[]"


def test_a_segment_that_cannot_be_read_at_once_is_left_to_a_thread(lake, open_replica):
    lake.publish(VIEWS)
    store = open_replica(lake)
    store.quick_cursor.close()
    assert answer_at_once(store, CtrRequest(DAY.start, DAY.end, 60, products=("a",)), None, 10_000) is None


def test_the_lake_may_be_read_only(lake, open_replica):
    lake.publish(VIEWS)
    store = open_replica(lake)
    assert not list(Path(lake.path).rglob("*.duckdb*"))
    assert store.replica.folder.stat().st_mode & 0o777 == 0o700
