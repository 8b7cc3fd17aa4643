from __future__ import annotations

import io
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.errors import InvalidRequest
from serving.load.budget import Budget
from serving.query.plan import make_plan
from serving.reply import parts
from serving.reply.answers import answer_ctr
from serving.reply.parts import expected_begins
from serving.request.parameters import CtrRequest
from serving.state.cost import Sizes
from serving.state.store import Store
from tests.serving.lake import Lake
from tests.serving.replica.test_replica import open_replica, random_rows, second

__all__ = ["open_replica"]

WEEK = CtrRequest(second("2016-01-28 00:00:00"), second("2016-02-04 00:00:00"), 60, format="csv")


@pytest.fixture
def store(lake: Lake, open_replica) -> Store:
    """Some 1,400 cells by the hour, all in the replica."""
    lake.publish(*random_rows(random.Random(5), 1500))
    return open_replica(lake, cache_bytes="0")


@pytest.fixture
def read(monkeypatch):
    """The plans of the parts that were read so far."""
    found = []
    real = parts.ctr

    def noted(request, plan, *more):
        found.append(plan)
        return real(request, plan, *more)

    monkeypatch.setattr(parts, "ctr", noted)
    monkeypatch.setattr(parts, "PART_ROWS", 100)
    return found


def body(store: Store, request: CtrRequest) -> bytes:
    """The answer, streamed."""
    response = answer_ctr(store, request, None, 10)
    try:
        return b"".join(response.chunks)
    finally:
        response.close()


def in_one(store: Store, request: CtrRequest, monkeypatch) -> bytes:
    with monkeypatch.context() as patch:
        patch.setattr(parts, "PART_ROWS", 10**9)
        return body(store, request)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"format": "json"},
        {"format": "ndjson", "detail": True, "ci": 0.9},
        {"aggregation": 7, "detail": True},
        {"aggregation": 1440, "timezone": "America/Sao_Paulo", "detail": True},
        {"products": ("a", "É"), "platforms": ("iOS",)},
        {"start": WEEK.start + 13 * 3600, "end": WEEK.end - 3 * 3600 - 61, "detail": True},
    ],
)
def test_parts_give_the_bytes_that_one_statement_gives(store, read, monkeypatch, more):
    request = CtrRequest(**{**vars(WEEK), **more})
    monkeypatch.setattr(parts, "PART_ROWS", 20)
    found = body(store, request)
    assert len(read) > 3
    assert found == in_one(store, request, monkeypatch)


def test_no_part_is_made_of_what_lies_after_the_last_day(store, read, monkeypatch):
    monkeypatch.setattr(parts, "PART_ROWS", 10)
    request = CtrRequest(
        **{**vars(WEEK), "start": WEEK.end - 86_400, "end": WEEK.end + 5 * 86_400, "aggregation": 1440}
    )
    assert body(store, request) == in_one(store, request, monkeypatch)
    assert body(store, CtrRequest(**{**vars(request), "aggregation": 60})).count(b"2016-02-03")


def test_typed_rows_are_the_same_in_parts(store, read, monkeypatch):
    for format, table_of in (("parquet", pq.read_table), ("arrow", lambda file: pa.ipc.open_stream(file).read_all())):
        request = CtrRequest(**{**vars(WEEK), "format": format, "detail": True})
        whole = table_of(io.BytesIO(in_one(store, request, monkeypatch)))
        read.clear()
        assert table_of(io.BytesIO(body(store, request))).equals(whole)
        assert len(read) > 3


def test_a_part_is_read_when_the_client_has_taken_the_one_before(store, read):
    response = answer_ctr(store, WEEK, None, 10)
    next(response.chunks)
    assert len(read) == 1
    assert sum(1 for _ in response.chunks) > 100
    assert len(read) > 10
    response.close()


def test_parts_that_are_counted_hold_no_more_than_their_rows_and_one_bucket(store, read, monkeypatch):
    request = CtrRequest(**{**vars(WEEK), "aggregation": 120})
    body(store, request)
    with store.lease() as lease:
        sizes = []
        for part in read:
            query = parts.ctr_rows(request, part, lease.snapshot, 10**9, 10**9)
            sizes.append(lease.cursor.execute(query.sql, query.values).fetchone()[1])
    assert len(sizes) > 10
    assert max(sizes) < 100 + 3 * 6, "three platforms, six products"
    assert [part.buckets.end for part in read[:-1]] == [part.buckets.start for part in read[1:]]


def test_a_segment_that_is_lost_between_two_parts_is_replaced_by_delta(store, read, monkeypatch):
    whole = in_one(store, WEEK, monkeypatch)
    response = answer_ctr(store, WEEK, None, 10)
    found = next(response.chunks)
    read.clear()
    for segment in response._close.__self__.snapshot.held:
        with store.cursor() as cursor:
            cursor.execute(f"DETACH {segment.name}")
    assert found + b"".join(response.chunks) == whole
    assert {piece.segment for piece in read[-1].pieces} == {None}
    response.close()


def test_too_many_rows_are_refused_before_the_first_part(store, read):
    with pytest.raises(InvalidRequest) as refused:
        answer_ctr(store, WEEK, None, 10, Budget(None, 60, 500))
    (fault,) = refused.value.errors
    assert fault.detail.startswith("the answer has 1")
    assert fault.detail.endswith("the limit is 500 (setting download_rows)")
    assert fault.hint.startswith("endTimestamp=2016-01-")
    assert read == []


def test_what_other_buckets_or_whole_days_are_needed_for_stays_in_one(store, read, lake, open_store):
    body(store, CtrRequest(**{**vars(WEEK), "fill": True}))
    body(store, CtrRequest(**{**vars(WEEK), "start": WEEK.start + 1}))
    body(open_store(lake), WEEK)
    assert len(read) == 3


def test_a_short_answer_is_not_counted_first(store, read, monkeypatch):
    monkeypatch.setattr(parts, "ctr_rows", None)
    monkeypatch.setattr(parts, "PART_ROWS", 18 * 7 * 24)
    body(store, CtrRequest(**{**vars(WEEK), "aggregation": 120}))
    assert len(read) == 1


def test_parts_by_the_sizes_of_days_begin_where_buckets_do(monkeypatch):
    days = {parts.day_of(WEEK.start + day * 86_400): rows for day, rows in enumerate((24_000, 0, 240, 48_000))}
    monkeypatch.setattr(parts, "PART_ROWS", 10_000)
    begins = expected_begins(WEEK, make_plan(WEEK), Sizes({("ctr_hour", "iOS"): days}))
    assert [(begin - WEEK.start) / 3600 for begin in begins] == [0, 10, 20, 74, 79, 84, 89, 94]
