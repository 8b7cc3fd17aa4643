from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from serving.contract import TABLES
from serving.errors import NotReady, PublicationGone
from serving.query.statements import stored
from serving.reply.answers import answer_ctr
from serving.reply.catalog import answer_ready
from serving.request.parameters import CtrRequest
from serving.settings import Settings
from serving.state.store import Store
from tests.serving.conftest import eventually
from tests.serving.lake import Lake, at, view


def served(store: Store) -> int:
    with store.lease() as lease:
        return lease.snapshot.version


def views_of(lease: Any) -> int:
    values: dict[str, Any] = {}
    source = stored("views", lease.snapshot.tables["views"].all, "files", values)
    return int(lease.cursor.execute(f"SELECT count(*) FROM {source}", values).fetchone()[0])


def test_without_a_lake_there_is_no_lease_and_the_text_says_what_to_do(lake, open_store):
    with pytest.raises(NotReady, match=r"\./spark-submit\.sh daily"):
        open_store(lake).lease()


def test_the_first_publication_is_served_as_soon_as_it_is_there(lake, open_store):
    store = open_store(lake)
    lake.publish([view("2016-01-01 00:00:00")])
    store.poll()
    assert store.problem is None
    assert served(store) == 1


def test_a_lease_reads_its_publication_to_the_end_while_a_newer_one_is_served(lake, open_store):
    lake.publish([view("2016-01-01 00:00:00")])
    store = open_store(lake)
    with store.lease() as old:
        lake.publish([view("2016-01-01 00:00:00")] * 3)
        store.poll()
        with store.lease() as new:
            assert (old.snapshot.version, views_of(old)) == (1, 1)
            assert (new.snapshot.version, views_of(new)) == (2, 3)


def test_a_lease_may_be_closed_twice(lake, open_store):
    lake.publish()
    store = open_store(lake)
    first, second = store.lease(), store.lease()
    first.close()
    first.close()
    lake.publish()
    store.poll()
    assert views_of(second) == 0, "the second lease still holds its tables"
    second.close()


@pytest.fixture
def three(lake, open_store) -> Store:
    """A store over publications 1, 2 and 3, of which 2 is open as an older one."""
    for _ in range(3):
        lake.publish()
    store = open_store(lake)
    store.lease(2).close()
    return store


@contextlib.contextmanager
def held_up(monkeypatch, owner: object, name: str) -> Iterator[threading.Event]:
    """Lets a method wait for the end of the block; gives what is set once it has been called."""
    begun, go_on, method = threading.Event(), threading.Event(), getattr(owner, name)

    def slowly(*arguments):
        begun.set()
        assert go_on.wait(20)
        return method(*arguments)

    monkeypatch.setattr(owner, name, slowly)
    try:
        yield begun
    finally:
        go_on.set()


def test_a_slow_opening_of_a_publication_does_not_hold_up_the_lease_of_another_that_is_open(three, monkeypatch):
    with ThreadPoolExecutor(2) as threads, held_up(monkeypatch, three, "_load") as begun:
        slow = threads.submit(three.lease, 1)
        assert begun.wait(20)
        with threads.submit(three.lease, 2).result(20) as lease:
            assert lease.snapshot.version == 2
        assert not slow.done()
    with slow.result(20) as lease:
        assert lease.snapshot.version == 1


def test_who_asks_for_a_publication_that_is_gone_does_not_hold_up_the_opening_of_another(three, lake, monkeypatch):
    lake.announce()
    three.poll()
    monkeypatch.setattr("serving.state.history.is_kept", lambda _, publication: publication.number > 1)
    with ThreadPoolExecutor(2) as threads, held_up(monkeypatch, three.kept, "oldest") as begun:
        gone = threads.submit(three.lease, 1)
        assert begun.wait(20)
        with threads.submit(three.lease, 3).result(20) as lease:
            assert lease.snapshot.version == 3
        assert not gone.done()
    with pytest.raises(PublicationGone):
        gone.result(20)


def test_a_publication_that_many_ask_for_at_once_is_opened_once(three, monkeypatch):
    opened, load = [], three._load
    monkeypatch.setattr(three, "_load", lambda publication: opened.append(publication.number) or load(publication))
    with ThreadPoolExecutor(8) as threads:
        for lease in threads.map(three.lease, [1] * 8):
            lease.close()
    assert opened == [1]


