"""Plans a request: where its buckets begin, and which table answers which piece of its range exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from serving.contract import GRAINS
from serving.parameters import CtrRequest
from serving.times import FIRST_SECOND, LAST_SECOND, to_local, to_second

MINUTES_A_DAY = 1440
RAW = ("views", "purchases")
"""The tables that are exact to the second, together: the last resort."""

_LONGEST_STEP_DAYS = (LAST_SECOND - FIRST_SECOND) // 86_400 + 1


@dataclass(frozen=True)
class Piece:
    """``[start, end)`` in seconds, answered from a rollup, or from ``views`` and ``purchases`` where it is ``None``."""

    rollup: str | None
    start: int
    end: int


@dataclass(frozen=True)
class Buckets:
    """Buckets of the range ``[start, end)``: every ``step`` seconds from the start, or from edge to edge."""

    start: int
    end: int
    step: int | None = None
    edges: tuple[int, ...] = ()
    """Where there is no step: the start of each bucket, and last the end that an uncut last bucket has."""


@dataclass(frozen=True)
class Plan:
    """The buckets of a request and the pieces that its range is read in."""

    buckets: Buckets
    pieces: tuple[Piece, ...]

    @property
    def sources(self) -> str:
        """The tables that answer, joined by ``+``, coarsest first."""
        names = [name for piece in self.pieces for name in ((piece.rollup,) if piece.rollup else RAW)]
        return "+".join(dict.fromkeys(names))


def make_plan(request: CtrRequest) -> Plan:
    """The plan of a request; it needs no data."""
    buckets = make_buckets(request)
    return Plan(buckets, tuple(_pieces(buckets, _coarsest(buckets))))


def make_buckets(request: CtrRequest) -> Buckets:
    """Buckets by elapsed minutes; whole days are calendar days of the zone, which have 23 to 25 hours."""
    days, rest = divmod(request.aggregation, MINUTES_A_DAY)
    if request.timezone != "UTC" and rest == 0:
        return Buckets(request.start, request.end, edges=tuple(_calendar(request, min(days, _LONGEST_STEP_DAYS))))
    return Buckets(request.start, request.end, step=request.aggregation * 60)


def _calendar(request: CtrRequest, days: int) -> Iterator[int]:
    """The instants at which the zone's clocks show the start's time of day, every so many days, past the end."""
    zone = ZoneInfo(request.timezone)
    first = to_local(request.start, zone)
    edge, number = request.start, 0
    while edge < request.end:
        yield edge
        number += 1
        edge = to_second(first + timedelta(days=days * number), zone)
    yield edge


def _coarsest(buckets: Buckets) -> int:
    """How many of the grains, coarsest first, have to be passed over until each edge of a bucket meets one."""
    for skip, seconds in enumerate(GRAINS.values()):
        if _aligned(buckets, seconds):
            return skip
    return len(GRAINS)


def _aligned(buckets: Buckets, seconds: int) -> bool:
    """Whether every bucket begins where a grain begins. The last edge does not count: the range ends before it."""
    if buckets.step is None:
        return all(edge % seconds == 0 for edge in buckets.edges[:-1])
    one_bucket = buckets.start + buckets.step >= buckets.end
    return buckets.start % seconds == 0 and (one_bucket or buckets.step % seconds == 0)


def _pieces(buckets: Buckets, skip: int) -> Iterator[Piece]:
    """The range from its start: as much as a grain covers whole, the tail from the finer ones, seconds from the raw."""
    start = buckets.start
    for rollup, seconds in list(GRAINS.items())[skip:]:
        end = buckets.end // seconds * seconds
        if end > start:
            yield Piece(rollup, start, end)
            start = end
    if start < buckets.end:
        yield Piece(None, start, buckets.end)
