"""Small answers on a short way: a few cells of the replica by the leanest statement there is, the rest in plain Python.

The statement of ``queries.ctr`` does everything in DuckDB, which pays for many rows; for a few, making and planning its text takes
several times as long as reading the cells. Tests hold both ways to the same text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache
from zoneinfo import ZoneInfo

import duckdb

from serving.contract import GRAINS, PLATFORMS
from serving.query.cells import cells_of_products
from serving.query.plan import Buckets, Plan
from serving.request.parameters import CtrRequest
from serving.request.times import to_local

MOST_CELLS = 5_000
"""Cells that a request may touch on this way; beyond, DuckDB is faster."""

CELLS_AT_ONCE = 1_000
PLACES_AT_ONCE = 16
"""What a request may touch to be answered while every other one waits: so many cells, in so many places of the replica."""


def fits(request: CtrRequest, plan: Plan) -> bool:
    """Whether a request can be answered here: the case's four fields, named products, and few cells of the replica."""
    # Whatever else can be asked for, now or later, is the business of the large statement.
    plain = CtrRequest(
        request.start,
        request.end,
        request.aggregation,
        request.products,
        request.platforms,
        request.timezone,
        strict=request.strict,
        as_of=request.as_of,
    )
    if request != plain or not request.products or not plan.pieces:
        return False
    if any(piece.segment is None or piece.rollup is None for piece in plan.pieces):
        return False
    return _cells(request, plan) <= MOST_CELLS


def at_once(request: CtrRequest, plan: Plan) -> bool:
    """Whether a request fits, and takes so little that handing it to a thread would take longer."""
    places = len(request.products) * len(plan.pieces)
    return places <= PLACES_AT_ONCE and fits(request, plan) and _cells(request, plan) <= CELLS_AT_ONCE


def _cells(request: CtrRequest, plan: Plan) -> int:
    """The most cells that the answer can be counted from."""
    spans = sum((piece.end - piece.start) // GRAINS[piece.rollup] for piece in plan.pieces if piece.rollup)
    return spans * len(request.products) * (len(request.platforms) or len(PLATFORMS))


def rows(cursor: duckdb.DuckDBPyConnection, request: CtrRequest, plan: Plan, numbers: dict[int, str]) -> list[str]:
    """The rows of the answer as JSON objects, in order.

    Args:
        cursor: where the plan's segments are attached.
        request: one that ``fits``.
        plan: its plan.
        numbers: the name of each product asked for that the replica knows, by its number there.
    """
    if not numbers:
        return []
    query = cells_of_products(plan.pieces, request.platforms, numbers)
    bucket_of = _bucket_of(plan.buckets)
    counts: dict[tuple[int, int, str], list[int]] = {}
    for second, platform, product, views, purchases in cursor.execute(query.sql, query.values).fetchall():
        count = counts.setdefault((bucket_of(second), platform, numbers[product]), [0, 0])
        count[0] += views
        count[1] += purchases
    names = {name: quoted(name) for name in numbers.values()}
    # By the numbers of platforms, which are in the order of their names; products in the byte order of UTF-8.
    ordered = sorted(counts.items(), key=lambda item: (item[0][0], item[0][1], item[0][2].encode()))
    return [
        f'{{"timestamp":"{_shown(bucket, request.timezone)}","platform":"{PLATFORMS[platform]}","product":{names[product]},'
        f'"CTR":{ctr_text(views, purchases)}}}'
        for (bucket, platform, product), (views, purchases) in ordered
    ]


_ESCAPES = {code: f"\\u{code:04X}" for code in range(32)} | {
    ord(char): f"\\{letter}" for char, letter in zip('\b\t\n\f\r"\\', 'btnfr"\\', strict=True)
}


def quoted(text: str) -> str:
    r"""A text in JSON, byte for byte as DuckDB's ``to_json`` writes it: ``json.dumps`` has small letters in ``\u001F``."""
    return f'"{text.translate(_ESCAPES)}"'


@lru_cache(100_000)
def _shown(second: int, zone: str) -> str:
    """The start of a bucket by the clocks of a zone. Requests ask for the same buckets again and again."""
    return to_local(second, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")


def ctr_text(views: int, purchases: int) -> str:
    """Purchases / views with four digits, rounded half up in whole numbers; ``null`` without views."""
    if not views:
        return "null"
    share = (20_000 * purchases + views) // (2 * views)
    return f"{share // 10_000}.{share % 10_000:04}"


def _bucket_of(buckets: Buckets) -> Callable[[int], int]:
    """What gives the start of the bucket in which a second lies."""
    step, start, edges = buckets.step, buckets.start, buckets.edges
    if step is not None:
        return lambda second: start + (second - start) // step * step
    return lambda second: edges[bisect_right(edges, second) - 1]
