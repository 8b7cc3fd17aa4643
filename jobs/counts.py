"""Counting one (date, platform): each view once, by product and minute. Arrays only: no files, no Spark.

Products are numbers here, their rank in the sorted list of the partition's products: so a product and a minute of the day are one
integer, and sorting integers sorts the rollups. Times are microseconds since 1970, UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timezone

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.schemas import TIME

Ints = npt.NDArray[np.int64]

MINUTES = 1440
MINUTE_US = 60_000_000
_KEEP_PARTS = 16


@dataclass(frozen=True)
class Rows:
    """Views or purchases as columns of equal length: rank of the product, time."""

    product: Ints
    time: Ints

    def take(self, chosen: Ints | npt.NDArray[np.bool_]) -> Rows:
        """The chosen rows."""
        return Rows(self.product[chosen], self.time[chosen])


def views_once(views: Rows, message_id: pa.ChunkedArray, position: Ints) -> Rows:
    """One row a view from copies of views, which all have a message id.

    Copies share message id and position; the one with the smallest (time, product) counts, so that the result does not depend
    on the order of arrival. Source: design, section 1, "One view once".
    """
    if not len(position):
        return views
    key = _hashes(message_id)
    if key is None:
        key = _codes(message_id)
        doubled = _doubled(key, position)
    else:  # equal ids have equal hashes: only views that share one need a look at the ids themselves
        doubled = _doubled(key, position)
        suspects = np.flatnonzero(doubled)
        key[suspects] = _codes(message_id.take(pa.array(suspects)))
        doubled[suspects] = _doubled(key[suspects], position[suspects])
    if not doubled.any():
        return views
    copies, copy_key, copy_position = views.take(doubled), key[doubled], position[doubled]
    order = np.lexsort((copies.product, copies.time, copy_position, copy_key))
    first = np.ones(len(order), np.bool_)
    first[1:] = (copy_key[order][1:] != copy_key[order][:-1]) | (copy_position[order][1:] != copy_position[order][:-1])
    kept = copies.take(order[first])
    rest = views.take(~doubled)
    return Rows(np.concatenate([rest.product, kept.product]), np.concatenate([rest.time, kept.time]))


def _codes(message_id: pa.ChunkedArray) -> Ints:
    """A number for each id, the same for equal ones."""
    indices = [np.asarray(chunk.indices) for chunk in message_id.dictionary_encode().chunks]
    return np.concatenate([np.zeros(0, np.int64), *indices]).astype(np.int64)


def _hashes(message_id: pa.ChunkedArray) -> Ints | None:
    """A hash of each id, the same for equal ones; None where ids differ in length.

    Ids are mostly UUIDs. Taking the 36 bytes of millions of them as words is a fifth of the time of looking each up.
    """
    parts, length = [], 0
    for chunk in message_id.chunks:
        if not len(chunk):
            continue
        offsets = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        length = length or int(offsets[1] - offsets[0])
        if length < 8 or (np.diff(offsets) != length).any():
            return None
        parts.append(_hash_words(chunk.buffers()[2], int(offsets[0]), len(chunk), length))
    return np.concatenate(parts).view(np.int64) if parts else np.zeros(0, np.int64)


def _hash_words(text: pa.Buffer, start: int, count: int, length: int) -> npt.NDArray[np.uint64]:
    """A hash of each of ``count`` texts of ``length`` bytes that follow one another from ``start`` on."""
    hashes = np.zeros(count, np.uint64)
    for at in [*range(0, length - 8, 8), length - 8]:
        words: npt.NDArray[np.uint64] = np.ndarray(count, "<u8", text, start + at, (length,))
        hashes = (hashes ^ words) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _doubled(key: Ints, position: Ints) -> npt.NDArray[np.bool_]:
    """Of which rows there is another with the same key and position; for hashes as keys: perhaps."""
    mixed = (
        key * (int(position.max(initial=0)) + 1) + position
    )  # wraps around: then two may seem the same, never the reverse
    in_order = np.sort(mixed)
    again = np.unique(in_order[1:][in_order[1:] == in_order[:-1]])
    if not len(again):
        return np.zeros(len(mixed), np.bool_)
    found: npt.NDArray[np.bool_] = again[np.searchsorted(again, mixed).clip(max=len(again) - 1)] == mixed
    return found


@dataclass
class Counts:
    """Views and purchases by cell; a cell is ``product * grains_a_day + grain of the day``, ascending, each once."""

    cell: Ints
    views: Ints
    purchases: Ints

    @classmethod
    def of(cls, cells: list[Ints], views: list[Ints], purchases: list[Ints]) -> Counts:
        """The sums of several counts, whose cells may repeat."""
        if not cells:
            return cls(*(np.zeros(0, np.int64) for _ in range(3)))
        cell = np.concatenate(cells)
        order = np.argsort(cell, kind="stable")
        cell = cell[order]
        starts = np.flatnonzero(np.concatenate(([True], cell[1:] != cell[:-1]))) if len(cell) else np.zeros(0, np.int64)
        sums = [
            np.add.reduceat(np.concatenate(parts)[order], starts) if len(cell) else np.zeros(0, np.int64)
            for parts in (views, purchases)
        ]
        return cls(cell[starts], *sums)

    def coarser(self, factor: int) -> Counts:
        """The same counts by a grain that is ``factor`` times as long; ``factor`` divides the grains of a day."""
        return Counts.of([self.cell // factor], [self.views], [self.purchases])

    def tables(self, products: pa.Array, day: date, grain_minutes: int, rows: int) -> Iterator[pa.Table]:
        """Columns product, time, views, purchases, sorted by product and time, ``rows`` at a time."""
        midnight = int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp()) * 1_000_000
        grains = MINUTES // grain_minutes
        for start in range(0, len(self.cell), rows):
            part = slice(start, start + rows)
            product, grain = np.divmod(self.cell[part], grains)
            time = pa.array(midnight + grain * (grain_minutes * MINUTE_US)).cast(pa.timestamp("us")).cast(TIME)
            yield pa.table(
                {
                    "product": products.take(pa.array(product)),
                    "time": time,
                    "views": pa.array(self.views[part]),
                    "purchases": pa.array(self.purchases[part]),
                }
            )


@dataclass
class PartitionCounter:
    """Adds up the views and purchases of one partition, a bounded part at a time; knows their first and last times."""

    views: int = 0
    purchases: int = 0
    first_view: int | None = None
    last_view: int | None = None
    first_purchase: int | None = None
    last_purchase: int | None = None
    _parts: list[Counts] = field(default_factory=list)

    def add_views(self, rows: Rows) -> None:
        """Counts views, each of which counts."""
        if len(rows.time):
            self.views += len(rows.time)
            self.first_view, self.last_view = _ends(rows.time, self.first_view, self.last_view)
            self._add(rows, is_view=1)

    def add_purchases(self, rows: Rows) -> None:
        """Counts purchases."""
        if len(rows.time):
            self.purchases += len(rows.time)
            self.first_purchase, self.last_purchase = _ends(rows.time, self.first_purchase, self.last_purchase)
            self._add(rows, is_view=0)

    def minutes(self) -> Counts:
        """The counts by product and minute."""
        parts = self._parts
        self._parts = [
            Counts.of([part.cell for part in parts], [part.views for part in parts], [part.purchases for part in parts])
        ]
        return self._parts[0]

    def _add(self, rows: Rows, is_view: int) -> None:
        minute = rows.time // MINUTE_US % MINUTES
        cell, count = np.unique(rows.product * MINUTES + minute, return_counts=True)
        self._parts.append(Counts(cell, count * is_view, count * (1 - is_view)))
        if len(self._parts) > _KEEP_PARTS:
            self.minutes()


def _ends(time: Ints, first: int | None, last: int | None) -> tuple[int, int]:
    low, high = int(time.min()), int(time.max())
    return low if first is None else min(low, first), high if last is None else max(high, last)
