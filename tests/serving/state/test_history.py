from __future__ import annotations

import errno
import os
import shutil
import time
from datetime import datetime
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from serving.contract import TABLES
from serving.errors import PROBLEMS, RETRY_SECONDS
from serving.openapi.shapes import Changes, Problem
from serving.state import history
from serving.state.history import Kept
from serving.state.publications import Publication, PublicationLog
from tests.serving.conftest import eventually
from tests.serving.lake import Lake, rollup, view
from tests.serving.replica.test_replica import few_handles

CASE = {"startTimestamp": "2016-01-03 13:55:00", "endTimestamp": "2016-01-04 13:55:00", "aggregation": "60"}
VIEW = view("2016-01-03 14:00:00")


def vacuum(lake: Lake) -> None:
    """Deletes every data file that only older versions name."""
    for table in TABLES:
        DeltaTable(str(lake.path / table)).vacuum(0, dry_run=False, enforce_retention_duration=False)


@pytest.fixture
def client(lake, serve):
    """Publications 1, 2, 3, with that many views of one product."""
    for number in (1, 2, 3):
        lake.publish([VIEW] * number)
    client = serve(lake)
    eventually(lambda: client.get("/v1/status").status_code == 200)
    return client


def views_as_of(client, number: int | None) -> int:
    params = {**CASE, "detail": "true", **({} if number is None else {"asOf": str(number)})}
    response = client.get("/v1/ctr", params=params)
    assert response.headers["x-data-version"] == str(number or 3)
    return response.json()[0]["views"]


def test_an_answer_as_of_a_publication_is_that_of_its_time(client):
    assert [views_as_of(client, number) for number in (1, 3, 2, None, 1)] == [1, 3, 2, 3, 1]
    body = {**CASE, "aggregation": 60, "detail": True, "asOf": 2}
    assert client.post("/v1/ctr", json=body).json()[0]["views"] == 2


def test_an_older_publication_is_found_in_a_lake_whose_path_has_spaces(tmp_path, serve):
    lake = Lake(tmp_path / "it's a 'lake' é #1")
    for number in (1, 2, 3):
        lake.publish([VIEW] * number)
    client = serve(lake)
    assert [views_as_of(client, number) for number in (1, 2, 3)] == [1, 2, 3]


def test_a_bounded_number_of_older_publications_is_kept_open(lake, serve):
    for number in range(1, 6):
        lake.publish([VIEW] * number)
    client = serve(lake, older_publications=2, cache_bytes=0)
    for number in (1, 2, 3, 4, 1):
        params = {**CASE, "detail": "true", "asOf": str(number)}
        assert client.get("/v1/ctr", params=params).json()[0]["views"] == number
    assert client.store.lending.older == [4, 1], "the two that were asked for last"


def test_a_publication_that_never_was_is_404_and_the_newest_is_named(client):
    for path, params in (("/v1/ctr", {**CASE, "asOf": "9"}), ("/v1/ctr/changes", {"since": "9"})):
        response = client.get(path, params=params)
        assert response.status_code == 404
        problem = Problem.model_validate_json(response.text)
        assert (problem.code, problem.detail) == ("publication_unknown", "There is no publication 9.")
        assert problem.errors is not None
        assert problem.errors[0].hint.startswith("the newest is 3")


@pytest.mark.parametrize(("path", "name"), [("/v1/ctr", "asOf"), ("/v1/ctr/changes", "since")])
def test_a_publication_that_another_worker_served_first_is_looked_for_at_once(lake, serve, path, name):
    lake.publish([VIEW])
    client = serve(lake, poll_seconds=3600)
    lake.publish([VIEW] * 2)
    response = client.get(path, params={**(CASE if name == "asOf" else {}), name: "2"})
    assert (response.status_code, response.headers["x-data-version"]) == (200, "2")
    assert views_as_of(client, 1) == 1
    assert client.get("/v1/ctr", params=CASE).headers["x-data-version"] == "2"


def test_a_publication_whose_files_are_deleted_is_410_and_the_oldest_kept_is_named(client, lake):
    assert views_as_of(client, 1) == 1
    vacuum(lake)
    client.store.cache = type(client.store.cache)(0)
    for number in ("1", "2"):  # 1 was open already, 2 was not
        response = client.get("/v1/ctr", params={**CASE, "asOf": number})
        assert response.status_code == 410
        problem = Problem.model_validate_json(response.text)
        assert problem.code == "publication_gone"
        assert problem.errors is not None
        assert (problem.errors[0].parameter, problem.errors[0].hint) == ("asOf", "the oldest that is kept is 3")
    assert views_as_of(client, None) == 3


@pytest.fixture
def looked(monkeypatch) -> list[int]:
    """The numbers of the publications whose files were looked for."""
    numbers: list[int] = []
    look = history.is_kept

    def noted(lake, publication):
        numbers.append(publication.number)
        return look(lake, publication)

    monkeypatch.setattr(history, "is_kept", noted)
    return numbers


