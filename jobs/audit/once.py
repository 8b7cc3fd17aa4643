"""The views of the chosen days of one platform, each once.

Of each view stay 16 bytes: a hash of what makes it one (message_id and position), its time and its product. The copy with the
smallest (time, product) counts, wherever it stands (docs/lake.md), so no view can be counted before the last file is read.
The hashes have 64 bits: of sixty million views two share one by chance in one of some 10,000 audits, which then finds a total that
is too small by one.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date, datetime

import numpy as np

from jobs.audit.cells import Cell
from jobs.audit.raw import View
from jobs.lake import Partition

MOST_VIEWS = 60_000_000
"""Views that are held, some 1 GB."""

_PRODUCT_ROWS = 8
"""A product takes as much memory as so many views."""

_DAY_MS = 86_400_000
_EPOCH_DAY = date(1970, 1, 1)


class TooManyViews(Exception):
    """The views of the chosen days do not fit into memory."""

    def __init__(self) -> None:
        super().__init__(f"more than {MOST_VIEWS:,} views on the chosen days; ask for fewer (--days; --from, --to)")


class ViewsOnce:
    """Takes views in any order and counts those of the cells, which are of one platform."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        by_day: dict[Partition, list[Cell]] = defaultdict(list)
        for cell in cells:
            by_day[cell.partition].append(cell)
        self.days = list(by_day)
        self._by_number = {_number(partition): _Day(cells) for partition, cells in by_day.items()}
        self._codes: dict[str, int] = {}
        self._held = 0

    def add(self, views: list[View], days: list[Partition]) -> None:
        """Takes the views of a message that are of these days.

        Raises:
            TooManyViews: they do not fit into memory.
        """
        wanted = {_number(day) for day in days}
        for view in views:
            number = view.time_ms // _DAY_MS
            if number in wanted:
                code = self._codes.setdefault(view.product, len(self._codes))
                self._by_number[number].add(view, code)
                self._held += 1
        if self._held + _PRODUCT_ROWS * len(self._codes) > MOST_VIEWS:
            raise TooManyViews

    def count(self) -> Counter[Cell]:
        """The views of each cell."""
        names = list(self._codes)
        counts: Counter[Cell] = Counter()
        for day in self._by_number.values():
            counts += day.count(names)
        return counts


class _Day:
    def __init__(self, cells: Iterable[Cell]) -> None:
        self._totals: list[Cell] = []
        self._cells: dict[str, dict[int, dict[int, list[Cell]]]] = defaultdict(lambda: defaultdict(dict))
        """Of a product by length and start, in milliseconds: the start is a multiple of the length."""
        for cell in cells:
            if cell.product is None:
                self._totals.append(cell)
            else:
                starts = self._cells[cell.product][cell.minutes * 60_000]
                starts.setdefault(_ms_of_day(cell.start), []).append(cell)
        self._keys, self._times, self._products = array("q"), array("I"), array("I")
        self._wanted: set[int] = set()
        self._alone: Counter[Cell] = Counter()

    def add(self, view: View, code: int) -> None:
        """Takes a view; one without message_id has no copies and is counted at once."""
        time = view.time_ms % _DAY_MS
        cells = self._at(time, view.product)
        if view.message_id is None:
            self._alone.update(cells + self._totals)
            return
        key = hash((view.message_id, view.position))
        self._keys.append(key)
        self._times.append(time)
        self._products.append(code)
        if cells:
            self._wanted.add(key)

    def count(self, names: list[str]) -> Counter[Cell]:
        """Counts those whose smallest copy lies in a cell."""
        smallest: dict[int, tuple[int, str]] = {}
        for key, time, code in zip(self._keys, self._times, self._products, strict=True):
            if key in self._wanted:
                copy = time, names[code]
                smallest[key] = min(copy, smallest.get(key, copy))
        counts = self._alone.copy()
        for time, product in smallest.values():
            counts.update(self._at(time, product))
        for cell in self._totals:
            counts[cell] += len(np.unique(np.array(self._keys, np.int64)))
        return counts

    def _at(self, time: int, product: str) -> list[Cell]:
        """The cells of a product that a time lies in."""
        lengths = self._cells[product].items() if product in self._cells else ()
        return [cell for length, starts in lengths for cell in starts.get(time - time % length, ())]


def _ms_of_day(time: datetime) -> int:
    return int(time.timestamp()) * 1000 % _DAY_MS


def _number(partition: Partition) -> int:
    return (partition[0] - _EPOCH_DAY).days
