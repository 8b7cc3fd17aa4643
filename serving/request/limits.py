"""What one request may ask for. A refusal names the limit, what was asked, and the nearest request that would pass."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from zoneinfo import ZoneInfo

from serving.contract import PLATFORMS
from serving.errors import Fault, InvalidRequest
from serving.query.plan import make_buckets
from serving.request.formats import JSON
from serving.request.inputs import Faults
from serving.request.parameters import CtrRequest
from serving.request.times import to_local, to_second
from serving.settings import Settings

_DAY = 86_400


def check_size(request: CtrRequest, settings: Settings) -> None:
    """Refuse a request whose range, number of buckets or list of products is above its limit.

    Raises:
        InvalidRequest: with every limit that is passed.
    """
    faults = Faults()
    _check_range(request, settings.range_days, faults)
    _check_buckets(request, settings.buckets, faults)
    if len(request.products) > settings.filter_products:
        faults.add(
            "product",
            "too_many_products",
            f"found {len(request.products)} products; the limit is {settings.filter_products} (setting filter_products)",
            f"ask for {settings.filter_products} at once, or leave the parameter out to get every product",
        )
    faults.check()


def row_limit(request: CtrRequest, settings: Settings) -> int:
    """The most rows of an answer in the format of the request."""
    return settings.json_rows if request.format == JSON else settings.download_rows


def most_rows(request: CtrRequest) -> float:
    """The most rows that the answer can have by its buckets, products and platforms; infinite where no product is named."""
    if not request.products:
        return inf
    return _count(request) * len(request.products) * (len(request.platforms) or len(PLATFORMS))


def too_many_rows(request: CtrRequest, limit: int, rows: int, first_beyond: int) -> InvalidRequest:
    """The refusal of an answer of ``rows`` rows, of which those of the bucket at ``first_beyond`` pass the limit."""
    setting = "json_rows" if request.format == JSON else "download_rows"
    if first_beyond > request.start:
        hint = f"endTimestamp={written(first_beyond, request.timezone)} would pass"
    else:
        hint = "one bucket alone has more: name a platform or products"
    detail = f"the answer has {rows} rows; the limit is {limit} (setting {setting})"
    if request.format == JSON:
        hint += "; format=ndjson, csv, arrow and parquet have a limit of their own (setting download_rows)"
    return InvalidRequest([Fault("endTimestamp", "too_many_rows", detail, hint)])


def written(second: int, timezone: str) -> str:
    """An instant as a client may send it: by the clocks of the zone, or in UTC where those show the time twice."""
    local = to_local(second, ZoneInfo(timezone))
    if to_second(local, ZoneInfo(timezone)) == second:
        return f"{local:%Y-%m-%d %H:%M:%S}"
    return f"{to_local(second, ZoneInfo('UTC')):%Y-%m-%d %H:%M:%S}Z"


def _check_range(request: CtrRequest, days: int, faults: Faults) -> None:
    if request.end - request.start <= days * _DAY:
        return
    asked = -(-(request.end - request.start) // _DAY)
    faults.add(
        "endTimestamp",
        "range_too_long",
        f"the range is {asked} days long; the limit is {days} days (setting range_days)",
        f"endTimestamp={written(request.start + days * _DAY, request.timezone)} would pass",
    )


def _check_buckets(request: CtrRequest, limit: int, faults: Faults) -> None:
    asked = _count(request)
    if asked <= limit:
        return
    minutes = -(-(request.end - request.start) // (60 * limit))
    while _count(replace(request, aggregation=minutes)) > limit:  # calendar days of a zone may be one more
        minutes += 1
    faults.add(
        "aggregation",
        "too_many_buckets",
        f"the range has {asked} buckets; the limit is {limit} (setting buckets)",
        f"aggregation={minutes} would pass",
    )


def _count(request: CtrRequest) -> int:
    buckets = make_buckets(request)
    if buckets.step is None:
        return len(buckets.edges) - 1
    return -(-(request.end - request.start) // buckets.step)
