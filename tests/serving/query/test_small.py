from __future__ import annotations

import dataclasses

import pytest

from serving.query.plan import Piece, Plan, make_buckets
from serving.query.small import CELLS_AT_ONCE, MOST_CELLS, PLACES_AT_ONCE, at_once, ctr_text, fits
from serving.request.parameters import CtrRequest
from tests.serving.oracle import ctr_text as plain_ctr_text

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
