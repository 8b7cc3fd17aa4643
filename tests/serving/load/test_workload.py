from __future__ import annotations

import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import duckdb
import httpx
import pytest

import serving.reply.answers
import serving.reply.encode
from serving.load.threads import HEAVY, QUERY
from tests.serving.conftest import eventually
from tests.serving.lake import view
from tests.serving.load.test_budget import ENDLESS
from tests.serving.load.test_connections import connect, rest
from tests.serving.reply.test_answers import CASE
from tests.serving.reply.test_problems import problem

PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
def slow(monkeypatch):
    """Makes every query of ``/v1/ctr`` endless until it is told to stop."""

    def make(request, plan, snapshot, *rest):
        from serving.query.statements import Query

        return Query(ENDLESS.replace("count(*)", "count(*)::VARCHAR AS text"))

    monkeypatch.setattr("serving.reply.parts.ctr", make)


def test_a_slow_query_is_504_and_its_publication_is_given_back(lake, serve, slow):
    lake.publish([view("2016-01-03 14:00:00")])
    client = serve(lake, query_seconds=0.3)
    found = problem(client.get("/v1/ctr", params=CASE))
    assert (found.status, found.code) == (504, "query_timeout")
    assert "0.3 s (setting query_seconds)" in found.detail
    assert "Less are: half the range (endTimestamp=" in found.detail
    assert client.store.lending.current.leases == 0, "the cursor was interrupted, nothing runs on it"
    eventually(lambda: "ctr_queries_running 0.0" in client.get("/metrics").text, 5)


def test_a_query_ends_when_its_client_goes_away(lake, serve, slow):
    lake.publish([view("2016-01-03 14:00:00")])
    client = serve(lake, query_seconds=600)
    with pytest.raises(Exception, match="timed out"):
        client.get("/v1/ctr", params=CASE, timeout=0.5)
    eventually(lambda: client.store.lending.current.leases == 0)


def test_beyond_slots_and_queue_requests_are_503_with_retry_after_and_others_are_served(lake, serve, slow):
    lake.publish([view("2016-01-03 14:00:00")])
    client = serve(lake, query_seconds=3, queries=1, queue=0)
    first = threading.Thread(target=client.get, args=("/v1/ctr",), kwargs={"params": CASE})
    first.start()
    eventually(lambda: client.store.lending.current.leases == 1)
    answer = client.get("/v1/ctr", params=CASE)
    assert problem(answer).code == "busy"
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.get("/v1/status").status_code == 200
    first.join()


def test_streams_beyond_their_limit_are_503_and_a_finished_one_makes_room(lake, serve, monkeypatch):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:05}" * 20) for number in range(60_000)])
    client = serve(lake, streams=1, stream_rows=1000, queue_seconds=0.1)
    with client.stream("GET", "/v1/ctr", params=CASE, headers=PLAIN) as first:
        chunks = first.iter_bytes()
        next(chunks)
        with monkeypatch.context() as patched:
            patched.setattr("serving.reply.parts.ctr", None)  # a refusal costs no query
            assert problem(client.get("/v1/ctr", params=CASE)).code == "busy"
        few = {**CASE, "product": "p00001" * 20}
        assert client.get("/v1/ctr", params=few).status_code == 200, "what cannot become a stream needs no room for one"
        for _ in chunks:
            pass
    assert eventually(lambda: client.get("/v1/ctr", params=CASE).status_code == 200)
    assert client.store.lending.current.leases == 0


def test_who_waits_for_room_for_a_stream_is_answered_as_soon_as_there_is_some(lake, serve, monkeypatch):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:05}" * 20) for number in range(60_000)])
    client = serve(lake, streams=1, stream_rows=1000, queue_seconds=3600)
    waiting = threading.Event()

    def longest(low: float, high: float) -> float:
        waiting.set()
        return high

    monkeypatch.setattr("serving.load.gate.uniform", longest)
    with ThreadPoolExecutor(1) as thread:
        with client.stream("GET", "/v1/ctr", params=CASE, headers=PLAIN) as first:
            chunks = first.iter_bytes()
            next(chunks)
            second = thread.submit(httpx.get, str(client.base_url) + "/v1/ctr", params=CASE, timeout=60)
            assert waiting.wait(20)
            for _ in chunks:
                pass
        assert second.result().status_code == 200


def test_a_stream_that_takes_too_long_is_cut_without_its_final_chunk(lake, serve, caplog):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:05}") for number in range(3000)])
    client = serve(lake, stream_rows=1000, stream_seconds=1e-9)
    with pytest.raises(Exception, match="incomplete chunked read"):
        client.get("/v1/ctr", params=CASE, headers=PLAIN)
    assert "stream_seconds" in caplog.text
    assert client.store.lending.current.leases == 0


