from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import duckdb
import pytest

from serving.query.segment_queries import attach_segment, detach
from serving.query.statements import literal
from serving.reply.answers import answer_ctr
from serving.request.parameters import ctr_from_query
from serving.settings import Settings
from serving.state.store import Store
from tests.serving.lake import Lake, purchase, view
from tests.serving.oracle import answer
from tests.serving.reading import rows_of
from tests.serving.wanted import Content

FIRST = datetime(2016, 10, 14, tzinfo=timezone.utc)
CONTENT = Content.random(7)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    lake = Lake(tmp_path_factory.mktemp("queries") / "lake")
    CONTENT.publish(lake)
    store = Store(Settings(lake=str(lake.path), replica=False))
    store.poll()
    yield store
    store.close()


def ask(store: Store, **parameters: Any) -> bytes:
    """The body of the answer to a query string."""
    request = ctr_from_query(urlencode(parameters, doseq=True).encode())
    response = answer_ctr(store, request, None, 100_000)
    return bytes(response.body)


def rows(body: bytes) -> list[tuple[str, ...]]:
    """The rows of an answer in JSON as text."""
    return rows_of(body, "json", 1)


@pytest.mark.parametrize("aggregation", [7, 60, 1440])
@pytest.mark.parametrize("start", ["2016-10-14 00:00:00", "2016-10-14 13:55:00", "2016-10-14 00:00:30"])
def test_the_sum_of_all_buckets_does_not_depend_on_their_anchoring(store, start, aggregation):
    body = ask(store, startTimestamp=start, endTimestamp="2016-10-20 00:00:00", aggregation=aggregation, detail="true")
    begin = datetime.fromisoformat(start).replace(tzinfo=timezone.utc)
    wanted = answer(CONTENT.views, CONTENT.purchases, begin, FIRST + timedelta(days=6), 10_000, detail=True)
    found = json.loads(body)
    assert sum(row["views"] for row in found) == sum(int(row[4]) for row in wanted)
    assert sum(row["purchases"] for row in found) == sum(int(row[5]) for row in wanted)


def test_copies_count_once_and_where_the_smallest_of_them_lies(lake, open_store):
    lake.publish(
        [
            view("2016-01-03 10:00:30", "b", message_id="m"),
            view("2016-01-03 10:00:10", "z", message_id="m"),
            view("2016-01-03 10:00:10", "c", message_id="m"),
            view("2016-01-03 10:00:40", "b", message_id="m", position=1),
            view("2016-01-04 10:00:10", "c", message_id="m"),
            view("2016-01-03 10:00:10", "c", "Android", message_id="m"),
        ]
    )
    store = open_store(lake)
    at_second = {"startTimestamp": "2016-01-03 09:00:01", "endTimestamp": "2016-01-03 11:00:00", "aggregation": 600}
    whole = ask(store, **at_second)
    assert [row[1:3] for row in rows(whole)] == [("Android", "c"), ("iOS", "b"), ("iOS", "c")]
    late = ask(store, **{**at_second, "startTimestamp": "2016-01-03 10:00:20"})
    assert [row[1:3] for row in rows(late)] == [("iOS", "b")], (
        "only position 1: the first copy of position 0 is earlier"
    )
    assert rows(ask(store, **at_second, product="z")) == [], "the copy with product z is not the smallest"


def test_views_without_a_message_id_all_count(lake, open_store):
    lake.publish([view("2016-01-03 10:00:30")] * 3)
    body = ask(
        open_store(lake),
        startTimestamp="2016-01-03 10:00:29",
        endTimestamp="2016-01-03 10:00:31",
        aggregation=1,
        detail="true",
    )
    assert json.loads(body)[0]["views"] == 3


@pytest.mark.parametrize(
    ("views", "purchases", "digits"),
    [
        (200, 3, b'"CTR":0.0150,'),
        (20000, 1, b'"CTR":0.0001,'),  # exactly half of the last digit: up
        (20001, 1, b'"CTR":0.0000,'),
        (3, 2, b'"CTR":0.6667,'),
        (1, 12, b'"CTR":12.0000,'),
        (7, 0, b'"CTR":0.0000,'),
        (0, 5, b'"CTR":null,'),
        (20000, 19999, b'"CTR":1.0000,'),  # 0.99995
        (10**12, 10**12 - 1, b'"CTR":1.0000,'),
    ],
)
def test_ctr_is_rounded_half_up_and_has_four_digits(lake, open_store, views, purchases, digits):
    lake.publish([view("2016-01-03 00:00:00")])
    row = {**view("2016-01-03 00:00:00"), "views": views, "purchases": purchases}
    lake.write("ctr_day", [{name: row[name] for name in row if name not in ("message_id", "position")}])
    lake.announce()
    body = ask(
        open_store(lake),
        startTimestamp="2016-01-03 00:00:00",
        endTimestamp="2016-01-04 00:00:00",
        aggregation=1440,
        detail="true",
    )
    assert digits in body


