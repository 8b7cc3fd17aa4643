"""The world of the sample: products with their popularity, the hours of a day, the share of each platform.

The popularity curve is fitted to a real day of product views (47,633 views of 4,051 products).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Cells = npt.NDArray[np.uint8]
"""Text in a matrix of bytes: one row a record, one column a character."""

PLATFORM_SHARES = {"iOS": 0.35, "Android": 0.25, "MobileWeb": 0.40}
DAY_MS = 86_400_000

_FIRST_PRODUCT = "20001829_048"
_HOUR_WEIGHTS = (6, 3, 2, 1, 1, 1, 2, 3, 5, 7, 8, 9, 11, 12, 11, 10, 10, 10, 11, 12, 14, 15, 13, 9)
"""Views by hour of the day: a dip at night, a small peak at lunch, the top in the evening."""


@dataclass(frozen=True)
class Catalog:
    """Products in order of popularity; the arrays run parallel to ``products``."""

    products: tuple[str, ...]
    product_cells: Cells
    price_cells: Cells
    prices: Floats
    popularity: Floats
    """Cumulative share of views."""
    conversion: Floats
    """Chance that a view starts an order."""

    def draw(self, rng: np.random.Generator, count: int) -> Ints:
        """``count`` product numbers, drawn by popularity."""
        return pick(self.popularity, rng, count)


def make_catalog(seed: int, count: int) -> Catalog:
    """``count`` products named like the real ones (``20001829_048``: model, colour)."""
    rng = np.random.default_rng([seed, 0])
    products = _names(rng, count)
    prices: Floats = rng.integers(100, 400, count).astype(np.float64) + 0.9
    weights = (np.arange(count) + count / 135) ** -0.8
    return Catalog(
        products=products,
        product_cells=text_cells(products),
        price_cells=text_cells([f"{price:.1f}" for price in prices]),
        prices=prices,
        popularity=np.cumsum(weights) / weights.sum(),
        conversion=rng.uniform(0.006, 0.022, count),
    )


def pick(cumulated: Floats, rng: np.random.Generator, count: int) -> Ints:
    """``count`` numbers drawn by their cumulated shares (the last of which is 1)."""
    numbers: Ints = np.searchsorted(cumulated[:-1], rng.random(count), side="right").astype(np.int64)
    return numbers


def day_offsets(quantiles: Floats) -> Ints:
    """Milliseconds after midnight at which the given shares (0 to 1) of a day's messages have been sent."""
    shares = np.concatenate(([0.0], np.cumsum(_HOUR_WEIGHTS) / sum(_HOUR_WEIGHTS)))
    hours = np.interp(quantiles, shares, np.arange(25.0))
    offsets: Ints = np.minimum((hours * 3_600_000).astype(np.int64), DAY_MS - 1)
    return offsets


def text_cells(texts: list[str] | tuple[str, ...]) -> Cells:
    """ASCII texts of one length as a matrix of bytes."""
    return np.frombuffer("".join(texts).encode("ascii"), np.uint8).reshape(len(texts), -1)


def _names(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    names = {_FIRST_PRODUCT: None}
    ranges = ((20_000_000, 20_006_000), (10_000_000, 10_001_000), (13_620_000, 16_450_000))
    while len(names) < count:
        low, high = ranges[rng.choice(3, p=(0.88, 0.02, 0.10))]
        model = rng.integers(low, high)
        for colour in rng.integers(1, 600, rng.integers(1, 6)):
            names[f"{model}_{colour:03d}"] = None
    return tuple(names)[:count]
