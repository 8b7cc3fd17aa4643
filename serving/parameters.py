"""Parameters of requests: a query string or a JSON body becomes one checked value, or a list of every fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from zoneinfo import ZoneInfo

from serving.contract import PLATFORMS
from serving.inputs import Faults, Texts, Typed, body_values, many, one, query_values, refuse_others, shown
from serving.times import TimeFault, parse_time, zones

LONGEST_AGGREGATION = 10**9
"""Minutes. A longer step means the same as this one: it is far longer than any range, so there is one bucket."""

PRODUCTS_LIMIT = 1000
"""Most products that one answer of ``/v1/products`` lists."""

_PLATFORMS = {platform.lower(): platform for platform in PLATFORMS}
_UTC = "UTC"


@dataclass(frozen=True)
class CtrRequest:
    """A checked request for CTR: instants in seconds since 1970 (UTC), the step in minutes."""

    start: int
    end: int
    aggregation: int
    products: tuple[str, ...] = ()
    """Empty: every product."""
    platforms: tuple[str, ...] = ()
    """Empty: every platform."""
    timezone: str = _UTC
    detail: bool = False


@dataclass(frozen=True)
class ProductsRequest:
    """A checked request for names of products: a text that they contain, in any case, and how many at most."""

    search: str = ""
    limit: int = 20


def ctr_from_query(query: bytes) -> CtrRequest:
    """The CTR request of a query string.

    Raises:
        InvalidRequest: with every fault.
    """
    faults = Faults()
    values = query_values(query, faults)
    return _ctr(values, Texts(faults), faults)


def ctr_from_body(body: bytes) -> CtrRequest:
    """The CTR request of a JSON body: an object with the same names; ``product`` and ``platform`` text or lists.

    Raises:
        InvalidRequest: with every fault.
    """
    faults = Faults()
    values = body_values(body, faults)
    return _ctr(values, Typed(faults), faults)


def products_from_query(query: bytes) -> ProductsRequest:
    """The request for names of products of a query string.

    Raises:
        InvalidRequest: with every fault.
    """
    faults = Faults()
    values = query_values(query, faults)
    refuse_others(values, ("search", "limit"), faults)
    texts = Texts(faults)
    search = one(values, "search", "", texts.text, faults)
    limit = one(values, "limit", ProductsRequest.limit, texts.whole, faults)
    if limit is not None and not 1 <= limit <= PRODUCTS_LIMIT:
        faults.add("limit", "out_of_range", f"found {limit}", f"write a whole number from 1 to {PRODUCTS_LIMIT}")
    faults.check()
    assert search is not None
    assert limit is not None
    return ProductsRequest(search, limit)


def nothing_from_query(query: bytes) -> None:
    """Refuse every parameter, where an address takes none.

    Raises:
        InvalidRequest: with every fault.
    """
    faults = Faults()
    refuse_others(query_values(query, faults), (), faults)
    faults.check()


_CTR_NAMES = ("startTimestamp", "endTimestamp", "aggregation", "product", "platform", "timezone", "detail")


def _ctr(values: Mapping[str, list[object]], reader: Texts | Typed, faults: Faults) -> CtrRequest:
    refuse_others(values, _CTR_NAMES, faults)
    timezone = _timezone(one(values, "timezone", _UTC, reader.text, faults), faults)
    start = _time(values, "startTimestamp", timezone, reader, faults)
    end = _time(values, "endTimestamp", timezone, reader, faults)
    aggregation = one(values, "aggregation", None, reader.whole, faults)
    detail = one(values, "detail", False, reader.flag, faults)
    products = many(values, "product", reader.text, _product, faults)
    platforms = many(values, "platform", reader.text, _platform, faults)
    if start is not None and end is not None and start >= end:
        faults.add("endTimestamp", "reversed_range", "the end is not after the start", "swap them, or move the end")
    if aggregation is not None and aggregation < 1:
        faults.add("aggregation", "out_of_range", f"found {shown(aggregation)}", "write minutes, at least 1")
    faults.check()
    assert start is not None
    assert end is not None
    assert aggregation is not None
    assert timezone is not None
    assert detail is not None
    return CtrRequest(start, end, min(aggregation, LONGEST_AGGREGATION), products, platforms, timezone.key, detail)


def _time(
    values: Mapping[str, list[object]], name: str, zone: ZoneInfo | None, reader: Texts | Typed, faults: Faults
) -> int | None:
    text = one(values, name, None, reader.time, faults)
    if text is None:
        return None
    try:
        return parse_time(text, zone or ZoneInfo(_UTC))
    except TimeFault as error:
        faults.add(name, error.code, error.detail, error.hint)
        return None


def _timezone(name: str | None, faults: Faults) -> ZoneInfo | None:
    if name is None:
        return None
    if name == _UTC or name in zones():
        return ZoneInfo(name)
    near = get_close_matches(name[:64], zones(), 1)
    hint = f"did you mean {near[0]}?" if near else "write an IANA time zone such as America/Sao_Paulo"
    faults.add("timezone", "unknown_timezone", f"found {shown(name)}", hint)
    return None


def _product(value: str, faults: Faults) -> str | None:
    if value:
        return value
    faults.add("product", "empty", "found an empty text", "leave the parameter out to get every product")
    return None


def _platform(value: str, faults: Faults) -> str | None:
    platform = _PLATFORMS.get(value.lower())
    if platform is None:
        faults.add("platform", "unknown_platform", f"found {shown(value)}", f"write one of {', '.join(PLATFORMS)}")
    return platform