def test_what_a_table_holds_beyond_the_named_version_is_not_read(lake, open_store):
    lake.publish([view("2016-01-01 00:00:00")])
    lake.write("views", [view("2016-01-01 00:00:00")] * 5, mode="append")
    store = open_store(lake)
    with store.lease() as lease:
        assert views_of(lease) == 1


def test_a_publication_that_names_a_version_that_is_not_there_leaves_the_last_good_one(lake, open_store, caplog):
    lake.publish()
    store = open_store(lake)
    lake.announce(ctr_hour=99)
    store.poll()
    assert served(store) == 1
    assert store.problem == "Publication 2: table ctr_hour cannot be read at version 99."
    assert str(lake.path) not in store.problem
    assert "ctr_hour" in caplog.text
    lake.publish()
    store.poll()
    assert served(store) == 3
    assert store.problem is None


def test_a_broken_publication_that_is_repaired_is_served_without_a_new_one(lake, open_store):
    lake.publish()
    store = open_store(lake)
    lake.announce(views=1)
    store.poll()
    assert served(store) == 1
    lake.write("views", [view("2016-01-01 00:00:00")])
    store.poll()
    assert served(store) == 2
    assert store.problem is None


def test_a_broken_publication_is_logged_once_and_not_at_every_look(lake, open_store, caplog):
    lake.publish()
    store = open_store(lake)
    lake.announce(ctr_hour=99)
    for _ in range(4):
        store.poll()
    assert caplog.text.count("cannot be read at version 99") == 1


def second_of(day: str) -> int:
    return int(at(day).timestamp())


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def newest_file(lake: Lake, table: str) -> Path:
    """One of the data files of a table that the last commit added."""
    return max((lake.path / table).rglob("*.parquet"), key=lambda file: file.stat().st_mtime_ns)


@pytest.mark.parametrize("table", ["ctr_hour", "coverage"])
@pytest.mark.parametrize("damage", [Path.unlink, cut])
def test_a_publication_that_lacks_a_new_data_file_leaves_the_last_good_one_until_it_is_there(
    lake, open_store, caplog, table, damage
):
    lake.publish([view("2016-01-01 00:00:00")])
    store = open_store(lake, cache_bytes=0)
    lake.publish([view("2016-01-01 00:00:00")] * 2)
    file = newest_file(lake, table)
    whole = file.read_bytes()
    damage(file)
    request = CtrRequest(second_of("2016-01-01"), second_of("2016-01-02"), 60, detail=True)
    for _ in range(3):
        store.poll()
    assert json.loads(answer_ctr(store, request, None, 100).body)[0]["views"] == 1
    name = file.relative_to(lake.path / table)
    told = f"lacks the data file {name} at version 1."
    if damage is cut:
        told = f"has {len(whole) - 1} bytes of the data file {name} at version 1, of {len(whole)}."
    ready = json.loads(answer_ready(store).body)
    assert (ready["status"], ready["dataVersion"]) == ("degraded", 1)
    assert ready["problem"] == f"Publication 2: table {table} {told}"
    assert caplog.text.count(told) == 1
    file.write_bytes(whole)
    store.poll()
    assert json.loads(answer_ready(store).body)["status"] == "ready"
    assert json.loads(answer_ctr(store, request, None, 100).body)[0]["views"] == 2


def test_at_the_start_a_publication_that_lacks_a_new_data_file_is_passed_over(lake, open_store):
    for count in (1, 2, 3):
        lake.publish([view("2016-01-01 00:00:00")] * count)
    newest_file(lake, "views").unlink()
    store = open_store(lake)
    assert served(store) == 2
    assert store.problem.startswith("Publication 3: table views lacks the data file date=2016-01-01/platform=iOS/")


@pytest.mark.parametrize("running", [True, False])
def test_a_data_file_that_older_publications_lack_too_holds_up_no_newer_one(lake, open_store, running):
    lake.publish([view("2016-01-01 00:00:00")])
    store = open_store(lake) if running else None
    newest_file(lake, "ctr_hour").unlink()
    for _ in range(7):
        lake.announce()
    store = store or open_store(lake)
    store.poll()
    assert (served(store), store.problem) == (8, None)


