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
_WORD = 8


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
    indices = [np.asarray(chunk.indices) for chunk in message_id.dictionary_encode().chunks]
    code = np.concatenate([np.zeros(0, np.int64), *indices])
    order = np.lexsort((views.product, views.time, position, code))
    code, position = code[order], position[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (code[1:] != code[:-1]) | (position[1:] != position[:-1])
    return views.take(order[first])


def view_keys(message_id: pa.Array, position: Ints) -> Ints:
    """A hash of each view's message id and position: equal for copies of a view, mostly different for other views.

    Ids without NULL. A look-up of each id would take five times as long, and keeping them five times the memory.
    """
    offsets = np.frombuffer(message_id.buffers()[1], np.int32)[
        message_id.offset : message_id.offset + len(message_id) + 1
    ]
    lengths = np.diff(offsets)
    hashes = np.zeros(len(message_id), np.uint64)
    for length in np.unique(lengths).tolist():  # mostly one: ids are mostly UUIDs
        chosen = np.flatnonzero(lengths == length)
        ids = message_id if len(chosen) == len(message_id) else message_id.take(pa.array(chosen))
        hashes[chosen] = _hash_texts(ids, length)
    return _mix(hashes, position.astype(np.uint64)).view(np.int64)


def _hash_texts(texts: pa.Array, length: int) -> npt.NDArray[np.uint64]:
    """A hash of each text, all of which have so many bytes."""
    hashes = np.full(len(texts), length, np.uint64)
    if length == 0:
        return hashes
    start = int(np.frombuffer(texts.buffers()[1], np.int32)[texts.offset])
    if length < _WORD:
        padded = np.zeros((len(texts), _WORD), np.uint8)
        flat = np.frombuffer(texts.buffers()[2], np.uint8, len(texts) * length, start)
        padded[:, :length] = flat.reshape(len(texts), length)
        return _mix(hashes, padded.view(np.uint64)[:, 0])
    for at in [*range(0, length - _WORD, _WORD), length - _WORD]:  # the last word may repeat some bytes
        words: npt.NDArray[np.uint64] = np.ndarray(len(texts), "<u8", texts.buffers()[2], start + at, (length,))
        hashes = _mix(hashes, words)
    return hashes


def _mix(hashes: npt.NDArray[np.uint64], words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    mixed: npt.NDArray[np.uint64] = (hashes ^ words) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    return mixed


def repeated(keys: list[Ints]) -> Ints:
    """The keys that come more than once, ascending, each once."""
    in_order = np.concatenate([np.zeros(0, np.int64), *keys])
    in_order.sort()
    return np.unique(in_order[1:][in_order[1:] == in_order[:-1]])


def is_among(keys: Ints, wanted: Ints) -> npt.NDArray[np.bool_]:
    """Which keys are among the wanted ones, which are ascending."""
    if not len(wanted):
        return np.zeros(len(keys), np.bool_)
    found: npt.NDArray[np.bool_] = wanted[np.searchsorted(wanted, keys).clip(max=len(wanted) - 1)] == keys
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
