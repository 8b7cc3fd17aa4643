"""What is true of a sample: counted while it is generated, written as ``truth.json``.

Fields of ``truth.json`` (a copied file, the same bytes under another name, is counted in ``files`` and ``copied_files`` alone):

``parameters``
    what the sample was made from.
``files``, ``copied_files``, ``bytes``, ``unpacked_bytes``
    event files written, those among them that are copies; size on the disk (with copies), size unpacked (without).
``messages``, ``late_messages``, ``duplicate_messages``
    messages delivered; those in the folder of a later day; those with an id that were delivered before.
``broken_records``, ``blank_lines``
    records by kind that are no message; blank lines. ``records`` = messages + broken records + blank lines.
``events``, ``views``, ``ignored_events``, ``broken_events``
    events of the messages = usable product views (every copy) + others + product events by kind that cannot be used.
``views_once``, ``duplicate_views``
    views, each counted once (platform, message id, position), and copies beyond that: their sum is ``views``.
``orders``, ``order_items``, ``order_statuses``, ``other_devices``
    rows of the CSV files; orders by status; order items by device where the device is no platform.
``purchases``, ``ctr``
    order items from a platform, whatever the status; purchases / views_once, rounded to four digits.
``cells``
    ``{day: {platform: {product: [views counted once, purchases]}}}``, UTC days; only where one of the two is above 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np

from jobs.sample.catalog import DAY_MS, PLATFORM_SHARES, Catalog, Ints
from jobs.sample.files import Account, Parameters
from jobs.sample.orders import OTHER_DEVICE, OrderCounts

_EPOCH_ORDINAL = 719_163


class Truth:
    """Adds up the accounts of the files of one sample."""

    def __init__(self, parameters: Parameters, catalog: Catalog) -> None:
        self.total = Account("")
        self.files = 0
        self.views_once = 0
        self.purchases = 0
        self._parameters = parameters
        self._catalog = catalog
        size = (parameters.days + 1) * parameters.products
        self._cells = {platform: np.zeros((2, size), np.int32) for platform in PLATFORM_SHARES}

    def add(self, account: Account) -> None:
        """Takes in the account of one file; orders of the last evening may fall on the day after the last."""
        views, purchases = self._cells[account.platform]
        views[account.cells] += account.views.astype(np.int32)
        first = (self._parameters.start.toordinal() - _EPOCH_ORDINAL) * DAY_MS
        for orders in account.orders:
            days: Ints = np.repeat((orders.times - first) // DAY_MS, orders.sizes)
            np.add.at(purchases, days * self._parameters.products + orders.products, 1)
            self.purchases += len(orders.products)
        self.files += 1 + account.copies
        self.views_once += int(account.views.sum())
        total = self.total
        for name, value in vars(account).items():
            if isinstance(value, int):
                setattr(total, name, getattr(total, name) + value)
        total.broken_events += account.broken_events
        total.broken_records += account.broken_records

    @property
    def ctr(self) -> float:
        """Purchases / views of the whole sample."""
        return self.purchases / self.views_once if self.views_once else 0.0

    def write(self, file: Path, orders: OrderCounts) -> None:
        """Writes ``truth.json``, a day and platform a line."""
        head = json.dumps(self._summary(orders), indent=2).removesuffix("\n}")
        with file.open("w", encoding="utf-8") as target:
            target.write(head + ',\n  "cells": {')
            for number, line in enumerate(self._days()):
                target.write((",\n    " if number else "\n    ") + line)
            target.write("\n  }\n}\n")

    def _days(self) -> Iterator[str]:
        """One text ``"day": {platform: {product: [views, purchases]}}`` for each day that has any."""
        count = self._parameters.products
        for day in range(self._parameters.days + 1):
            content: dict[str, dict[str, list[int]]] = {}
            for platform, cells in self._cells.items():
                pairs = cells[:, day * count : (day + 1) * count]
                rows = np.flatnonzero(pairs.any(axis=0)).tolist()
                if rows:
                    content[platform] = {self._catalog.products[row]: pairs[:, row].tolist() for row in rows}
            if content:
                date = self._parameters.start + timedelta(days=day)
                yield f'"{date.isoformat()}": {json.dumps(content, separators=(",", ":"))}'

    def _summary(self, orders: OrderCounts) -> dict[str, object]:
        total = self.total
        return {
            "parameters": self._parameters.as_json(),
            "files": self.files,
            "copied_files": total.copies,
            "bytes": total.written,
            "unpacked_bytes": total.unpacked,
            "records": total.messages + total.broken_records.total() + total.blank_lines,
            "messages": total.messages,
            "late_messages": total.late,
            "duplicate_messages": total.duplicate_messages,
            "broken_records": dict(sorted(total.broken_records.items())),
            "blank_lines": total.blank_lines,
            "events": total.events,
            "views": total.view_copies,
            "ignored_events": total.ignored,
            "broken_events": dict(sorted(total.broken_events.items())),
            "views_once": self.views_once,
            "duplicate_views": total.duplicate_views,
            "orders": orders.orders,
            "order_items": orders.items,
            "order_statuses": dict(sorted(orders.statuses.items())),
            "other_devices": {OTHER_DEVICE: orders.other_items},
            "purchases": self.purchases,
            "ctr": round(self.ctr, 4),
        }