def test_a_client_that_reads_slowly_does_not_keep_its_stream_beyond_its_time(lake, serve, caplog):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:05}" * 20) for number in range(60_000)])
    client = serve(lake, streams=1, stream_rows=20_000, stream_seconds=1, queue_seconds=0.1)
    eventually(lambda: client.get("/health/ready").status_code == 200)
    taken: list[bytes] = []

    def given_back() -> bool:
        taken.append(slow.recv(2048))
        return client.store.lending.current.leases == 0

    with connect(client) as slow:
        slow.sendall(f"GET /v1/ctr?{httpx.QueryParams(CASE)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert slow.recv(2048).startswith(b"HTTP/1.1 200")
        eventually(given_back, 5)
        assert len(client.get("/v1/ctr", params=CASE, headers=PLAIN).json()) == 60_000
        assert all(taken), "what stood before the cut is still being sent"
        assert not rest(slow).endswith(b"0\r\n\r\n"), "the final chunk"
    assert "stream_seconds" in caplog.text


def test_a_query_that_does_not_fit_is_told_with_its_settings(lake, serve, monkeypatch):
    lake.publish([view("2016-01-03 14:00:00")])

    def full(*_):
        raise duckdb.OutOfMemoryException("no room in /srv/secret")

    monkeypatch.setattr("serving.reply.parts.ctr", full)
    found = problem(serve(lake, query_memory="100m", query_spill="3g").get("/v1/ctr", params=CASE))
    assert (found.status, found.code) == (503, "out_of_memory")
    assert "more than 100 MiB of memory and 3,072 MiB of disk" in found.detail
    assert "its share of the settings query_memory and query_spill" in found.detail
    assert "Less are: half the range (endTimestamp=" in found.detail
    assert "secret" not in found.detail


def test_work_that_cannot_be_interrupted_is_504_in_time_and_keeps_its_slot_until_it_ends(lake, serve, monkeypatch):
    lake.publish([view("2016-01-03 14:00:00")])
    lake.publish([view("2016-01-03 14:00:00")])
    client = serve(lake, query_seconds=0.2, queries=1, queue=0)
    eventually(lambda: client.get("/v1/platforms").headers["x-data-version"] == "2")
    hold = threading.Event()

    def stuck(*_):
        assert hold.wait(60)
        return []

    monkeypatch.setattr("serving.reply.catalog.changed", stuck)
    changes = {"since": "1"}
    assert problem(client.get("/v1/ctr/changes", params=changes)).code == "query_timeout"
    assert problem(client.get("/v1/ctr/changes", params=changes)).code == "busy"
    for path in ("/v1/status", "/v1/platforms", "/health/ready"):
        assert client.get(path).status_code == 200, "they read no more than memory"
    hold.set()
    assert eventually(lambda: client.get("/v1/ctr/changes", params=changes).status_code == 200)


def test_a_stream_that_comes_too_late_gives_its_publication_back(lake, serve, monkeypatch):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:05}") for number in range(300)])
    client = serve(lake, query_seconds=0.2, stream_rows=100)
    late = threading.Event()
    whole = serving.reply.answers.answer_ctr

    def slowly(*arguments):
        response = whole(*arguments)
        assert late.wait(60)
        return response

    monkeypatch.setattr("serving.reply.answers.answer_ctr", slowly)
    assert problem(client.get("/v1/ctr", params=CASE)).code == "query_timeout"
    assert client.store.lending.current.leases == 1
    late.set()
    eventually(lambda: client.store.lending.current.leases == 0)


def test_light_requests_do_not_wait_behind_heavy_ones(lake, serve, monkeypatch):
    lake.publish([view("2016-01-03 14:00:00"), view("2016-01-03 15:00:00")])
    client = serve(lake, query_seconds=60, heavy_queries=1, queue=0, heavy_rows=1)
    hold = threading.Event()
    whole = serving.reply.answers.answer_ctr

    def slowly(store, request, *rest):
        if not request.products:
            assert hold.wait(60)
        return whole(store, request, *rest)

    monkeypatch.setattr("serving.reply.answers.answer_ctr", slowly)
    first = threading.Thread(target=client.get, args=("/v1/ctr",), kwargs={"params": CASE})
    first.start()
    gauges = "ctr_heavy_queries_running 1.0"
    eventually(lambda: gauges in client.get("/metrics").text)
    refused = client.get("/v1/ctr", params=CASE)
    assert problem(refused).code == "busy"
    assert "(setting heavy_queries)" in problem(refused).detail
    light = {**CASE, "startTimestamp": "2016-01-01 00:00:00", "endTimestamp": "2016-01-02 00:00:00", "product": "p1"}
    assert client.get("/v1/ctr", params=light).status_code == 200
    hold.set()
    first.join()
    assert "ctr_heavy_queries_running 0.0" in client.get("/metrics").text