def test_a_publication_without_a_version_of_a_table_is_not_served(lake, open_store):
    lake.publish()
    lake.announce(purchases=None)
    store = open_store(lake)
    assert served(store) == 1
    assert store.problem == "Publication 2: table purchases has no version in it."


def test_a_table_without_a_column_that_answers_need_is_not_served(lake, open_store, monkeypatch):
    lake.publish()
    store = open_store(lake)
    wider = TABLES["ctr_day"].append(pa.field("other", pa.int64()))
    monkeypatch.setattr("serving.state.files.TABLES", {**TABLES, "ctr_day": wider})
    lake.announce()
    store.poll()
    assert served(store) == 1
    assert store.problem == "Publication 2: table ctr_day lacks the columns other at version 0."


def test_at_the_start_the_newest_readable_publication_is_served(lake, open_store):
    lake.publish()
    lake.announce(views=7)
    lake.announce(ctr_day=8)
    store = open_store(lake)
    assert served(store) == 1
    assert store.problem == "Publication 3: table ctr_day cannot be read at version 8."


def test_publications_that_are_all_broken_are_told_to_requests(lake, open_store):
    lake.publish()
    shutil.rmtree(lake.path / "purchases")
    store = open_store(lake)
    with pytest.raises(NotReady, match="Publication 1: table purchases cannot be read at version 0"):
        store.lease()


def test_a_publications_table_that_cannot_be_read_leaves_the_last_good_publication(lake, open_store):
    lake.publish()
    store = open_store(lake)
    log = lake.path / "publications" / "_delta_log"
    (log / "00000000000000000001.json").write_text("{half a com")
    store.poll()
    assert served(store) == 1
    assert store.problem == "The table publications cannot be read."
    (log / "00000000000000000001.json").unlink()
    store.poll()
    assert store.problem is None


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.EIO])
@pytest.mark.parametrize("look", ["stat", "iterdir"])
def test_a_publications_table_that_cannot_be_looked_at_leaves_the_last_good_publication(
    lake, open_store, unreachable, monkeypatch, caplog, number, look
):
    lake.publish()
    store = open_store(lake)
    unreachable(number, look)
    store.poll()
    store.poll()
    assert served(store) == 1
    assert store.problem == "The table publications cannot be read."
    assert caplog.text.count(os.strerror(number)) == 1
    monkeypatch.undo()
    store.poll()
    assert (served(store), store.problem) == (1, None)


def test_a_publications_table_that_cannot_be_looked_at_is_told_by_the_readiness(lake, serve, unreachable, monkeypatch):
    lake.publish([view("2016-01-01 00:00:00")])
    client = serve(lake)
    unreachable(errno.EACCES)
    ready = eventually(lambda: (found := client.get("/health/ready").json())["status"] == "degraded" and found)
    assert (ready["dataVersion"], ready["problem"]) == (1, "The table publications cannot be read.")
    assert client.get("/v1/status").json()["problem"] == ready["problem"]
    monkeypatch.undo()
    eventually(lambda: client.get("/health/ready").json()["status"] == "ready")


def test_a_service_that_may_not_look_at_its_lake_does_not_tell_to_load_data(lake, open_store, unreachable):
    lake.publish()
    unreachable(errno.EACCES)
    with pytest.raises(NotReady, match="The table publications cannot be read"):
        open_store(lake).lease()


NO_MORE = "The lake has no publications any more: is its disk mounted?"


def unmount(lake: Lake, left: str) -> Callable[[], None]:
    """Takes the lake away and leaves the folder of its mount, or not even that; gives what brings the lake back."""
    aside = lake.path.with_name("aside")
    lake.path.rename(aside)
    if left != "nothing":
        (lake.path / left).mkdir(parents=True)

    def mount() -> None:
        shutil.rmtree(lake.path, ignore_errors=True)
        aside.rename(lake.path)

    return mount


LEFT = ["nothing", ".", "publications", "publications/_delta_log"]


