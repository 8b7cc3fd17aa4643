"""Plans a request: where its buckets begin, and which table answers which piece of its range exactly."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from serving.contract import GRAINS
from serving.replica.segments import Segment
from serving.request.parameters import CtrRequest
from serving.request.times import FIRST_SECOND, LAST_SECOND, to_local, to_second

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
    segment: str | None = None
    """The segment of the local replica that it is read from; ``None``: from Delta."""


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

    @property
    def readers(self) -> str:
        """What these tables are read with: ``replica``, ``delta`` or ``replica+delta``."""
        ways = {"delta" if piece.segment is None else "replica" for piece in self.pieces}
        return "+".join(sorted(ways, reverse=True))


def make_plan(request: CtrRequest, segments: Sequence[Segment] = (), held: frozenset[Segment] = frozenset()) -> Plan:
    """The plan of a request; it reads no data.

    Args:
        request: what was asked for.
        segments: every segment that the publication would have in a whole replica: beyond them there is no data.
        held: those of them that can be read here; the others are read from Delta.
    """
    buckets = make_buckets(request)
    pieces = tuple(_pieces(buckets, _coarsest(buckets)))
    return Plan(buckets, tuple(part for piece in pieces for part in _parts(piece, segments, held)))


def make_buckets(request: CtrRequest) -> Buckets:
    """Buckets by elapsed minutes; whole days are calendar days of the zone, which have 23 to 25 hours."""
    days, rest = divmod(request.aggregation, MINUTES_A_DAY)
    if request.timezone != "UTC" and rest == 0:
        edges = _calendar(request.start, request.end, min(days, _LONGEST_STEP_DAYS), request.timezone)
        return Buckets(request.start, request.end, edges=edges)
    return Buckets(request.start, request.end, step=request.aggregation * 60)


@lru_cache(64)
def _calendar(start: int, end: int, days: int, timezone: str) -> tuple[int, ...]:
    """The instants at which the zone's clocks show the start's time of day, every so many days, past the end.

    They are kept, as a request needs them several times, and a thousand take milliseconds of the event loop.
    """
    return tuple(_edges(start, end, days, ZoneInfo(timezone)))


def _edges(start: int, end: int, days: int, zone: ZoneInfo) -> Iterator[int]:
    first = to_local(start, zone)
    edge, number = start, 0
    while edge < end:
        yield edge
        last = edge
        while edge <= last:  # a zone that crossed the date line left a whole day out: that day is no bucket
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


def cut(plan: Plan, start: int, end: int) -> Plan:
    """The same plan for the buckets from one that begins at ``start`` to the one before ``end``, or to the last."""
    buckets = plan.buckets
    edges = buckets.edges[bisect_left(buckets.edges, start) : bisect_left(buckets.edges, end) + 1]
    pieces = (
        replace(piece, start=max(piece.start, start), end=min(piece.end, end))
        for piece in plan.pieces
        if piece.start < end and piece.end > start
    )
    return Plan(Buckets(start, end, buckets.step, edges), tuple(pieces))


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


def _parts(piece: Piece, segments: Sequence[Segment], held: frozenset[Segment]) -> Iterator[Piece]:
    """A piece cut at the bounds of segments: from the replica what is held, from Delta the rest; what has no data is left out."""
    own = [segment for segment in segments if segment.rollup == piece.rollup]
    touched = sorted(
        (segment for segment in own if segment.start < piece.end and segment.end > piece.start),
        key=lambda segment: segment.start,
    )
    if held.isdisjoint(touched):
        yield piece
        return
    waiting: Piece | None = None
    for segment in touched:
        start, end = max(piece.start, segment.start), min(piece.end, segment.end)
        if segment not in held:
            waiting = Piece(piece.rollup, waiting.start if waiting else start, end)
            continue
        if waiting:
            yield waiting
            waiting = None
        yield Piece(piece.rollup, start, end, segment.name)
    if waiting:
        yield waiting
