from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import duckdb
import httpx
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from serving.errors import QueryTimeout
from serving.load.budget import Budget, Watchdog
from serving.reply import encode
from serving.reply.encode import Body, CsvEncoder, JsonEncoder, NdjsonEncoder, Stream, text_of
from serving.reply.parts import Rows
from tests.serving.conftest import eventually, patient
from tests.serving.lake import view
from tests.serving.load.test_budget import ENDLESS
from tests.serving.reply.test_problems import problem

RANGE = {"startTimestamp": "2016-01-01 00:00:00", "endTimestamp": "2016-01-02 00:00:00", "aggregation": "1440"}
texts = st.lists(st.text(), max_size=20)


def reader(batches: list[list[str]]) -> pa.RecordBatchReader:
    schema = pa.schema([("text", pa.string())])
    return pa.RecordBatchReader.from_batches(
        schema, [pa.record_batch([pa.array(batch, pa.string())], schema) for batch in batches]
    )


@patient
@given(texts, st.integers(0, 20), st.integers(0, 20))
def test_the_text_of_a_column_is_that_of_its_values_also_in_a_slice(values, offset, length):
    column = pa.array(values, pa.string()).slice(min(offset, len(values)), length)
    assert text_of(column) == "".join(column.to_pylist()).encode()


def test_an_answer_within_the_limit_is_known_whole():
    body = Body(reader([[",1", ",2"], [",3"]]), JsonEncoder(), limit=3)
    assert body.rows == 3
    assert body.whole() == b"[1,2,3]"


def test_an_empty_answer_is_an_empty_array():
    body = Body(reader([]), JsonEncoder(), limit=3)
    assert body.rows == 0
    assert body.whole() == b"[]"


@pytest.mark.parametrize("limit", [0, 9])
def test_ndjson_ends_with_a_line_that_counts_the_others(limit):
    body = Body(reader([["1\n", "2\n"], ["3\n"]]), NdjsonEncoder(7), limit)
    assert b"".join(body.chunks()) == b'1\n2\n3\n{"rows":3,"dataVersion":7}\n'


@pytest.mark.parametrize("limit", [0, 9])
def test_csv_begins_with_the_names_of_its_columns(limit):
    body = Body(reader([["1,2\r\n"], ["3,4\r\n"]]), CsvEncoder(["a", "b"]), limit)
    assert b"".join(body.chunks()) == b"a,b\r\n1,2\r\n3,4\r\n"


@patient
@given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=5), min_size=1, max_size=8))
def test_the_pieces_of_a_long_answer_make_one_array(batches):
    values = [value for batch in batches for value in batch]
    source = reader([[f",{value}" for value in batch] for batch in batches])
    body = Body(source, JsonEncoder(), limit=len(values) - 1)
    assert body.rows is None
    assert json.loads(b"".join(body.chunks())) == values


def test_a_long_answer_is_read_one_batch_after_another():
    taken = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(5):
            taken.append(number)
            yield pa.record_batch([pa.array([f",{number}"])], names=["text"])

    source = pa.RecordBatchReader.from_batches(pa.schema([("text", pa.string())]), batches())
    chunks = Body(source, JsonEncoder(), limit=0).chunks()
    next(chunks)
    assert taken == [0]
    next(chunks)
    assert taken == [0, 1]


@pytest.fixture
def long_answer(lake, serve) -> httpx.Client:
    """A client of a service that streams everything, a few rows at a time, and has an answer of 30,000 rows."""
    day = view("2016-01-01 00:00:00")
    lake.publish([day])
    row = {name: day[name] for name in ("date", "platform", "time")}
    lake.write(
        "ctr_day", [{**row, "product": f"p{n:06}" + "x" * 200, "views": 1, "purchases": 0} for n in range(30_000)]
    )
    lake.announce()
    return serve(lake, stream_rows=500)


def test_a_long_answer_is_streamed_whole_in_order_and_without_a_length(long_answer):
    first = long_answer.get("/v1/ctr", params=RANGE)
    response = long_answer.get("/v1/ctr", params=RANGE)
    assert response.content == first.content
    assert response.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in response.headers
    assert "x-row-count" not in response.headers
    assert response.headers["content-type"] == "application/json"
    products = [row["product"] for row in response.json()]
    assert len(products) == 30_000
    assert products == sorted(products)


