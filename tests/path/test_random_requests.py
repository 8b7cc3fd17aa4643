"""Random requests on the sample: the service's answer equals the oracle's, digit for digit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.conftest import SampleLake
from tests.oracle import Oracle
from tests.path.product import answer

REQUESTS = 300
PLATFORMS = ("Android", "MobileWeb", "iOS")
ZONES = ("UTC", "UTC", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Chatham")
STEPS = (1, 5, 15, 60, 120, 360, 720, 1440, 2880)
COLUMNS = ["timestamp", "platform", "product", "CTR"]
DETAIL = [*COLUMNS, "views", "purchases", "bucketEnd", "status"]

pytestmark = [pytest.mark.path, pytest.mark.spark, pytest.mark.slow]


@pytest.fixture(scope="module")
def oracle(sample_lake: SampleLake) -> Oracle:
    return Oracle.load(sample_lake.events, sample_lake.orders_csv, sample_lake.order_items_csv)


@pytest.fixture(scope="module")
def client(sample_lake: SampleLake) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sample_lake.service_url(), timeout=60) as client:
        yield client


def random_request(chance: random.Random, oracle: Oracle) -> dict[str, Any]:
    """A request of any start to the second, any range that touches the sample, any step, with and without filters."""
    first, last = oracle.views[0].time, oracle.views[-1].time
    span = int((last - first).total_seconds())
    start = (first + timedelta(seconds=chance.randrange(-span // 4, span))).replace(tzinfo=None, microsecond=0)
    start -= timedelta(seconds=start.second * chance.choice([0, 1]), minutes=start.minute * chance.choice([0, 1]))
    end = start + timedelta(seconds=round(10 ** chance.uniform(1, 5.7)))
    request: dict[str, Any] = {
        "startTimestamp": start.isoformat(sep=chance.choice(" T")),
        "endTimestamp": str(end),
        "aggregation": chance.choice([chance.randint(1, 3000), chance.choice(STEPS)]),
    }
    if chance.random() < 0.5:
        seen = [fact.product for fact in chance.choices(oracle.views, k=3) + chance.choices(oracle.purchases, k=2)]
        request["product"] = chance.sample([*seen, "no such product"], k=chance.randint(1, 3))
    if chance.random() < 0.5:
        request["platform"] = chance.sample(PLATFORMS, k=chance.randint(1, 3))
    if chance.random() < 0.5:
        request["timezone"] = chance.choice(ZONES)
    if chance.random() < 0.5:
        request["detail"] = True
    return request


def ask(client: httpx.Client, request: dict[str, Any], method: str) -> httpx.Response:
    if method == "POST":
        return client.post("/v1/ctr", json=request)
    return client.get("/v1/ctr", params=request)


def expected(oracle: Oracle, request: dict[str, Any]) -> list[dict[str, Any]]:
    return oracle.ctr(
        request["startTimestamp"],
        request["endTimestamp"],
        request["aggregation"],
        request.get("product"),
        request.get("platform"),
        request.get("timezone", "UTC"),
        request.get("detail", False),
    )


def test_the_sample_has_what_the_random_requests_are_to_find(oracle: Oracle) -> None:
    assert {fact.platform for fact in oracle.views} == set(PLATFORMS)
    assert {fact.platform for fact in oracle.purchases} == set(PLATFORMS)
    assert 0.005 < len(oracle.purchases) / len(oracle.views) < 0.1


@pytest.mark.parametrize("seed", range(10))
def test_random_requests_equal_the_oracle_digit_for_digit(client: httpx.Client, oracle: Oracle, seed: int) -> None:
    chance = random.Random(seed)
    rows_seen = ratios_seen = 0
    for _ in range(REQUESTS // 10):
        request, method = random_request(chance, oracle), chance.choice(["GET", "POST"])
        wanted = expected(oracle, request)
        rows = answer(ask(client, request, method))
        for row in rows:
            assert list(row) == (DETAIL if request.get("detail") else COLUMNS), request
            assert row.pop("status", "final") in ("final", "provisional", "partial"), request
        assert rows == wanted, f"{method} {request}"
        assert all(Decimal(row["CTR"]).as_tuple().exponent == -4 for row in rows if row["CTR"] is not None)
        rows_seen += len(rows)
        ratios_seen += sum(row["CTR"] not in (None, "0.0000") for row in rows)
    assert rows_seen > 1000
    assert ratios_seen > 50


def test_get_and_post_give_the_same_text(client: httpx.Client, oracle: Oracle) -> None:
    chance = random.Random(2)
    for _ in range(10):
        request = random_request(chance, oracle)
        assert ask(client, request, "GET").text == ask(client, request, "POST").text


def test_the_sum_over_any_step_is_the_number_of_views_and_purchases(client: httpx.Client, oracle: Oracle) -> None:
    start = oracle.views[0].time.replace(tzinfo=None, microsecond=0) - timedelta(days=2)
    end = oracle.views[-1].time.replace(tzinfo=None, microsecond=0) + timedelta(days=2)
    for aggregation in (60, 61, 1440, 2999):
        request = {"startTimestamp": str(start), "endTimestamp": str(end), "aggregation": aggregation, "detail": True}
        rows = answer(ask(client, request, "GET"))
        assert sum(row["views"] for row in rows) == len(oracle.views)
        inside = [fact for fact in oracle.purchases if start <= fact.time.replace(tzinfo=None) < end]
        assert sum(row["purchases"] for row in rows) == len(inside) > 0
