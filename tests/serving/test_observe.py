from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from serving.keys import make_key, write_keys
from serving.main import create_app
from serving.observe import _forget_dead
from serving.query.catalog_queries import products
from serving.replica.builder import Builder
from serving.request.formats import FORMATS
from serving.settings import ROOT, Settings
from serving.state.store import Store
from tests.serving.conftest import eventually, running
from tests.serving.lake import purchase, view
from tests.serving.reply.test_answers import CASE
from tests.serving.reply.test_problems import problem


def gauges(client) -> dict[str, float]:
    """Every sample of ``/metrics``, by its name with its labels."""
    lines = (line for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_metrics_tell_requests_rows_state_and_ages(lake, serve):
    lake.publish([view("2016-01-03 14:00:00")])
    client = serve(lake)
    for _ in range(2):
        client.get("/v1/ctr", params=CASE)
    client.get("/v1/ctr", params={"platform": "tv"})
    client.get("/nothing/at/all")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.text.splitlines()
    assert 'ctr_requests_total{route="/v1/ctr",status="200"} 2.0' in lines
    assert 'ctr_requests_total{route="/v1/ctr",status="422"} 1.0' in lines
    assert 'ctr_requests_total{route="other",status="404"} 1.0' in lines
    assert 'ctr_request_seconds_count{route="/v1/ctr",source="cache"} 1.0' in lines
    assert "ctr_rows_total 2.0" in lines
    assert "ctr_data_version 1.0" in lines
    assert "ctr_healthy 1.0" in lines
    assert "ctr_queries_running 0.0" in lines
    assert any(line.startswith('ctr_watermark_age_seconds{platform="iOS",source="views"}') for line in lines)


def test_metrics_are_there_without_a_lake(lake, serve):
    answer = serve(lake).get("/metrics")
    assert answer.status_code == 200
    assert "ctr_healthy 0.0" in answer.text.splitlines()


def test_each_request_is_one_line_of_json_without_its_key_and_its_query(lake, serve, tmp_path, caplog):
    lake.publish([view("2016-01-03 14:00:00", "secret-product")])
    secret, key = make_key("shop", ("read",), (), None)
    write_keys(tmp_path / "keys.json", (key,))
    client = serve(lake, api_keys_file=str(tmp_path / "keys.json"))
    with caplog.at_level(logging.INFO, "serving.access"):
        answer = client.get(
            "/v1/ctr", params={**CASE, "product": "secret-product"}, headers={"Authorization": f"Bearer {secret}"}
        )
        assert client.get("/v1/ctr", params=CASE).status_code == 401
    texts = [record.getMessage() for record in caplog.records if record.name == "serving.access"]
    assert not any(secret in text or "secret-product" in text for text in texts)
    first, second = map(json.loads, texts)
    assert first["requestId"] == answer.headers["x-request-id"]
    assert (first["route"], first["status"], first["rows"], first["dataVersion"]) == ("/v1/ctr", 200, 1, "1")
    assert first["key"] == key.id
    assert first["whole"] is True
    assert first["bytes"] == int(answer.headers["content-length"])
    assert (second["status"], second["key"]) == (401, None)


def logged(caplog) -> list[dict]:
    """The lines of the access log so far."""
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "serving.access"]


def test_rows_of_streams_are_counted_and_logged_when_they_were_sent(lake, serve, caplog):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:05}") for number in range(3000)])
    client = serve(lake, stream_rows=1000, cache_bytes=0)
    with caplog.at_level(logging.INFO, "serving.access"):
        for number, name in enumerate(FORMATS, 1):
            answer = client.get("/v1/ctr", params={**CASE, "format": name})
            assert "x-row-count" not in answer.headers
            assert gauges(client)["ctr_rows_total"] == 3000 * number
    found = [(line["rows"], line["whole"]) for line in logged(caplog) if line["route"] == "/v1/ctr"]
    assert found == [(3000, True)] * len(FORMATS)


def test_rows_of_a_stream_that_was_cut_are_not_known(lake, serve, caplog):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:05}") for number in range(3000)])
    client = serve(lake, stream_rows=1000, stream_seconds=1e-9)
    with caplog.at_level(logging.INFO, "serving.access"):
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/v1/ctr", params=CASE, headers={"Accept-Encoding": "identity"})
        [line] = eventually(lambda: logged(caplog))
    assert (line["status"], line["rows"], line["whole"]) == (200, None, False)
    assert gauges(client)["ctr_rows_total"] == 0


def test_refusals_are_counted_by_their_code_wherever_they_happen(lake, serve, monkeypatch):
    lake.publish([view("2016-01-03 14:00:00")])
    client = serve(lake, url_bytes=500)
    client.get("/v1/ctr", params={"platform": "tv"})
    client.get("/v1/ctr", params={"platform": "tv" * 50}, headers={"Accept-Encoding": "gzip"})
    client.head("/nothing")
    client.get("/v1/ctr?" + "x" * 600)
    with contextlib.suppress(httpx.TransportError):  # the connection may close before the client has sent it all
        client.get("/health/live", headers={"X-Long": "x" * 100_000})
    monkeypatch.setattr("serving.reply.answers.make_plan", None)
    client.get("/v1/ctr", params=CASE)
    found = gauges(client)
    assert found['ctr_refusals_total{code="invalid_request"}'] == 2
    assert found['ctr_refusals_total{code="not_found"}'] == 1
    assert found['ctr_refusals_total{code="url_too_long"}'] == 1
    assert found['ctr_refusals_total{code="head_too_large"}'] == 1
    assert found['ctr_refusals_total{code="internal_error"}'] == 1
    assert found['ctr_requests_total{route="/v1/ctr",status="500"}'] == 1
    assert found['ctr_requests_total{route="/v1/ctr",status="414"}'] == 1