def test_an_answer_whose_source_fails_in_mid_stream_is_cut_and_not_ended(long_answer, failing_source, caplog):
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        long_answer.get("/v1/ctr", params=RANGE)
    assert "disk on fire" in caplog.text
    store = long_answer.store  # type: ignore[attr-defined]
    eventually(lambda: store.lending.current.leases == 0)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OSError("IO Error: Could not read enough bytes from file /srv/secret"), 503, "lake_unreadable"),
        (QueryTimeout(3), 504, "query_timeout"),
        (RuntimeError("disk on fire"), 500, "internal_error"),
    ],
)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_stream_that_fails_before_its_first_piece_is_a_problem(long_answer, monkeypatch, error, status, code, coding):
    def failing(body):
        raise error
        yield b""

    monkeypatch.setattr(encode.Body, "chunks", failing)
    answer = long_answer.get("/v1/ctr", params=RANGE, headers={"Accept-Encoding": coding})
    found = problem(answer)
    assert (answer.status_code, found.code) == (status, code)
    assert "secret" not in answer.text
    assert "ETag" not in answer.headers
    assert long_answer.store.lending.current.leases == 0


def test_a_stream_whose_first_piece_cannot_be_compressed_is_a_problem(long_answer, monkeypatch):
    def failing(*_):
        raise MemoryError

    monkeypatch.setattr("serving.reply.transfer._Gzip.chunk", failing)
    answer = long_answer.get("/v1/ctr", params=RANGE, headers={"Accept-Encoding": "gzip"})
    assert (answer.status_code, problem(answer).code) == (500, "internal_error")
    assert "Content-Encoding" not in answer.headers


def test_a_client_that_goes_away_ends_its_query_and_gives_its_hold_back(long_answer, monkeypatch):
    left = threading.Event()

    def held_up(rows: Rows) -> Iterator[pa.RecordBatch]:
        yield from islice(rows._batches, 4)
        assert left.wait(30)  # or all of it may be on its way before the client looks
        yield from rows._batches

    monkeypatch.setattr(Rows, "__iter__", held_up)
    store = long_answer.store  # type: ignore[attr-defined]
    with long_answer.stream("GET", "/v1/ctr", params=RANGE, headers={"Accept-Encoding": "identity"}) as response:
        next(response.iter_raw())
        assert store.lending.current.leases == 1
    left.set()
    eventually(lambda: store.lending.current.leases == 0)


def test_a_client_that_goes_away_while_the_next_piece_is_made_has_its_query_interrupted(long_answer, monkeypatch):
    def endless(rows: Rows) -> Iterator[pa.RecordBatch]:
        yield from islice(rows._batches, 4)
        rows._lease.cursor.execute(ENDLESS).fetchall()

    monkeypatch.setattr(Rows, "__iter__", endless)
    store = long_answer.store  # type: ignore[attr-defined]
    with long_answer.stream("GET", "/v1/ctr", params=RANGE, headers={"Accept-Encoding": "identity"}) as response:
        pieces = response.iter_raw()  # its end would be that of the connection
        next(pieces)
        time.sleep(0.5)
        assert store.lending.current.leases == 1
    eventually(lambda: store.lending.current.leases == 0, 10)


@pytest.mark.parametrize("left", [True, False])
def test_the_source_of_a_stream_is_given_back_when_nothing_reads_from_it_any_more(left):
    watchdog, cursor, sent, closed = Watchdog(), duckdb.connect().cursor(), [], []
    budget = Budget(watchdog, 600, 1)

    def pieces() -> Iterator[bytes]:
        yield b"a"
        cursor.execute(ENDLESS if left else "SELECT 1").fetchall()

    async def story() -> None:
        gone = asyncio.Event()

        async def receive() -> Message:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message.get("body"))
            if left and message["type"] == "http.response.body":
                gone.set()

        def close() -> None:
            closed.append(cursor.execute("SELECT 1").fetchall())

        stream = Stream(budget.each(pieces(), cursor), close, {}, "text/csv")
        with ThreadPoolExecutor(1) as threads:
            stream.limit(600, threads, budget.cancel, lambda: closed.append("released"))
            await asyncio.wait_for(stream({"type": "http", "state": {}}, receive, send), 20)

    asyncio.run(story())
    watchdog.close()
    assert sent == [None, b"a"] + ([] if left else [b""])
    assert closed == [[(1,)], "released"]
