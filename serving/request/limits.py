"""What one request may ask for. A refusal names the limit, what was asked, and the nearest request that would pass."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from zoneinfo import ZoneInfo

from serving.contract import GRAINS, PLATFORMS
from serving.errors import InvalidRequest
from serving.faults import Fault
from serving.query.plan import MINUTES_A_DAY, Buckets, make_buckets
from serving.replica.segments import day_of
from serving.request.formats import JSON
from serving.request.inputs import Faults
from serving.request.parameters import CtrRequest, too_many_products
from serving.request.times import to_local, to_second
from serving.settings import Settings
from serving.state.cost import NO_SIZES, Sizes

_DAY = 86_400

_SHORTEST_DAY = 21 * 3600
"""No calendar day of any zone is shorter: clocks are put on by three hours at most."""

_ROUND_STEPS = tuple(minutes for minutes in range(1, MINUTES_A_DAY + 1) if MINUTES_A_DAY % minutes == 0)
"""Minutes: steps that cut no day, and so make fewer rows than others of about the same length."""


def check_size(request: CtrRequest, settings: Settings, sizes: Sizes = NO_SIZES) -> None:
    """Refuse a request whose range, number of buckets or list of products is above its limit.

    The hints together are a request that passes, by its rows as well; where that is not sure, they say so. Buckets are
    counted in what is left of a range that is too long: those of a century of a zone's days take long to find.

    Raises:
        InvalidRequest: with every limit that is passed.
    """
    fits = request.end - request.start <= settings.range_days * _DAY and _count(request) <= settings.buckets
    if fits and len(request.products) <= settings.filter_products:
        return
    faults = Faults()
    shorter = replace(
        request,
        end=min(request.end, request.start + settings.range_days * _DAY),
        products=request.products[: settings.filter_products],
    )
    nearest = replace(shorter, aggregation=_fewer_buckets(shorter, settings, sizes))
    limit = row_limit(request, settings)
    passes = "would pass"
    if most_rows(nearest, sizes) > limit:
        passes += f" this limit; only when its rows are counted it is known whether they are more than {limit}"
        passes += f" (setting {_row_setting(request)})"
    part = "the range has"
    if nearest.end < request.end:
        part = f"its first {settings.range_days} days have"
        faults.add(
            "endTimestamp",
            "range_too_long",
            f"the range is {-(-(request.end - request.start) // _DAY)} days long; "
            f"the limit is {settings.range_days} days (setting range_days)",
            f"endTimestamp={written(nearest.end, request.timezone)} {passes}",
        )
    if nearest.aggregation != request.aggregation:
        faults.add(
            "aggregation",
            "too_many_buckets",
            f"{part} {_count(shorter)} buckets; the limit is {settings.buckets} (setting buckets)",
            f"aggregation={nearest.aggregation} {passes}",
        )
    if len(nearest.products) < len(request.products):
        if most_rows(replace(nearest, products=()), sizes) <= limit:
            passes += ", as would every product, without the parameter"
        faults.add(*too_many_products(len(request.products), settings.filter_products, passes))
    faults.check()


def row_limit(request: CtrRequest, settings: Settings) -> int:
    """The most rows of an answer in the format of the request."""
    return settings.json_rows if request.format == JSON else settings.download_rows


def _row_setting(request: CtrRequest) -> str:
    return "json_rows" if request.format == JSON else "download_rows"


def most_rows(request: CtrRequest, sizes: Sizes = NO_SIZES) -> float:
    """The most rows that the answer can have, by what is named in the request and by the sizes of the tables; may be infinite.

    A bucket has a row at most for each pair of product and platform. And each row of the answer comes from a cell of every
    rollup, of which each lies in so many buckets at most.
    """
    buckets = make_buckets(request)
    by_pairs = _count(request) * _most_pairs(request, sizes)
    if request.fill:
        return by_pairs
    return min(by_pairs, *(_cells(request, sizes, table) * _touched(buckets, GRAINS[table]) for table in GRAINS))


def _most_pairs(request: CtrRequest, sizes: Sizes) -> float:
    """The most pairs of product and platform that the answer can have."""
    named = len(request.products) * len(request.platforms or PLATFORMS) if request.products else inf
    # ``fill`` gives rows to what is named also where there is no cell of it.
    return named if request.fill and request.products else min(named, _cells(request, sizes, "ctr_day"))


def _cells(request: CtrRequest, sizes: Sizes, table: str) -> float:
    days = day_of(request.start), day_of(request.end - 1)
    return sizes.most_rows(table, request.platforms or PLATFORMS, *days)


def _touched(buckets: Buckets, grain: int) -> int:
    """The most buckets in which one cell of so many seconds can lie."""
    step = buckets.step
    if step is None:
        return -(-grain // _SHORTEST_DAY) + 1
    if buckets.start % min(step, grain) == 0 and (grain % step == 0 or step % grain == 0):
        return max(1, grain // step)
    return -(-grain // step) + 1


def too_many_rows(
    request: CtrRequest, limit: int, rows: int, first_beyond: int, filter_products: int, sizes: Sizes = NO_SIZES
) -> InvalidRequest:
    """The refusal of an answer of ``rows`` rows, of which those of the bucket at ``first_beyond`` pass the limit."""
    if first_beyond > request.start:
        hint = f"endTimestamp={written(first_beyond, request.timezone)} would pass"
        coarser = _coarser(request, _count(request), limit, sizes)
        if coarser is not None:
            hint += f", as would the whole range by aggregation={coarser}"
    else:
        hint = "one bucket alone has more: name a platform or products"
        most = limit // (_count(request) * len(request.platforms or PLATFORMS))
        if most > 0:
            hint += f"; up to {min(most, filter_products)} products pass"
    detail = f"the answer has {rows} rows; the limit is {limit} (setting {_row_setting(request)})"
    if request.format == JSON:
        hint += "; format=ndjson, csv, arrow and parquet have a limit of their own (setting download_rows)"
    return InvalidRequest([Fault("endTimestamp", "too_many_rows", detail, hint)])


def lighter(request: CtrRequest) -> str:
    """How much a request asks for, and what to ask instead where that took too long or too much memory."""
    count, platforms = _count(request), request.platforms or PLATFORMS
    products = _some(len(request.products), "product") if request.products else "every product"
    half, step = _half(request), next((step for step in (60, MINUTES_A_DAY) if step > request.aggregation), None)
    instead = [
        f"half the range (endTimestamp={written(half, request.timezone)})" if half > request.start else None,
        f"longer buckets (aggregation={step} from a whole {'hour' if step == 60 else 'day'})" if step else None,
        f"one platform (platform={platforms[0]})" if len(platforms) > 1 else None,
        "fewer products" if len(request.products) != 1 else None,
        "no fill" if request.fill else None,
    ]
    days = f"{(request.end - request.start) / _DAY:.4g} days"
    asked = f"Asked for were {days} in {_some(count, 'bucket')}, {products} on {_some(len(platforms), 'platform')}."
    less = ", ".join(text for text in instead if text)
    return f"{asked} Less are: {less}." if less else asked


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _half(request: CtrRequest) -> int:
    """The middle of the range; where a bucket begins, if there are several."""
    buckets, half = make_buckets(request), _count(request) // 2
    if not half:
        return (request.start + request.end) // 2
    return buckets.edges[half] if buckets.step is None else request.start + half * buckets.step


def written(second: int, timezone: str) -> str:
    """An instant as a client may send it: by the clocks of the zone, or in UTC where those show the time twice."""
    local = to_local(second, ZoneInfo(timezone))
    if to_second(local, ZoneInfo(timezone)) == second:
        return f"{local:%Y-%m-%d %H:%M:%S}"
    return f"{to_local(second, ZoneInfo('UTC')):%Y-%m-%d %H:%M:%S}Z"


def _fewer_buckets(request: CtrRequest, settings: Settings, sizes: Sizes) -> int:
    """The step of the request; where that makes too many buckets, one that surely passes, or does by its buckets at least."""
    if _count(request) <= settings.buckets:
        return request.aggregation
    surely = _coarser(request, settings.buckets, row_limit(request, settings), sizes)
    return surely if surely is not None else _least_step(request, settings.buckets)


def _coarser(request: CtrRequest, buckets: int, rows: int, sizes: Sizes) -> int | None:
    """The least known step (minutes) that surely makes no more buckets and no more rows; ``None`` where none is known."""
    steps = {_least_step(request, buckets), *_ROUND_STEPS}
    of_each_pair = int(rows // max(1, _most_pairs(request, sizes)))
    if of_each_pair > 0:
        steps.add(_least_step(request, min(buckets, of_each_pair)))
    for step in sorted(steps):
        coarser = replace(request, aggregation=step)
        if step > request.aggregation and _count(coarser) <= buckets and most_rows(coarser, sizes) <= rows:
            return step
    return None


def _least_step(request: CtrRequest, buckets: int) -> int:
    """The least step (minutes) that makes no more buckets."""
    step = -(-(request.end - request.start) // (60 * buckets))
    while _count(replace(request, aggregation=step)) > buckets:  # calendar days of a zone may be one more
        step += 1
    return step


def _count(request: CtrRequest) -> int:
    buckets = make_buckets(request)
    if buckets.step is None:
        return len(buckets.edges) - 1
    return -(-(request.end - request.start) // buckets.step)