@pytest.mark.parametrize("left", LEFT)
def test_a_lake_that_is_not_mounted_any_more_leaves_the_last_good_publication_and_is_followed_again(
    lake, open_store, caplog, left
):
    for _ in range(2):
        lake.publish([view("2016-01-01 00:00:00")])
    store = open_store(lake)
    mount = unmount(lake, left)
    for _ in range(3):
        store.poll()
    assert (served(store), store.problem) == (2, NO_MORE)
    assert caplog.text.count(NO_MORE) == 1
    with pytest.raises(NotReady, match="Publication 1"):
        store.lease(1)
    mount()
    store.poll()
    assert (served(store), store.problem) == (2, None)
    store.lease(1).close()
    lake.publish()
    store.poll()
    assert served(store) == 3


def test_a_lake_that_is_not_mounted_any_more_is_degraded_and_what_needs_it_is_503(lake, serve, tmp_path):
    lake.publish([view("2016-01-01 00:00:00", "a"), view("2016-01-01 00:00:01", "b")])
    client = serve(lake, replica=True, replica_folder=str(tmp_path / "replica"), cache_bytes=0)
    day = {"startTimestamp": "2016-01-01 00:00:00", "endTimestamp": "2016-01-02 00:00:00", "aggregation": "60"}
    eventually(lambda: "ctr_replica_complete_ratio 1.0" in client.get("/metrics").text)
    wanted = client.get("/v1/ctr", params=day).text
    mount = unmount(lake, ".")
    ready = eventually(lambda: (found := client.get("/health/ready").json())["status"] == "degraded" and found)
    assert (ready["dataVersion"], ready["problem"]) == (1, NO_MORE)
    assert "ctr_healthy 0.0" in client.get("/metrics").text
    assert client.get("/v1/status").json()["problem"] == NO_MORE
    assert client.get("/v1/ctr", params=day).text == wanted
    assert client.get("/v1/products").json() == ["a", "b"]
    seconds = client.get("/v1/ctr", params={**day, "endTimestamp": "2016-01-01 00:00:01"})
    assert (seconds.status_code, seconds.json()["code"]) == (503, "lake_unreadable")
    mount()
    eventually(lambda: client.get("/health/ready").json()["status"] == "ready")


def test_a_lake_that_is_away_and_whose_publications_were_all_broken_does_not_tell_to_load_data(lake, open_store):
    lake.publish()
    shutil.rmtree(lake.path / "purchases")
    store = open_store(lake)
    unmount(lake, ".")
    store.poll()
    with pytest.raises(NotReady, match="is its disk mounted"):
        store.lease()


def test_a_deleted_lake_that_is_made_anew_is_followed(lake, open_store):
    for _ in range(2):
        lake.publish([view("2016-01-01 00:00:00")])
    store = open_store(lake)
    lake.remove()
    store.poll()
    assert store.problem == NO_MORE
    lake.publish([view("2016-01-01 00:00:00")] * 4)
    store.poll()
    assert store.problem is None
    with store.lease() as lease:
        assert lease.snapshot.version == 1
        assert views_of(lease) == 4


def test_a_lake_made_anew_between_two_looks_is_followed_to_its_smaller_number(lake, open_store):
    lake.publish()
    lake.publish()
    store = open_store(lake)
    lake.remove()
    lake.publish([view("2016-01-01 00:00:00")] * 4)
    store.poll()
    with store.lease() as lease:
        assert lease.snapshot.version == 1
        assert views_of(lease) == 4


def test_a_look_at_the_lake_that_has_begun_ends_before_the_store_closes(lake, open_store, monkeypatch):
    lake.publish([view("2016-01-01 00:00:00")])
    store = open_store(lake)
    lake.publish([view("2016-01-01 00:00:00")] * 3)
    begun, go_on, failed = threading.Event(), threading.Event(), []
    follow = store._follow

    def slowly(publications):
        begun.set()
        go_on.wait(20)
        follow(publications)

    def look():
        try:
            store.poll()
        except Exception as error:
            failed.append(error)

    monkeypatch.setattr(store, "_follow", slowly)
    looking, closing = threading.Thread(target=look), threading.Thread(target=store.close)
    looking.start()
    begun.wait(20)
    closing.start()
    closing.join(0.2)
    assert closing.is_alive()
    go_on.set()
    looking.join(20)
    closing.join(20)
    assert failed == []
    assert store.problem is None