def test_requests_in_flight_are_those_that_wait_for_their_answer(lake, serve, monkeypatch):
    lake.publish([view("2016-01-03 14:00:00")])
    client, free = serve(lake), threading.Event()
    monkeypatch.setattr("serving.reply.catalog.products", lambda *asked: free.wait(20) and products(*asked))
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(client.get, "/v1/products", params={"search": name}) for name in "abc"]
        eventually(lambda: gauges(client)["ctr_requests_in_flight"] == 4)
        free.set()
        assert {one.result().status_code for one in asked} == {200}
    eventually(lambda: gauges(client)["ctr_requests_in_flight"] == 1)


def test_requests_of_a_worker_that_was_killed_leave_the_sum(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        (tmp_path / f"gauge_livesum_{pid}.db").touch()
    (tmp_path / f"counter_{dead.pid}.db").touch()
    _forget_dead(tmp_path)
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {f"gauge_livesum_{os.getpid()}.db", f"counter_{dead.pid}.db"}


def test_a_service_that_still_opens_its_first_publication_is_loading(lake, monkeypatch):
    lake.publish([view("2016-01-03 14:00:00")])
    free, poll = threading.Event(), Store.poll
    monkeypatch.setattr("serving.main._START_SECONDS", 0.05)
    monkeypatch.setattr(Store, "poll", lambda store: free.wait(20) and poll(store))
    settings = Settings(lake=str(lake.path), replica=False, poll_seconds=0.05)
    with running(create_app(settings), looked=False) as client:
        for path in ("/health/ready", "/v1/status", "/v1/products"):
            found = problem(client.get(path))
            assert (found.status, found.code) == (503, "loading")
        assert client.get("/health/live").status_code == 200
        assert gauges(client)["ctr_healthy"] == 0
        free.set()
        eventually(lambda: client.get("/health/ready").status_code == 200)
        assert client.get("/health/ready").json() == {
            "status": "ready",
            "dataVersion": 1,
            "problem": None,
            "replica": None,
        }


def test_a_newest_publication_that_is_broken_is_degraded_while_the_old_one_is_served(lake, serve):
    lake.publish([view("2016-01-03 14:00:00")])
    client = serve(lake)
    lake.announce(ctr_day=9)
    eventually(lambda: client.get("/health/ready").json()["status"] == "degraded")
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json()["dataVersion"] == 1
    assert answer.json()["problem"] == "Publication 2: table ctr_day cannot be read at version 9."
    assert gauges(client)["ctr_healthy"] == 0
    lake.publish([view("2016-01-03 14:00:00")])
    eventually(lambda: client.get("/health/ready").json()["status"] == "ready")


def test_a_service_without_its_replica_yet_is_ready_and_metrics_tell_how_much_there_is(
    lake, serve, tmp_path, monkeypatch
):
    lake.publish([view("2016-01-03 14:00:00")])
    free, make = threading.Event(), Builder._make
    monkeypatch.setattr(Builder, "_make", lambda *segments: free.wait(20) and make(*segments))
    client = serve(lake, replica=True, replica_folder=str(tmp_path / "replica"))
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert answer.json()["replica"] == {"wanted": 3, "held": 0}
    found = gauges(client)
    assert (found["ctr_replica_segments_wanted"], found["ctr_replica_segments_held"]) == (3, 0)
    assert found["ctr_replica_complete_ratio"] == 0
    assert found["ctr_replica_build_seconds"] == 0
    assert "ctr_replica_age_seconds" not in found
    free.set()
    eventually(lambda: gauges(client)["ctr_replica_complete_ratio"] == 1)
    assert client.get("/health/ready").json()["replica"] == {"wanted": 3, "held": 3}
    eventually(lambda: gauges(client)["ctr_replica_build_seconds"] > 0)
    for file in (tmp_path / "replica").rglob("*.duckdb"):
        os.utime(file, (0, 0))
    assert gauges(client)["ctr_replica_age_seconds"] > 3600, "the time of the files, not that of the start"


ALERTS = (
    (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").split("## Watching the service")[1].split("\n## ")[0]
)


def test_the_metrics_that_operations_name_are_there(lake, serve, tmp_path):
    lake.publish([view("2016-01-03 14:00:00")], [purchase("2016-01-03 14:00:00")])
    client = serve(lake, replica=True, replica_folder=str(tmp_path / "replica"))
    client.get("/v1/ctr")
    eventually(lambda: gauges(client)["ctr_replica_complete_ratio"] == 1)
    names = {name.partition("{")[0] for name in gauges(client)}
    wanted = set(re.findall(r"ctr_[a-z_]+", ALERTS))
    assert len(wanted) > 12
    assert wanted - names == {"ctr_jwks_age_seconds"}, "that one only with JWTs"


def test_ready_tells_an_empty_lake_from_one_that_is_broken(lake, serve):
    client = serve(lake)
    assert client.get("/health/ready").json()["code"] == "not_ready"
    lake.announce()
    eventually(lambda: client.get("/health/ready").json()["code"] == "broken")
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "Publication 1: table views has no version in it."
