"""What a request will read, estimated from the logs of the tables alone: heavy ones get a queue of their own."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from datetime import date
from itertools import accumulate
from math import inf

from serving.contract import GRAINS, PLATFORMS
from serving.query.plan import RAW, Piece, Plan
from serving.replica.segments import day_of
from serving.request.parameters import CtrRequest
from serving.state.files import TableFiles

COUNTED = (*GRAINS, *RAW)
"""The tables that answers are read from."""

_RAW_WEIGHT = 4
"""A view is looked at twice and its copies are put side by side: that takes so many times what a cell of a rollup takes."""


class Sizes:
    """Rows of the tables of one publication by day and platform."""

    def __init__(self, rows: Mapping[tuple[str, str], Mapping[date, int]], exact: bool = True) -> None:
        """``exact``: every row is counted in them, none is a guess."""
        self._exact = exact
        self._days = {key: sorted(days) for key, days in rows.items()}
        self._sums = {key: [0, *accumulate(rows[key][day] for day in days)] for key, days in self._days.items()}

    def rows(self, table: str, platforms: Iterable[str], first: date, last: date) -> int:
        """The rows of some days of a table, both days included."""
        found = 0
        for key in ((table, platform) for platform in platforms):
            days = self._days.get(key)
            if days is not None:
                sums = self._sums[key]
                found += sums[bisect_right(days, last)] - sums[bisect_left(days, first)]
        return found

    def most_rows(self, table: str, platforms: Iterable[str], first: date, last: date) -> float:
        """The same where it is sure that there are no more; else infinite."""
        return self.rows(table, platforms, first, last) if self._exact else inf


NO_SIZES = Sizes({}, exact=False)


def sizes_of(tables: Mapping[str, TableFiles]) -> Sizes:
    """The sizes of the tables of a publication, by what the logs say of their data files."""
    rows: dict[tuple[str, str], dict[date, int]] = {}
    for table in COUNTED:
        for (day, platform), count in tables[table].rows.items():
            rows.setdefault((table, platform), {})[day] = count
    return Sizes(rows, all(tables[table].counted for table in COUNTED))


def cost(request: CtrRequest, plan: Plan, sizes: Sizes) -> int:
    """About how many rows are read and made, each as much work as a cell of a rollup."""
    platforms = request.platforms or PLATFORMS
    read = sum(_piece(piece, request, platforms, sizes) for piece in plan.pieces)
    if not request.fill:
        return read
    buckets = plan.buckets
    count = len(buckets.edges) if buckets.step is None else -(-(buckets.end - buckets.start) // buckets.step)
    days = (day_of(request.start), day_of(request.end - 1))
    pairs = len(request.products) * len(platforms) or sizes.rows("ctr_day", platforms, *days)
    return read + count * pairs


def _piece(piece: Piece, request: CtrRequest, platforms: Iterable[str], sizes: Sizes) -> int:
    days = (day_of(piece.start), day_of(piece.end - 1))
    if piece.rollup is None:
        return _RAW_WEIGHT * sum(sizes.rows(table, platforms, *days) for table in RAW)
    rows = sizes.rows(piece.rollup, platforms, *days)
    if piece.segment is None or not request.products:
        return rows
    # A segment is sorted by product: the others are passed over.
    spans = (piece.end - piece.start) // GRAINS[piece.rollup]
    return min(rows, spans * len(request.products) * len(tuple(platforms)))