def test_a_publication_that_is_gone_is_not_looked_for_again(client, lake, looked):
    vacuum(lake)
    first = client.get("/v1/ctr", params={**CASE, "asOf": "1"})
    looked.clear()
    for _ in range(10):
        again = client.get("/v1/ctr", params={**CASE, "asOf": "1"})
        assert (again.status_code, again.json()["errors"]) == (first.status_code, first.json()["errors"])
    assert looked == []


def test_a_publication_whose_files_came_back_is_answered_from_after_the_next_publication(client, lake):
    aside = lake.path.with_name("aside")
    shutil.copytree(lake.path, aside)
    vacuum(lake)
    assert client.get("/v1/ctr", params={**CASE, "asOf": "1"}).status_code == 410
    shutil.copytree(aside, lake.path, dirs_exist_ok=True)
    lake.announce()
    eventually(lambda: client.get("/v1/platforms").headers["x-data-version"] == "4")
    assert views_as_of(client, 1) == 1


PUBLICATIONS = [Publication("lake", number, datetime(2016, 2, 1), {}, "daily", {}) for number in range(9, 0, -1)]


@pytest.fixture
def files(monkeypatch) -> set[int]:
    """The numbers of the publications whose files are there, which a test may take away."""
    numbers = {one.number for one in PUBLICATIONS}
    monkeypatch.setattr(history, "is_kept", lambda _, publication: publication.number in numbers)
    return numbers


def gone(kept: Kept, number: int) -> bool:
    return kept.is_gone(next(one for one in PUBLICATIONS if one.number == number))


@pytest.mark.parametrize("oldest", range(1, 10))
def test_the_oldest_that_is_kept_is_found(files, oldest):
    files -= set(range(oldest))
    assert Kept("lake", PUBLICATIONS).oldest() == oldest


def test_of_a_history_without_files_no_oldest_is_named(files):
    files.clear()
    assert Kept("lake", PUBLICATIONS).oldest() is None
    assert Kept("lake", []).oldest() is None


def test_what_is_kept_is_looked_at_again_since_files_go_without_a_publication(files):
    kept = Kept("lake", PUBLICATIONS)
    assert (gone(kept, 3), kept.oldest()) == (False, 1)
    files -= {1, 2, 3}
    assert (gone(kept, 3), kept.oldest()) == (True, 1), "nobody has asked for 1 yet"
    assert (gone(kept, 1), kept.oldest()) == (True, 4)


def test_the_oldest_that_is_kept_is_looked_for_again_after_a_while(files, monkeypatch):
    kept = Kept("lake", PUBLICATIONS)
    assert kept.oldest() == 1
    files -= {1, 2, 3}
    assert kept.oldest() == 1
    monkeypatch.setattr(history, "monotonic", lambda: time.monotonic() + 61)
    assert kept.oldest() == 4


def test_while_the_files_of_the_newest_are_not_there_either_nothing_is_gone(files):
    kept = Kept("lake", PUBLICATIONS)
    aside = set(files)
    files.clear()
    assert not gone(kept, 5)
    assert not gone(kept, 9)
    files |= aside - {5}
    assert gone(kept, 5)


def test_the_newest_is_never_gone(files):
    files.discard(9)
    assert not gone(Kept("lake", PUBLICATIONS), 9)


def test_what_the_system_does_not_let_anybody_look_at_is_not_gone(monkeypatch):
    def failing(_, publication):
        if publication.number < 9:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return True

    monkeypatch.setattr(history, "is_kept", failing)
    kept = Kept("lake", PUBLICATIONS)
    assert (gone(kept, 5), kept.oldest()) == (False, None)
    monkeypatch.setattr(history, "is_kept", lambda *_: True)
    assert (gone(kept, 5), kept.oldest()) == (False, 1), "and it is looked for again"


def test_whether_a_publication_is_kept_is_not_told_where_its_log_cannot_be_opened(lake):
    lake.publish([VIEW])
    newest = PublicationLog(str(lake.path)).read()[0]
    assert history.is_kept(str(lake.path), newest)
    with few_handles(0), pytest.raises(OSError, match="Too many open files"):
        history.is_kept(str(lake.path), newest)


@pytest.mark.parametrize("path", ["/v1/ctr?asOf=1", "/v1/ctr/changes?since=1"])
def test_while_the_lake_is_out_of_reach_an_older_publication_is_503_and_then_answered(client, lake, path):
    request = httpx.URL(path).copy_merge_params(CASE if "asOf" in path else {})
    (lake.path / "ctr_day").rename(lake.path / "away")
    response = client.get(request)
    assert (response.status_code, response.headers["retry-after"]) == (503, str(RETRY_SECONDS))
    assert Problem.model_validate_json(response.text).code in ("not_ready", "lake_unreadable")
    (lake.path / "away").rename(lake.path / "ctr_day")
    assert client.get(request).status_code == 200


def test_a_newest_publication_that_is_broken_is_503_where_it_is_asked_for_by_its_number(client, lake):
    lake.announce(ctr_day=99)
    for path, params in (("/v1/ctr", {**CASE, "asOf": "4"}), ("/v1/ctr/changes", {"since": "4"})):
        response = client.get(path, params=params)
        assert (response.status_code, response.headers["retry-after"]) == (503, str(RETRY_SECONDS))
    assert views_as_of(client, None) == 3