def test_a_lake_that_does_not_answer_is_told_until_it_does_and_holds_up_no_end(lake, open_store, monkeypatch):
    monkeypatch.setattr("serving.state.store._HANG_SECONDS", 0.1)
    monkeypatch.setattr("serving.state.store._CLOSE_SECONDS", 0.1)
    lake.publish([view("2016-01-01 00:00:00")])
    store, starting = open_store(lake), Store(Settings(lake=str(lake.path), replica=False))
    go_on = threading.Event()
    for one in (store, starting):
        monkeypatch.setattr(one._log, "changed", lambda: go_on.wait(20))
        threading.Thread(target=one.poll).start()
    eventually(lambda: store.problem and starting.problem)
    ready = json.loads(answer_ready(store).body)
    assert (ready["status"], ready["dataVersion"]) == ("degraded", 1)
    assert ready["problem"] == "The lake does not answer for more than 30 s: what is its disk doing?"
    with pytest.raises(NotReady, match="does not answer"):
        starting.lease()
    starting.close()
    go_on.set()
    eventually(lambda: store.problem is None)
    assert served(store) == 1


def test_a_closed_store_no_longer_looks_and_takes_leases_back(lake, open_store):
    lake.publish([view("2016-01-01 00:00:00")])
    store = open_store(lake)
    lease = store.lease()
    lake.publish([view("2016-01-01 00:00:00")] * 3)
    store.poll()
    lake.publish([view("2016-01-01 00:00:00")] * 4)
    store.close()
    store.poll()
    lease.close()
    assert store.snapshot.version == 2


@pytest.mark.parametrize("quick", [False, True])
def test_no_statement_gets_at_files_outside_the_lake_or_at_the_settings(lake, open_store, tmp_path, quick):
    lake.publish()
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    store = open_store(lake, replica=True, replica_folder=str(lake.path / "replica"))
    with store.lease() as lease:
        cursor = store.quick_cursor if quick else lease.cursor
        for statement in (
            f"SELECT * FROM read_csv('{secret}')",
            f"COPY (SELECT 1) TO '{tmp_path / 'out.csv'}'",
            f"ATTACH '{tmp_path / 'x.db'}'",
            f"SELECT * FROM read_text('{secret}')",
            f"SELECT * FROM '{secret}'",
            f"SELECT * FROM read_parquet('{tmp_path}/*')",
            f"SELECT * FROM glob('{tmp_path}/*')",
            f"SELECT * FROM read_csv('{lake.path}/../secret.csv')",
            f"EXPORT DATABASE '{tmp_path / 'out'}'",
            "SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')",
            "SET enable_external_access = true",
            "SET GLOBAL allowed_directories = ['/']",
            "SET temp_directory = '/tmp'",
            "SET memory_limit = '1TB'",
            "SET lock_configuration = false",
            "RESET lock_configuration",
            "INSTALL httpfs",
            "LOAD httpfs",
        ):
            with pytest.raises(duckdb.Error):
                cursor.execute(statement)
        assert cursor.execute("SELECT current_setting('lock_configuration')").fetchone() == (True,)
    assert {file.name for file in tmp_path.iterdir()} == {"lake", "secret.csv"}


def test_the_databases_of_a_worker_share_the_memory_that_the_settings_allow(lake, open_store, tmp_path):
    lake.publish()
    store = open_store(lake, replica=True, replica_folder=str(tmp_path / "replica"), query_memory="400MiB")
    asked = "SELECT current_setting('memory_limit'), current_setting('max_temp_directory_size')"
    assert store.cursor().execute(asked).fetchone()[0] == "300.0 MiB"
    assert store.quick_cursor.execute(asked).fetchone() == ("100.0 MiB", "0 bytes")


def test_the_process_of_large_answers_has_all_its_memory_for_one_database(lake, tmp_path):
    settings = Settings(lake=str(lake.path), replica_folder=str(tmp_path / "replica"), query_memory="400MiB")
    store = Store(settings, worker=False)
    try:
        assert store.cursor().execute("SELECT current_setting('memory_limit')").fetchone() == ("400.0 MiB",)
        assert store.quick_cursor is None
    finally:
        store.close()


