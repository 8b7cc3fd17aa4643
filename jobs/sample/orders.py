"""Orders of the sample: they follow views by minutes, in the columns of the real tables, some from no platform."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

import numpy as np

from jobs.sample.catalog import Catalog, Ints, pick

SPELLINGS = {"status": ("status", "device"), "order_status": ("order_status", "device_type")}
"""Names of the status and device columns: as in the case's text, as in the real tables."""

_ORDER_COLUMNS = (
    *("id", "user_id", "order_date", "order_subtotal", "order_discount", "order_total", "{status}", "payment_type"),
    *("shipping_cost", "shipping_service", "address_city", "address_state", "utm_source_medium", "{device}"),
)
_ITEM_COLUMNS = ("id", "order_id", "sku", "quantity", "code_color")
_STATUSES = {"Delivered": 0.78, "Shipped": 0.07, "Processing": 0.05, "Canceled": 0.08, "Returned": 0.02}
_DEVICES = {
    "iOS": {"iOS": 0.9, "iPhone": 0.08, "ios": 0.02},
    "Android": {"Android": 0.96, "android": 0.04},
    "MobileWeb": {"MobileWeb": 0.93, "mobile_web": 0.07},
}
OTHER_DEVICE = "Desktop"
_OTHER_DEVICE_SHARE = 0.25
_CITIES = (("São Paulo", "SP"), ("Rio de Janeiro", "RJ"), ("Belo Horizonte", "MG"), ("Santana, Vila", "BA"))
_SOURCES = ("google / cpc", "(direct) / (none)", "instagram / social", "newsletter / email")
_ITEMS_AN_ORDER = (0.6, 0.25, 0.1, 0.05)
_BASKET_MS = 600_000
"""An order holds products that were viewed at most this long before the view that led to it."""
_FIRST_ORDER, _FIRST_ITEM = 2_400_001, 7_100_001
_BEYOND_32_BITS = 5_000_000_000
"""Added to one order id in 97, and to one item id in 89: a driver that cuts ids to 32 bits must not pass unseen."""


@dataclass(frozen=True)
class Orders:
    """Orders of one platform: times (epoch ms), items of each order, and the products of all items one after another."""

    times: Ints
    sizes: Ints
    products: Ints


def follow_views(rng: np.random.Generator, catalog: Catalog, products: Ints, times: Ints) -> Orders:
    """Orders that some of the views lead to, 1 to 20 minutes later.

    A view starts an order by its product's conversion; further items are products viewed shortly before it.
    """
    starts = np.flatnonzero(rng.random(len(products)) < catalog.conversion[products])
    sizes = np.minimum(pick(np.cumsum(_ITEMS_AN_ORDER), rng, len(starts)) + 1, starts + 1)
    order = np.repeat(np.arange(len(starts)), sizes)
    views = starts[order] - (np.arange(len(order)) - (np.cumsum(sizes) - sizes)[order])
    before = times[starts][order] - times[views]
    kept = (before >= 0) & (before <= _BASKET_MS)
    return Orders(
        times=times[starts] + rng.integers(60_000, 1_200_000, len(starts)),
        sizes=np.bincount(order[kept], minlength=len(starts)),
        products=products[views[kept]],
    )


@dataclass
class OrderCounts:
    """What was written: orders, items, items of devices that are no platform, orders by status."""

    orders: int = 0
    items: int = 0
    other_items: int = 0
    statuses: Counter[str] = field(default_factory=Counter)


class OrderFiles:
    """Writes ``orders.csv`` and ``order_items.csv``, numbering orders and items in the order they come."""

    def __init__(self, folder: Path, catalog: Catalog, spelling: str, seed: int) -> None:
        self.counts = OrderCounts()
        self._catalog = catalog
        self._rng = np.random.default_rng([seed, 1])
        self._orders_file = (folder / "orders.csv").open("w", encoding="utf-8", newline="")
        self._items_file = (folder / "order_items.csv").open("w", encoding="utf-8", newline="")
        self._orders = csv.writer(self._orders_file, lineterminator="\n")
        self._items = csv.writer(self._items_file, lineterminator="\n")
        status, device = SPELLINGS[spelling]
        self._orders.writerow(name.format(status=status, device=device) for name in _ORDER_COLUMNS)
        self._items.writerow(_ITEM_COLUMNS)

    def __enter__(self) -> OrderFiles:
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._orders_file.close()
        self._items_file.close()

    def write(self, platform: str, orders: Orders) -> None:
        """Adds a platform's orders, and beside them orders of other devices at like times."""
        self._write(orders, _DEVICES[platform])
        chosen = self._rng.random(len(orders.times)) < _OTHER_DEVICE_SHARE
        sizes = orders.sizes[chosen]
        others = Orders(orders.times[chosen] + 31_000, sizes, self._catalog.draw(self._rng, int(sizes.sum())))
        self._write(others, {OTHER_DEVICE: 1.0})
        self.counts.other_items += len(others.products)

    def _write(self, orders: Orders, devices: dict[str, float]) -> None:
        count, rng = len(orders.times), self._rng
        statuses = pick(np.cumsum(list(_STATUSES.values())), rng, count).tolist()
        spellings = pick(np.cumsum(list(devices.values())), rng, count).tolist()
        traits = rng.integers(0, 1 << 30, count).tolist()
        quantities = np.where(rng.random(len(orders.products)) < 0.06, 2, 1).tolist()
        products = orders.products.tolist()
        end = 0
        for time, size, status, spelling, trait in zip(
            orders.times.tolist(), orders.sizes.tolist(), statuses, spellings, traits, strict=True
        ):
            begin, end = end, end + size
            order = _FIRST_ORDER + self.counts.orders
            order += _BEYOND_32_BITS if self.counts.orders % 97 == 96 else 0
            subtotal = self._write_items(order, products[begin:end], quantities[begin:end])
            name = tuple(_STATUSES)[status]
            self._write_order(order, time, subtotal, name, tuple(devices)[spelling], trait)
            self.counts.orders += 1
            self.counts.statuses[name] += 1

    def _write_items(self, order: int, products: list[int], quantities: list[int]) -> float:
        subtotal = 0.0
        for number, quantity in zip(products, quantities, strict=True):
            item = _FIRST_ITEM + self.counts.items
            item += _BEYOND_32_BITS if self.counts.items % 89 == 88 else 0
            product = self._catalog.products[number]
            self._items.writerow((item, order, f"{product}_{'PMG'[item % 3]}", quantity, product))
            self.counts.items += 1
            subtotal += quantity * float(self._catalog.prices[number])
        return subtotal

    def _write_order(self, order: int, time: int, subtotal: float, status: str, device: str, trait: int) -> None:
        when = datetime.fromtimestamp(time // 1000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
        discount = round(subtotal * 0.1, 2) if trait % 5 == 0 else 0.0
        shipping = 0.0 if subtotal > 250 else 14.9
        payment = ("credit_card", "boleto", "paypal")[trait % 3]
        service = ("standard", "express")[trait % 7 == 0]
        amounts = (f"{amount:.2f}" for amount in (subtotal, discount, subtotal - discount + shipping))
        place, source = _CITIES[trait % len(_CITIES)], _SOURCES[trait // 7 % len(_SOURCES)]
        self._orders.writerow(
            (
                order,
                100_000 + trait % 50_000,
                when,
                *amounts,
                status,
                payment,
                f"{shipping:.2f}",
                service,
                *place,
                source,
                device,
            )
        )