def test_a_file_that_the_newest_publication_lacks_is_503_where_it_is_asked_for_by_its_number(client, lake):
    for file in (lake.path / "ctr_minute").rglob("*.parquet"):
        file.unlink()
    response = client.get("/v1/ctr", params={**CASE, "asOf": "3"})
    assert (response.status_code, response.json()["code"]) == (503, "lake_unreadable")


def test_numbers_of_publications_are_checked(client):
    for path, params, name in (
        ("/v1/ctr", {**CASE, "asOf": "0"}, "asOf"),
        ("/v1/ctr", {**CASE, "asOf": "x"}, "asOf"),
        ("/v1/ctr/changes", {}, "since"),
        ("/v1/ctr/changes", {"since": "0"}, "since"),
    ):
        response = client.get(path, params=params)
        assert response.status_code == 422
        assert [fault["parameter"] for fault in response.json()["errors"]] == [name]
    assert client.get("/v1/ctr/changes", params={"since": "1", "until": "2"}).status_code == 422


def partition(day: int, platform: str, count: int) -> list:
    return [view(f"2016-01-{day:02} 10:00:00", platform=platform)] * count


def publish_partition(lake: Lake, day: int, platform: str, count: int) -> None:
    """Replaces one partition of ``ctr_day`` and publishes, as a run does that touched that partition alone."""
    rows = rollup([(row, "views") for row in partition(day, platform, count)], 86_400)
    write_deltalake(
        str(lake.path / "ctr_day"),
        pa.Table.from_pylist(rows, schema=TABLES["ctr_day"]),
        mode="overwrite",
        predicate=f"date = '2016-01-{day:02}' AND platform = '{platform}'",
    )
    lake.versions["ctr_day"] = DeltaTable(str(lake.path / "ctr_day")).version()
    lake.announce()


def test_changes_list_the_days_and_platforms_that_were_replaced_added_or_removed(lake, serve):
    lake.publish([*partition(1, "iOS", 1), *partition(1, "Android", 1), *partition(2, "iOS", 1)])
    publish_partition(lake, 2, "iOS", 5)
    publish_partition(lake, 3, "Android", 1)
    client = serve(lake)

    def since(number: int) -> list:
        response = client.get("/v1/ctr/changes", params={"since": str(number)})
        Changes.model_validate_json(response.text)
        assert response.headers["x-row-count"] == str(len(response.json()["changed"]))
        assert (response.json()["since"], response.json()["dataVersion"]) == (number, 3)
        return [(row["date"], row["platform"]) for row in response.json()["changed"]]

    assert since(3) == []
    assert since(2) == [("2016-01-03", "Android")]
    assert since(1) == [("2016-01-02", "iOS"), ("2016-01-03", "Android")]


def test_changes_since_a_version_whose_log_is_gone_are_410(client, lake):
    for table in TABLES:
        log = Path(lake.path, table, "_delta_log")
        DeltaTable(str(lake.path / table)).create_checkpoint()
        for number in (0, 1):
            (log / f"{number:020}.json").unlink()
    response = client.get("/v1/ctr/changes", params={"since": "1"})
    assert response.status_code == 410
    assert response.json()["code"] == "publication_gone"


def test_changes_have_an_etag(client):
    first = client.get("/v1/ctr/changes", params={"since": "1"})
    again = client.get("/v1/ctr/changes", params={"since": "1"}, headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 304)


def test_a_repeated_request_is_answered_without_a_query_until_the_data_change(client, lake, monkeypatch):
    first = client.get("/v1/ctr", params=CASE)
    store = client.store
    with monkeypatch.context() as patched:
        patched.setattr("serving.reply.parts.ctr", lambda *_: pytest.fail("a query was made"))
        again = client.get("/v1/ctr", params=CASE)
    assert again.content == first.content
    differing = {"server-timing", "x-request-id", "date"}
    assert {k: v for k, v in again.headers.items() if k not in differing} == {
        k: v for k, v in first.headers.items() if k not in differing
    }
    assert "cache;dur=" in again.headers["server-timing"]
    assert (store.cache.hits, len(store.cache)) == (1, 2)  # the answer, and how it was sent
    lake.publish([VIEW] * 4)
    eventually(lambda: client.get("/v1/platforms").headers["x-data-version"] == "4")
    assert client.get("/v1/ctr", params={**CASE, "detail": "true"}).json()[0]["views"] == 4


def test_without_memory_for_it_no_answer_is_kept(lake, serve):
    lake.publish([VIEW])
    client = serve(lake, cache_bytes=0)
    assert client.get("/v1/ctr", params=CASE).text == client.get("/v1/ctr", params=CASE).text
    assert len(client.store.cache) == 0


def test_both_problems_are_documented():
    assert {"publication_unknown", "publication_gone"} <= {kind.code for kind in PROBLEMS}