ROWS = [
    view(f"2016-01-{day:02} {hour:02}:00:00", product, platform, f"m{day}{hour}{product}{platform}")
    for day in range(1, 7)
    for hour in (0, 12, 23)
    for product in ("a", "b", "c")
    for platform in ("Android", "MobileWeb", "iOS")
]
FILTERS = {
    "date =": ("date = $date", lambda row: row["date"] == date(2016, 1, 3)),
    "date >=": ("date >= $date", lambda row: row["date"] >= date(2016, 1, 3)),
    "date <": ("date < $date", lambda row: row["date"] < date(2016, 1, 3)),
    "date between": (
        "date BETWEEN $date AND $last",
        lambda row: date(2016, 1, 3) <= row["date"] <= date(2016, 1, 5),
    ),
    "platform =": ("platform = 'iOS'", lambda row: row["platform"] == "iOS"),
    "platform in 1": ("platform IN ($platform)", lambda row: row["platform"] == "iOS"),
    "platform in 2": (
        "platform IN ($platform, 'Android')",
        lambda row: row["platform"] in ("iOS", "Android"),
    ),
    "platform <>": ("platform <> 'iOS'", lambda row: row["platform"] != "iOS"),
    "product in 1": ("product IN ($product)", lambda row: row["product"] == "b"),
    "product in 2": ("product IN ($product, 'zzz')", lambda row: row["product"] == "b"),
    "time": (
        "time >= TIMESTAMPTZ '2016-01-03 12:00:00+00' AND time < TIMESTAMPTZ '2016-01-05 00:00:00+00'",
        lambda row: (row["date"] == date(2016, 1, 3) and row["time"].hour >= 12) or row["date"] == date(2016, 1, 4),
    ),
    "message_id null": ("message_id IS NULL", lambda row: row["message_id"] is None),
}
BOUND = {"date": date(2016, 1, 3), "last": date(2016, 1, 5), "platform": "iOS", "product": "b"}
COMBINED = [
    *itertools.chain.from_iterable(itertools.combinations(FILTERS, size) for size in (1, 2)),
    ("date between", "platform in 1", "product in 1", "time"),
    ("date between", "platform in 2", "product in 2", "time"),
    ("date between", "platform in 2", "time", "message_id null"),
]


def table_with_checkpoints(lake: Lake, count: int) -> None:
    """The rows in many commits, one of them an overwrite that removes files, with that many checkpoints among them."""
    lake.write("views", [{**row, "product": "gone"} for row in ROWS])
    lake.write("views", [row for row in ROWS if row["date"].day == 1])
    for day in range(2, 7):
        if day <= count + 1:
            DeltaTable(str(lake.path / "views")).create_checkpoint()
        lake.write("views", [row for row in ROWS if row["date"].day == day], mode="append")


@pytest.mark.parametrize("checkpoints", [0, 1, 3])
def test_every_combination_of_filters_gives_the_rows_of_an_unfiltered_scan(lake, open_store, checkpoints):
    lake.publish()
    table_with_checkpoints(lake, checkpoints)
    assert len(list((lake.path / "views" / "_delta_log").glob("*.checkpoint*.parquet"))) == checkpoints
    lake.announce()
    with open_store(lake).lease() as lease:
        files: dict[str, Any] = {}
        source = stored("views", lease.snapshot.tables["views"].all, "files", files)
        select = f"SELECT date, platform, product, time::VARCHAR, message_id FROM {source}"
        unfiltered = lease.cursor.execute(select, files).fetchall()
        assert len(unfiltered) == len(ROWS)
        for names in COMBINED:
            condition = " AND ".join(FILTERS[name][0] for name in names)
            bound = {name: value for name, value in BOUND.items() if f"${name}" in condition}
            found = lease.cursor.execute(f"{select} WHERE {condition}", {**files, **bound}).fetchall()
            wanted = [row for row in ROWS if all(FILTERS[name][1](row) for name in names)]
            assert sorted(row[4] for row in found) == sorted(row["message_id"] for row in wanted), condition
            assert None not in {value for row in found for value in row}, condition
