"""The serving benchmark's own parts: its lake is whole, its requests are distinct, its load counts what it got."""

from __future__ import annotations

import contextlib
import inspect
import random
import shutil
import socket
import threading
from collections.abc import Iterator

import duckdb
import pytest

from bench import serve
from bench.errors import BenchError
from bench.serving import inside, peer, scan
from bench.serving.build import build
from bench.serving.downloads import downloads
from bench.serving.inside import drawn
from bench.serving.lake import Size, make_lake, product_name
from bench.serving.load import load
from bench.serving.requests import kinds, path
from serving.request.parameters import ctr_from_query
from tests.conftest import Service

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed: scripts/test-servers.sh")

SIZE = Size(days=2, products=5, minute_days=2)


def test_the_lake_has_every_product_in_every_hour_and_sums_that_agree(tmp_path):
    lake = make_lake(tmp_path, SIZE)

    def total(table: str) -> tuple[int, int, int]:
        source = f"read_parquet('{lake / table}/*/*/*.parquet')"
        [row] = duckdb.sql(f"SELECT count(*), sum(views)::BIGINT, sum(purchases)::BIGINT FROM {source}").fetchall()
        return row

    hours, days, minutes = total("ctr_hour"), total("ctr_day"), total("ctr_minute")
    assert hours[0] == SIZE.hour_rows == 2 * 24 * 5 * 3
    assert days[0] == 2 * 5 * 3
    assert minutes[0] > hours[0]
    assert hours[1:] == days[1:] == minutes[1:]
    assert make_lake(tmp_path, SIZE) == lake, "a lake that is there is kept"


def test_a_report_says_of_how_many_days_there_are_minutes():
    assert SIZE.words == "2 days, 3 platforms, 5 products: 720 rows by the hour; minutes of all of them"
    assert Size(365, 10, 90).words.endswith("; minutes of the newest 90 days, of the 275 before hours and days only")


def test_the_long_history_is_measured_unless_it_is_left_out():
    assert serve._parser().parse_args([]).growth == 365
    assert serve._parser().parse_args(["--growth", "0"]).growth == 0


@pytest.mark.slow
def test_making_a_replica_is_measured_in_a_process_of_its_own(tmp_path):
    held = bytearray(400_000_000)
    built = build(make_lake(tmp_path / "lake", SIZE), tmp_path / "replica")
    assert list((tmp_path / "replica").rglob("*.duckdb"))
    assert built.seconds > 0
    assert 20 < built.before_mb < built.peak_mb < len(held) / 1e6, "what this process holds is not counted"


def test_names_of_products_are_distinct():
    assert len({product_name(number) for number in range(10_000)}) == 10_000


def test_an_address_is_read_back_as_its_request():
    for make in kinds(SIZE).values():
        request = make(random.Random(1))
        assert ctr_from_query(path(request).partition("?")[2].encode()) == request


def test_the_static_limit_waits_for_no_thread_and_what_waits_for_postgresql_has_one(monkeypatch):
    endpoints = {}
    for source in ("static", "bare-postgresql://nobody"):
        monkeypatch.setattr(peer, "_source", source)
        endpoints[source] = next(route.endpoint for route in peer._bare().routes if route.path == "/v1/ctr")
    assert [inspect.iscoroutinefunction(endpoint) for endpoint in endpoints.values()] == [True, False]


def test_duckdb_s_own_reader_gives_the_bytes_of_the_service(tmp_path):
    lake = make_lake(tmp_path, SIZE)
    with contextlib.ExitStack() as stack:
        service = inside._answers(inside.opened(stack, lake, None))
        connection = stack.enter_context(scan.attached(lake))
        for make in kinds(SIZE).values():
            for request in drawn(make, 3):
                wanted = b"".join(service(request))
                assert scan.answer(connection, request) == wanted
                assert wanted.count(b"timestamp") > 1


@contextlib.contextmanager
def answering(status: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """The port of a server that gives every request one short answer, and the paths that it was asked for."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=answer, args=(client,), daemon=True).start()

    def answer(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while request := client.recv(10_000):
                asked.append(request.split()[1])
                client.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n[]")

    threading.Thread(target=serve, daemon=True).start()
    with listener:
        yield int(listener.getsockname()[1]), asked
        listener.shutdown(socket.SHUT_RDWR)


@needs_wrk
def test_the_load_asks_for_each_path_in_turn_and_counts_answers():
    with answering(b"200 OK") as (port, asked):
        found = load(port, ["/a", "/b?x=1&y=%20", "/c"], connections=1, seconds=1)
    assert asked[:4] == [b"/b?x=1&y=%20", b"/c", b"/a", b"/b?x=1&y=%20"], (
        "wrk looks at the first, and asks from the second on"
    )
    assert found.a_second == pytest.approx(len(asked), rel=0.2)
    assert 0 < found.p50 <= found.p99


@needs_wrk
def test_an_answer_that_refuses_ends_the_load():
    with answering(b"503 Busy") as (port, _), pytest.raises(BenchError, match="answers were refusals"):
        load(port, ["/a"], connections=1, seconds=1)


def test_a_load_without_its_generator_says_what_to_do(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BenchError, match=r"scripts/test-servers\.sh"):
        load(1, ["/a"], connections=1, seconds=1)


@pytest.mark.slow
def test_downloads_measure_every_format_of_a_running_service(tmp_path):
    env = {"CTR_LAKE": str(make_lake(tmp_path / "lake", SIZE)), "CTR_REPLICA_FOLDER": str(tmp_path / "replica")}
    service = Service(env, tmp_path / "log")
    try:
        service.wait()
        port = int(service.url.rpartition(":")[2])
        text = downloads(port, service.process.pid, SIZE)
    finally:
        service.stop()
    lines = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    assert text.startswith("720 rows, by hour")
    assert "- MB of memory above rest, the most of all formats: " in text
    assert lines[2:] == ["json", "ndjson", "csv", "arrow", "parquet", "csv, gzip", "csv, zstd"]
