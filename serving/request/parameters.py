"""Parameters of requests: a query string or a JSON body becomes one checked value, or a list of every fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from zoneinfo import ZoneInfo

from serving.contract import PLATFORMS
from serving.errors import InvalidRequest
from serving.faults import FaultCode
from serving.request.formats import FORMATS, JSON, negotiate
from serving.request.inputs import Faults, Texts, Typed, body_values, many, one, query_values, refuse_others, shown
from serving.request.times import TimeFault, parse_time, zones

LONGEST_AGGREGATION = 10**9
"""Minutes. A longer step means the same as this one: it is far longer than any range, so there is one bucket."""

PRODUCTS_LIMIT = 1000
"""Most products that one answer of ``/v1/products`` lists."""

FILLS = ("none", "zero")
"""What ``fill`` can say, the default first."""

LEVELS = (0.01, 0.9999)
"""Least and greatest level of confidence."""

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
    strict: bool = False
    """Refuse a range in which a day is missing."""
    fill: bool = False
    """Add a row of zero counts where a product on a platform has none in a bucket."""
    ci: float | None = None
    """The level of confidence of the interval that is added to each row; ``None``: no interval."""
    format: str = JSON
    """A name of ``formats.FORMATS``."""
    as_of: int | None = None
    """The number of a publication; ``None``: the newest."""


@dataclass(frozen=True)
class ProductsRequest:
    """A checked request for names of products: a text that they contain, in any case, and how many at most."""

    search: str = ""
    limit: int = 20
    platforms: tuple[str, ...] = ()
    """Empty: every platform."""


def ctr_from_query(query: bytes, accept: str | None = None) -> CtrRequest:
    """The CTR request of a query string; without ``format`` in it the header ``Accept`` says the format.

    Raises:
        InvalidRequest: with every fault.
        NotAcceptable: ``Accept`` takes no format that there is.
    """
    short = len(query) + len(accept or "") <= _SHORT
    return _kept_ctr(query, accept) if short else _new_ctr(query, accept)


def _new_ctr(query: bytes, accept: str | None) -> CtrRequest:
    faults = Faults()
    values = query_values(query, faults)
    return _ctr(values, Texts(faults), faults, accept)


_SHORT = 1000
_kept_ctr = lru_cache(4096)(_new_ctr)
"""Pages ask the same again and again: reading a query takes longer than finding its answer in the cache. Some 30 MB at most."""


def ctr_from_body(body: bytes, accept: str | None = None, most_products: int | None = None) -> CtrRequest:
    """The CTR request of a JSON body: an object with the same names; ``product`` and ``platform`` text or lists.

    Raises:
        InvalidRequest: with every fault.
        NotAcceptable: ``Accept`` takes no format that there is.

    More than ``most_products`` names are not looked at, for a body holds 150,000 of them, and others wait meanwhile: then all of
    them are empty texts, which ``check_size`` counts and refuses.
    """
    faults = Faults()
    values = body_values(body, faults)
    found = len(values.get("product", []))
    if most_products is None or found <= most_products:
        return _ctr(values, Typed(faults), faults, accept)
    try:
        wanted = _ctr({**values, "product": []}, Typed(faults), faults, accept)
    except InvalidRequest:
        faults.add(*too_many_products(found, most_products))
        raise InvalidRequest(faults.found) from None
    return replace(wanted, products=("",) * found)


def too_many_products(found: int, limit: int, passes: str = "would pass this limit") -> tuple[str, FaultCode, str, str]:
    """What a client is told who names more products than the limit: parameter, code, detail, hint."""
    return (
        "product",
        "too_many_products",
        f"found {found} products; the limit is {limit} (setting filter_products)",
        f"{limit} at once {passes}",
    )


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


def changes_from_query(query: bytes) -> int:
    """The publication of which a query string asks what changed since.

    Raises:
        InvalidRequest: with every fault.
    """
    faults = Faults()
    values = query_values(query, faults)
    refuse_others(values, ("since",), faults)
    since = _publication(values, "since", Texts(faults), faults)
    faults.check()
    assert since is not None
    return since


def nothing_from_query(query: bytes) -> None:
    """Refuse every parameter, where an address takes none.

    Raises:
        InvalidRequest: with every fault.
    """
    faults = Faults()
    refuse_others(query_values(query, faults), (), faults)
    faults.check()


_CTR_NAMES = (
    "startTimestamp",
    "endTimestamp",
    "aggregation",
    "product",
    "platform",
    "timezone",
    "asOf",
    "detail",
    "strict",
    "fill",
    "ci",
    "format",
)


def _ctr(values: Mapping[str, list[object]], reader: Texts | Typed, faults: Faults, accept: str | None) -> CtrRequest:
    refuse_others(values, _CTR_NAMES, faults)
    timezone = _timezone(one(values, "timezone", _UTC, reader.text, faults), faults)
    start = _time(values, "startTimestamp", timezone, reader, faults)
    end = _time(values, "endTimestamp", timezone, reader, faults)
    aggregation = one(values, "aggregation", None, reader.whole, faults)
    as_of = _publication(values, "asOf", reader, faults) if "asOf" in values else None
    detail = one(values, "detail", False, reader.flag, faults)
    strict = one(values, "strict", False, reader.flag, faults)
    fill = _fill(one(values, "fill", FILLS[0], reader.text, faults), faults)
    ci = _level(values, reader, faults)
    format = _format(values, reader, faults)
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
    assert strict is not None
    return CtrRequest(
        start,
        end,
        min(aggregation, LONGEST_AGGREGATION),
        products,
        platforms,
        timezone.key,
        detail,
        strict,
        fill,
        ci,
        format=format or negotiate(accept).name,
        as_of=as_of,
    )


def _publication(values: Mapping[str, list[object]], name: str, reader: Texts | Typed, faults: Faults) -> int | None:
    number = one(values, name, None, reader.whole, faults)
    if number is not None and number < 1:
        faults.add(name, "out_of_range", f"found {shown(number)}", "write the number of a publication, at least 1")
    return number


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
    near = get_close_matches(name[:64], _of_like_places(name), 1)
    hint = f"did you mean {near[0]}?" if near else "write an IANA time zone such as America/Sao_Paulo"
    faults.add("timezone", "unknown_timezone", f"found {shown(name)}", hint)
    return None


def _of_like_places(name: str) -> list[str]:
    """The zones whose place begins with the letter with which that of a name does; to compare all 600 takes too long."""
    first = _place(name)[:1]
    return [zone for zone in zones() if _place(zone)[:1] == first]


def _place(zone: str) -> str:
    """The last part of the name of a zone in lower case, such as ``berlin``."""
    return zone.rpartition("/")[2].lower()


def _fill(name: str | None, faults: Faults) -> bool:
    if name is not None and name not in FILLS:
        faults.add("fill", "unknown_fill", f"found {shown(name)}", f"write one of {', '.join(FILLS)}")
    return name == FILLS[1]


def _level(values: Mapping[str, list[object]], reader: Texts | Typed, faults: Faults) -> float | None:
    """The level of confidence that is asked for; ``None`` where none is, or after a fault."""
    if "ci" not in values:
        return None
    level = one(values, "ci", None, reader.number, faults)
    least, most = LEVELS
    if level is not None and not least <= level <= most:
        faults.add("ci", "out_of_range", f"found {shown(level)}", f"write a number from {least} to {most}")
    return level


def _format(values: Mapping[str, list[object]], reader: Texts | Typed, faults: Faults) -> str | None:
    """The format that is asked for by name; ``None`` where none is, or after a fault."""
    if "format" not in values:
        return None
    name = one(values, "format", None, reader.text, faults)
    if name is not None and name not in FORMATS:
        faults.add("format", "unknown_format", f"found {shown(name)}", f"write one of {', '.join(FORMATS)}")
    return name


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
