"""Which cells are looked at: every one of what somebody asks for, or some of random days.

Those are of products with many views, with few, with purchases, and cells of nothing.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.errors import JobError, UsageError
from jobs.lake import Lake, Partition
from jobs.schemas import COVERAGE, CTR_DAY, CTR_HOUR, CTR_MINUTE, Table

MINUTES = {CTR_MINUTE: 1, CTR_HOUR: 60, CTR_DAY: 1440}
"""The length of a bucket of each rollup."""

KINDS = ("many views", "with purchases", "few views", "any", "nothing there")
"""What cells are of: products by their day, and buckets in which a product has neither a view nor a purchase."""

ASKED = "asked for"
"""What cells are of that are not drawn."""

TOTAL = "all products"

MOST_CELLS = 1_000_000
"""Cells that are held, some 1 GB."""

_TABLES = (CTR_MINUTE, CTR_MINUTE, CTR_HOUR, CTR_DAY)
"""Minutes twice as often: the other two are made from them."""

_MANY, _FEW = 0.05, 2
_WHOLE_DAYS = 0.2
_TRIES = 20
_DRAWS = 3
"""So many draws for each cell: the same one may be drawn twice."""

Counts = tuple[int, int]
"""Views and purchases."""


@dataclass(frozen=True)
class Cell:
    """One bucket of one product (None: all of them) on one platform, and what the publication says of it.

    ``views`` and ``purchases`` are what ``table`` gives for these ``minutes``, which may be several of its buckets.
    """

    kind: str
    table: str
    platform: str
    product: str | None
    start: datetime
    minutes: int
    views: int
    purchases: int

    @property
    def end(self) -> datetime:
        """When the bucket ends; times are UTC."""
        return self.start + timedelta(minutes=self.minutes)

    @property
    def partition(self) -> Partition:
        """The UTC day and the platform."""
        return self.start.date(), self.platform


@dataclass(frozen=True)
class Period:
    """The days to choose ``days`` of, or to take all of (None); ``first`` and ``last`` are both included."""

    first: date | None = None
    last: date | None = None
    days: int | None = 3

    def choose(self, known: Iterable[Partition], dice: random.Random) -> list[Partition]:
        """All known platforms of some days of the period."""
        known = sorted(known)
        inside = sorted(
            {day for day, _ in known if (not self.first or day >= self.first) and (not self.last or day <= self.last)}
        )
        chosen = set(inside if self.days is None else dice.sample(inside, min(self.days, len(inside))))
        return [partition for partition in known if partition[0] in chosen]


@dataclass(frozen=True)
class Asked:
    """Platforms and products of which every cell is looked at; an empty one of the two: all of them."""

    platforms: tuple[str, ...] = ()
    products: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.platforms or self.products)

    def __str__(self) -> str:
        return f"{', '.join(self.platforms) or 'all platforms'}, {', '.join(self.products) or TOTAL}"


def every_cell(
    lake: Lake, publication: dict[str, Any], loaded: set[Partition], period: Period, asked: Asked
) -> list[Cell]:
    """Every bucket of each rollup in which what is asked for has a row, and whole days, so that a row that is missing shows.

    Whole days are those of its products, and where none is named, those of all products together.

    Raises:
        JobError: no day of the period has a view or a purchase on these platforms.
        UsageError: they are more than memory has room for.
    """
    counts = _Published(lake, publication)
    cells: list[Cell] = []
    for partition in _partitions(lake, publication, loaded, period, random.Random(), asked.platforms):
        rows = {table: _by_product(counts.read(table, partition, set(asked.products) or None)) for table in MINUTES}
        products = set(asked.products) or {product for there in rows.values() for product in there}
        for table, there in rows.items():
            for product in products:
                cells += _buckets(table, partition, product, there.get(product, {}))
        if not asked.products:
            cells.append(_total(partition, counts.read(CTR_DAY, partition)))
        if len(cells) > MOST_CELLS:
            raise UsageError(
                f"more than {MOST_CELLS:,} cells of {asked}: ask for fewer days (--from, --to) or products (--product)"
            )
    return _in_order(cells)


def _buckets(table: Table, partition: Partition, product: str, there: dict[datetime, Counts]) -> list[Cell]:
    """All buckets of a product, and its whole day."""
    midnight = _midnight(partition[0])
    found = {(start, MINUTES[table]): numbers for start, numbers in there.items()}
    found[midnight, 1440] = _sum(there)
    return [Cell(ASKED, table.name, partition[1], product, *place, *numbers) for place, numbers in found.items()]


def choose_cells(
    lake: Lake,
    publication: dict[str, Any],
    loaded: set[Partition],
    period: Period,
    sample: int,
    dice: random.Random,
) -> list[Cell]:
    """``sample`` cells, or nearly all there are, and beside them one of all products for each of their days and platforms.

    They are of days that have counts, or should have: ``loaded`` are such on which a loaded file has a view.

    Raises:
        JobError: no day of the period has a view or a purchase.
    """
    partitions = _partitions(lake, publication, loaded, period, dice)
    counts = _Published(lake, publication)
    days = {partition: counts.read(CTR_DAY, partition) for partition in partitions}
    everything = sorted({row["product"] for rows in days.values() for row in rows})
    cells = [_total(partition, days[partition]) for partition in partitions]
    dice.shuffle(partitions)
    for place, partition in enumerate(partitions):
        budget = sample // len(partitions) + (place < sample % len(partitions))
        cells += _choose(counts, partition, _pools(days[partition], everything), budget, dice)
    return _in_order(cells)


def _partitions(
    lake: Lake,
    publication: dict[str, Any],
    loaded: set[Partition],
    period: Period,
    dice: random.Random,
    platforms: tuple[str, ...] = (),
) -> list[Partition]:
    """Days of the period that have counts, or should have, on these platforms (none named: on all)."""
    coverage = lake.read(COVERAGE, version=publication[f"{COVERAGE.name}_version"]).to_pylist()
    covered = {(row["date"], row["platform"]) for row in coverage if row["views"] or row["purchases"]}
    known = {partition for partition in covered | loaded if not platforms or partition[1] in platforms}
    partitions = period.choose(known, dice)
    if not partitions:
        where = f" on {', '.join(platforms)}" if platforms else ""
        raise JobError(
            f"nothing to check: no day of the period has a view or a purchase{where}; see ./spark-submit.sh status"
        )
    return partitions


def _in_order(cells: list[Cell]) -> list[Cell]:
    return sorted(cells, key=lambda cell: (cell.start, cell.platform, cell.product or "", cell.table))


def _choose(
    counts: _Published, partition: Partition, pools: dict[str, list[str]], budget: int, dice: random.Random
) -> list[Cell]:
    """So many cells of one day of a platform, each once, or nearly all it has."""
    kinds = [KINDS[place % len(KINDS)] for place in range(_DRAWS * budget)]
    drawn = [(kind, dice.choice(pools[kind]), dice.choice(_TABLES)) for kind in kinds if pools[kind]]
    wanted: dict[Table, set[str]] = defaultdict(set)
    for _, product, table in drawn:
        wanted[table].add(product)
    found = {table: _by_product(counts.read(table, partition, products)) for table, products in wanted.items()}
    cells: dict[tuple[object, ...], Cell] = {}
    for kind, product, table in drawn:
        if len(cells) < budget:
            start, minutes, (views, purchases) = _bucket(kind, partition[0], table, found[table].get(product, {}), dice)
            cell = Cell(kind, table.name, partition[1], product, start, minutes, views, purchases)
            cells.setdefault((table, product, start, minutes), cell)
    return list(cells.values())


def _bucket(
    kind: str, day: date, table: Table, there: dict[datetime, Counts], dice: random.Random
) -> tuple[datetime, int, Counts]:
    """Start, minutes and counts of one of a product's buckets, or of its whole day: so a row that is missing shows."""
    midnight = _midnight(day)
    minutes = MINUTES[table]
    if kind == "nothing there":
        for _ in range(_TRIES):
            start = midnight + timedelta(minutes=minutes * dice.randrange(1440 // minutes))
            if start not in there:
                return start, minutes, (0, 0)
    if not there or dice.random() < _WHOLE_DAYS:
        return midnight, 1440, _sum(there)
    bought = [start for start, (_, purchases) in there.items() if purchases]
    start = dice.choice(sorted(bought if kind == "with purchases" and bought else there))
    return start, minutes, there[start]


def _pools(rows: list[dict[str, Any]], everything: list[str]) -> dict[str, list[str]]:
    """Products to draw from for each kind of cell."""
    by_views = sorted(rows, key=lambda row: (-row["views"], row["product"]))
    many = by_views[: max(1, int(len(by_views) * _MANY))]
    chosen = {
        "many views": many,
        "with purchases": [row for row in by_views if row["purchases"]],
        "few views": [row for row in by_views if row["views"] <= _FEW],
        "any": by_views,
    }
    return {**{kind: [row["product"] for row in some] for kind, some in chosen.items()}, "nothing there": everything}


def _by_product(rows: list[dict[str, Any]]) -> dict[str, dict[datetime, Counts]]:
    """Counts by product and time; of a row that stands there twice, which must not be, both."""
    found: dict[str, dict[datetime, Counts]] = defaultdict(dict)
    for row in rows:
        views, purchases = found[row["product"]].get(row["time"], (0, 0))
        found[row["product"]][row["time"]] = views + row["views"], purchases + row["purchases"]
    return found


def _total(partition: Partition, rows: list[dict[str, Any]]) -> Cell:
    day, platform = partition
    views, purchases = (sum(row[name] for row in rows) for name in ("views", "purchases"))
    return Cell(TOTAL, CTR_DAY.name, platform, None, _midnight(day), 1440, views, purchases)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)


def _sum(there: dict[datetime, Counts]) -> Counts:
    return sum(views for views, _ in there.values()), sum(bought for _, bought in there.values())


@dataclass(frozen=True)
class _Published:
    """The rollups at the versions that a publication names."""

    lake: Lake
    publication: dict[str, Any]

    def read(self, table: Table, partition: Partition, products: set[str] | None = None) -> list[dict[str, Any]]:
        """Rows of one day of a platform, of some products or of all.

        Raises:
            JobError: a data file is gone or damaged.
        """
        day, platform = partition
        wanted = (pc.field("date") == pa.scalar(day)) & (pc.field("platform") == platform)
        if products is not None:
            wanted &= pc.field("product").isin(sorted(products))
        names = ["product", "time", "views", "purchases"]
        try:
            dataset = self.lake.open(table, self.publication[f"{table.name}_version"]).to_pyarrow_dataset()
            rows: list[dict[str, Any]] = dataset.to_table(names, filter=wanted).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise JobError(
                f"cannot read {table.name} of {platform} {day}, which is published: {str(error).splitlines()[0]}; make it anew "
                f"by ./spark-submit.sh backfill --rebuild --from {day} --to {day}, or put the lake back from a backup"
            ) from None
        return rows