def test_a_request_is_heavy_by_what_the_publication_that_it_names_has_in_the_local_copy(lake, serve, tmp_path):
    views = [view("2016-01-03 14:00:00", f"p{number}") for number in range(100)]
    lake.publish(views)
    client = serve(lake, replica=True, replica_folder=str(tmp_path / "replica"), heavy_rows=50, cache_bytes=0)
    whole = "ctr_replica_complete_ratio 1.0"
    eventually(lambda: whole in client.get("/metrics").text)
    lake.publish(views)
    eventually(lambda: (text := client.get("/metrics").text) and whole in text and "ctr_data_version 2.0" in text)

    day = {
        "startTimestamp": "2016-01-03 00:00",
        "endTimestamp": "2016-01-04 00:00",
        "aggregation": "1440",
        "product": "p1",
    }

    def heavy_answers(**parameters: str) -> int:
        answer = client.get("/v1/ctr", params={**day, **parameters})
        assert len(answer.json()) == 1
        return int(re.search(r'ctr_heavy_answers_total{by="worker"} (\d+)', client.get("/metrics").text)[1])

    assert [heavy_answers(), heavy_answers(asOf="2"), heavy_answers(asOf="1"), heavy_answers(asOf="1")] == [0, 0, 1, 2]
    lake.write("ctr_day", [], mode="append")
    lake.announce()
    eventually(lambda: "ctr_data_version 3.0" in client.get("/metrics").text)
    assert heavy_answers(asOf="2") == 2, "the newest has the same segments"


def test_queries_do_not_wait_behind_publications_that_are_opened(lake, serve, monkeypatch):
    for _ in range(5):
        lake.publish([view("2016-01-03 14:00:00")])
    client = serve(lake, queries=1, queue=2, queue_seconds=20)
    load, go_on = client.store._load, threading.Event()

    def slowly(publication):
        assert go_on.wait(20)
        return load(publication)

    monkeypatch.setattr(client.store, "_load", slowly)
    with ThreadPoolExecutor(3) as threads:
        older = [
            threads.submit(client.get, "/v1/ctr", params={**CASE, "asOf": str(number)}, timeout=30)
            for number in (1, 2, 3)
        ]
        eventually(lambda: "ctr_openings_waiting 2.0" in client.get("/metrics").text)
        assert client.get("/v1/ctr", params={**CASE, "asOf": "5"}).headers["x-data-version"] == "5"
        refused = client.get("/v1/ctr", params={**CASE, "asOf": "4"})
        assert (problem(refused).code, refused.headers["retry-after"]) == ("busy", "1")
        assert problem(refused).detail == (
            "Another older publication (asOf) is being opened, and 2 wait (setting queue). The same request may pass soon."
        )
        go_on.set()
        versions = {answer.result().headers["x-data-version"] for answer in older}
        assert versions == {"1", "2", "3"}
    assert client.get("/v1/ctr", params={**CASE, "asOf": "4"}).status_code == 200


def test_queries_run_in_threads_that_yield_to_the_event_loop(lake, serve, monkeypatch):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:05}") for number in range(3_000)])
    found = {}
    whole, encode = serving.reply.answers.answer_ctr, serving.reply.encode.text_of

    def niceness() -> int:
        """Beside that of the main thread: the tests themselves may have been started with less."""
        main, own = (os.getpriority(os.PRIO_PROCESS, thread) for thread in (os.getpid(), threading.get_native_id()))
        return own - main

    def noted(*arguments):
        found["query"] = niceness()
        return whole(*arguments)

    def noted_too(column):
        found["stream"] = niceness()
        return encode(column)

    monkeypatch.setattr("serving.reply.answers.answer_ctr", noted)
    monkeypatch.setattr("serving.reply.encode.text_of", noted_too)
    client = serve(lake, stream_rows=1000, heavy_rows=10_000)
    assert len(client.get("/v1/ctr", params=CASE).json()) == 3_000
    room = 19 - os.getpriority(os.PRIO_PROCESS, os.getpid())
    assert found == {"query": min(QUERY, room), "stream": min(HEAVY, room)}
