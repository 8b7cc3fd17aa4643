from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.query.plan import Piece, Plan, make_buckets
from serving.query.queries import ctr
from serving.query.small import CELLS_AT_ONCE, MOST_CELLS, PLACES_AT_ONCE, at_once, ctr_text, fits, quoted, rows
from serving.replica.segments import product_id
from serving.request.parameters import CtrRequest
from serving.state.publications import Publication
from serving.state.snapshot import Snapshot
from tests.serving.conftest import patient
from tests.serving.lake import at
from tests.serving.oracle import ctr_text as plain_ctr_text

PUBLICATION = Publication("", 1, at("2016-01-01 00:00:00"), {}, "daily", {})
REQUEST = CtrRequest(0, 86_400, 60, products=("a",), platforms=("iOS",))


def planned(request: CtrRequest, rollup: str | None = "ctr_hour", segment: str | None = "s") -> Plan:
    return Plan(make_buckets(request), (Piece(rollup, request.start, request.end, segment),))


def test_a_plain_request_for_few_cells_of_the_replica_fits():
    assert fits(REQUEST, planned(REQUEST))
    assert fits(dataclasses.replace(REQUEST, strict=True, as_of=3), planned(REQUEST))


@pytest.mark.parametrize("other", [{"detail": True}, {"fill": True}, {"ci": 0.95}, {"format": "csv"}, {"products": ()}])
def test_every_other_form_of_answer_is_left_to_the_large_statement(other):
    request = dataclasses.replace(REQUEST, **other)
    assert not fits(request, planned(request))


def test_what_delta_has_to_answer_does_not_fit():
    assert not fits(REQUEST, planned(REQUEST, segment=None))
    assert not fits(REQUEST, planned(REQUEST, rollup=None, segment=None))
    assert not fits(REQUEST, Plan(make_buckets(REQUEST), ()))


def test_the_bound_on_cells_counts_products_and_platforms():
    names = tuple(map(str, range(MOST_CELLS // 24)))
    most = dataclasses.replace(REQUEST, products=names)
    assert fits(most, planned(most))
    for other in ({"products": (*names, "x")}, {"platforms": ()}):
        more = dataclasses.replace(most, **other)
        assert not fits(more, planned(more))


def test_what_touches_much_or_many_places_waits_for_a_thread():
    assert at_once(REQUEST, planned(REQUEST))
    longest = dataclasses.replace(REQUEST, end=CELLS_AT_ONCE * 3600)
    assert at_once(longest, planned(longest))
    longer = dataclasses.replace(REQUEST, end=longest.end + 3600)
    many = dataclasses.replace(REQUEST, end=3600, products=tuple(map(str, range(PLACES_AT_ONCE + 1))))
    for request in (longer, many):
        assert fits(request, planned(request))
        assert not at_once(request, planned(request))
    assert not at_once(REQUEST, planned(REQUEST, segment=None))


@pytest.mark.parametrize(
    ("views", "purchases"), [(0, 0), (0, 3), (1, 0), (2, 3), (3, 2), (20_000, 1), (19_999, 1), (7, 9)]
)
def test_a_ctr_is_written_as_the_plain_computation_writes_it(views, purchases):
    assert ctr_text(views, purchases) == plain_ctr_text(views, purchases)


IDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=5, unique=True)
"""Whatever can be the id of a product: a lake holds UTF-8, so no half of a surrogate pair."""


@pytest.fixture(scope="module")
def database():
    """A DuckDB with an empty segment ``s``."""
    one = duckdb.connect()
    one.execute("ATTACH ':memory:' AS s")
    one.execute("CREATE TABLE s.product (id UBIGINT, name VARCHAR)")
    one.execute(
        "CREATE TABLE s.cell (product UBIGINT, platform UTINYINT, second BIGINT, views BIGINT, purchases BIGINT)"
    )
    return one


@patient
@given(IDS)
@example(["\x1f", "\\u001f", '"', "\x7f\u2028", "\0"])
@example([chr(code) for code in range(32)])
def test_both_ways_to_an_answer_give_the_same_bytes_whatever_the_ids_are(database, ids):
    numbers = {product_id(name): name for name in ids}
    request = dataclasses.replace(REQUEST, products=tuple(ids))
    plan = planned(request)
    assert fits(request, plan)
    database.execute("DELETE FROM s.product; DELETE FROM s.cell")
    database.executemany("INSERT INTO s.product VALUES (?, ?)", [[number, name] for number, name in numbers.items()])
    database.executemany("INSERT INTO s.cell VALUES (?, 2, 3600, 3, 1)", [[number] for number in numbers])
    query = ctr(request, plan, Snapshot(PUBLICATION, {}, {}))
    large = "".join(text for (text,) in database.execute(query.sql, query.values).fetchall())
    assert f",{','.join(rows(database, request, plan, numbers))}" == large
    assert [row["product"] for row in json.loads(f"[{large[1:]}]")] == sorted(ids, key=str.encode)


@pytest.mark.parametrize("timezone", ["UTC", "Asia/Kolkata"])
@pytest.mark.parametrize("fill", [False, True])
def test_the_large_statement_has_no_join_more_for_a_segment_more(timezone, fill):
    """A join for each of a year of days took gigabytes, and so did looking up each cell's day among the days of a zone."""

    def joins(count: int) -> int:
        request = dataclasses.replace(REQUEST, end=86_400 * count, aggregation=1440, timezone=timezone, fill=fill)
        edges = range(0, request.end + 1, 86_400)
        pieces = [Piece("ctr_minute", start, end, f"s{start}") for start, end in pairwise(edges)]
        query = ctr(request, Plan(make_buckets(request), tuple(pieces)), Snapshot(PUBLICATION, {}, {}))
        assert "ASOF" not in query.sql
        return query.sql.count("JOIN")

    assert joins(300) == joins(1)


@pytest.mark.parametrize(
    ("text", "written"), [("a/é", '"a/é"'), ("\x1f\n", '"\\u001F\\n"'), ("\\u001f", '"\\\\u001f"'), ('"', '"\\""')]
)
def test_a_text_is_quoted_with_capitals_in_its_escapes(text, written):
    assert quoted(text) == written