DETAIL = {"startTimestamp": "2016-01-01 00:00:00", "endTimestamp": "2016-01-08 00:00:00", "aggregation": 1440}


def statuses(store: Store, **changes: Any) -> dict[tuple[str, str], str]:
    """The status of each bucket and platform."""
    found = json.loads(ask(store, **{**DETAIL, "detail": "true", **changes}))
    return {(row["timestamp"][:10], row["platform"]): row["status"] for row in found}


def test_a_bucket_is_provisional_when_it_ends_after_the_older_watermark_of_its_platform(lake, open_store):
    lake.publish(
        [view("2016-01-01 10:00:00"), view("2016-01-02 00:00:00"), view("2016-01-02 00:00:00", platform="Android")],
        [purchase("2016-01-03 10:00:00"), purchase("2016-01-01 23:59:59", platform="Android")],
    )
    assert statuses(open_store(lake)) == {
        ("2016-01-01", "iOS"): "final",
        ("2016-01-01", "Android"): "partial",
        ("2016-01-02", "iOS"): "provisional",
        ("2016-01-02", "Android"): "provisional",
        ("2016-01-03", "iOS"): "provisional",
    }


def test_times_after_the_publication_do_not_move_the_watermark(lake, open_store):
    lake.publish(
        [view("2016-01-01 10:00:00"), view("2040-01-01 00:00:00")],
        [purchase("2016-01-01 11:00:00"), purchase("2040-01-01 00:00:00")],
        published_at="2016-01-02 00:00:00",
    )
    assert statuses(open_store(lake)) == {("2016-01-01", "iOS"): "provisional"}


def test_a_platform_without_purchases_is_provisional(lake, open_store):
    lake.publish([view("2016-01-01 10:00:00"), view("2016-01-05 10:00:00")])
    assert statuses(open_store(lake))["2016-01-05", "iOS"] == "provisional"


def test_a_bucket_with_a_missing_day_of_its_platform_is_partial(lake, open_store):
    lake.publish(
        [view(f"2016-01-{day:02} 10:00:00") for day in (1, 2, 5, 7)]
        + [view(f"2016-01-{day:02} 10:00:00", platform="Android") for day in range(1, 8)],
        [purchase("2016-01-09 10:00:00", platform=platform) for platform in ("iOS", "Android")],
    )
    found = statuses(open_store(lake), aggregation=2880, endTimestamp="2016-01-09 00:00:00")
    assert found == {
        ("2016-01-01", "Android"): "final",
        ("2016-01-01", "iOS"): "final",
        ("2016-01-03", "Android"): "final",
        ("2016-01-05", "Android"): "final",
        ("2016-01-05", "iOS"): "partial",
        ("2016-01-07", "Android"): "provisional",
        ("2016-01-07", "iOS"): "provisional",
    }


def test_a_bucket_that_the_range_cuts_is_partial(lake, open_store):
    lake.publish(
        [view("2016-01-01 10:00:00"), view("2016-01-02 10:00:00"), view("2016-01-09 10:00:00")],
        [purchase("2016-01-10 10:00:00")],
    )
    store = open_store(lake)
    cut = statuses(store, endTimestamp="2016-01-02 12:00:00")
    assert cut == {("2016-01-01", "iOS"): "final", ("2016-01-02", "iOS"): "partial"}
    body = ask(store, **{**DETAIL, "endTimestamp": "2016-01-02 12:00:00"}, detail="true")
    assert [row["bucketEnd"] for row in json.loads(body)] == ["2016-01-02 00:00:00", "2016-01-02 12:00:00"]


@pytest.mark.parametrize("text", ["plain", "it's", "''; DROP TABLE x; --", "a\\b", "é", "", "'"])
def test_a_literal_is_one_text_whatever_is_in_it(text):
    assert duckdb.connect().execute(f"SELECT {literal(text)}").fetchone() == (text,)


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a'", 'a"', "A", "a-b", "p1.views"])
def test_only_names_that_segments_have_get_into_a_statement(name):
    with pytest.raises(ValueError, match="not a table name"):
        attach_segment("/replica/x.duckdb", name)
    with pytest.raises(ValueError, match="not a table name"):
        detach(name)


@pytest.mark.parametrize("product", ["' OR 1=1 --", "$product0", "%", "_", "\x00", "a" * 5000])
def test_a_product_is_a_value_and_nothing_else(store, product):
    body = ask(store, **{**DETAIL, "endTimestamp": "2017-01-01 00:00:00"}, product=product)
    assert rows(body) == rows(ask(store, **{**DETAIL, "endTimestamp": "2017-01-01 00:00:00"}, product=[product] * 2))
    assert {row[2] for row in rows(body)} <= {product}


def test_a_lake_whose_path_has_quotes_and_spaces_is_read(tmp_path: Path, open_store):
    lake = Lake(tmp_path / "it's a 'lake' é env=prod")
    lake.publish([view("2016-01-01 10:00:00")])
    assert len(rows(ask(open_store(lake), **DETAIL))) == 1
