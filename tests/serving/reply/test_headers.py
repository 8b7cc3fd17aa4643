from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest

from serving.reply.headers import state_headers
from serving.request.parameters import CtrRequest, ProductsRequest, ctr_from_query
from serving.state.snapshot import Snapshot
from tests.serving.lake import view


@pytest.fixture
def snapshot(lake, open_store):
    lake.publish([view("2016-01-03 14:00:00")])
    return open_store(lake).snapshot


def kept(snapshot: Snapshot, make: Callable[[], CtrRequest | ProductsRequest]) -> bool:
    """Whether somebody still has a request after the headers of its answer were made."""
    request = make()
    state_headers(snapshot, request)
    seen = weakref.ref(request)
    del request
    gc.collect()
    return seen() is not None


@pytest.mark.parametrize(
    ("products", "stays"),
    [(("20001829_048",), True), (("x" * 1000,) * 1000, False), (("x" * 10_000,), False), (tuple("ab") * 500, False)],
    ids=["short", "many and long", "one long", "many"],
)
def test_a_request_of_long_or_many_names_of_products_is_not_kept(snapshot, products, stays):
    assert kept(snapshot, lambda: CtrRequest(0, 60, 1, products)) is stays


@pytest.mark.parametrize(("search", "stays"), [("a", True), ("a" * 10_000, False)])
def test_a_search_for_a_long_text_is_not_kept(snapshot, search, stays):
    assert kept(snapshot, lambda: ProductsRequest(search)) is stays


@pytest.mark.parametrize("length", [10, 10_000])
def test_a_tag_is_the_same_for_the_same_request_and_another_for_another(snapshot, length):
    one, again, other = (CtrRequest(0, 60, 1, (letter * length,)) for letter in "aab")
    assert state_headers(snapshot, one) == state_headers(snapshot, again)
    assert state_headers(snapshot, one)["ETag"] != state_headers(snapshot, other)["ETag"]


def test_a_long_query_is_read_each_time_and_not_kept():
    query = b"startTimestamp=2016-01-03T13:55&endTimestamp=2016-01-03T14:55&aggregation=60&product="
    assert ctr_from_query(query + b"x") is ctr_from_query(query + b"x")
    assert ctr_from_query(query + b"x" * 1000) is not ctr_from_query(query + b"x" * 1000)
