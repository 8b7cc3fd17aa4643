"""The requests of the serving benchmark: distinct ones, drawn with a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timezone
from urllib.parse import urlencode

from bench.serving.lake import Size, product_name
from serving.contract import PLATFORMS
from serving.request.parameters import CtrRequest

DAY = 86_400
BY_HOUR = "one product, one platform, one day by hour"
CASE = "the case's request (13:55, 60 minutes, one day), one product"
BY_DAY = "one product, 30 days by day"
WITHOUT_FILTERS = "the case's request without filters"

_CASE_START = 13 * 3600 + 55 * 60


def kinds(size: Size) -> dict[str, Callable[[random.Random], CtrRequest]]:
    """What is asked for, by name; each gives one request at random."""
    first = int(
        datetime(size.first_day.year, size.first_day.month, size.first_day.day, tzinfo=timezone.utc).timestamp()
    )
    last = first + size.days * DAY
    oldest_minute = last - size.minute_days * DAY

    def one(chance: random.Random, start: int, end: int, aggregation: int) -> CtrRequest:
        product = product_name(chance.randrange(size.products))
        return CtrRequest(start, end, aggregation, (product,), (chance.choice(PLATFORMS),))

    def by_hour(chance: random.Random) -> CtrRequest:
        start = first + DAY * chance.randrange(size.days)
        return one(chance, start, start + DAY, 60)

    def case(chance: random.Random) -> CtrRequest:
        start = oldest_minute + DAY * chance.randrange(size.minute_days - 1) + _CASE_START
        return one(chance, start, start + DAY, 60)

    def by_day(chance: random.Random) -> CtrRequest:
        return one(chance, max(first, last - 30 * DAY), last, 1440)

    def all_products(chance: random.Random) -> CtrRequest:
        asked = case(chance)
        return CtrRequest(asked.start, asked.end, asked.aggregation)

    return {
        BY_HOUR: by_hour,
        CASE: case,
        BY_DAY: by_day,
        WITHOUT_FILTERS: all_products,
    }


def path(request: CtrRequest) -> str:
    """The address of a request."""
    values = [("startTimestamp", _text(request.start)), ("endTimestamp", _text(request.end))]
    values += [("aggregation", str(request.aggregation))]
    values += [("product", name) for name in request.products] + [("platform", name) for name in request.platforms]
    return f"/v1/ctr?{urlencode(values)}"


def _text(second: int) -> str:
    return datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
