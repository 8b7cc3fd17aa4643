"""A lake that grows: each day's file, each order and each publication is known, so that every answer can be checked."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.conftest import run_job
from tests.path.product import ORDER_ITEMS, ORDERS, load_csv, publications
from tests.rows import at, event, lines, message
from tests.serving.lake import purchase, view

FIRST = "2016-02-01 00:00:00"
DAYS = 3
PLATFORMS = ("Android", "MobileWeb", "iOS")

Row = dict[str, Any]


@dataclass
class GrowingLake:
    """Events, orders and a lake below a folder, and what each publication counts."""

    root: Path
    views: list[Row] = field(default_factory=list)
    purchases: list[Row] = field(default_factory=list)
    published: dict[int, tuple[int, int]] = field(default_factory=dict)
    """How many of the views and of the purchases the publication of a number counts: always the first ones."""
    files: int = 0

    def __post_init__(self) -> None:
        self.events = self.root / "events"
        self.env = {
            "CTR_EVENTS": str(self.events),
            "CTR_LAKE": str(self.root / "lake"),
            "CTR_PURCHASES_URL": load_csv(ORDERS, ORDER_ITEMS, self.root),
            "CTR_KEEP_DAYS": "0",
            "CTR_KEEP_PUBLICATIONS": "3",
            "CTR_VACUUM_GRACE_HOURS": "0",
        }

    def grow(self) -> None:
        """One more file of views for each platform, and one more order: all on one of the few days, so that it changes."""
        number, self.files = self.files, self.files + 1
        day = at(FIRST) + timedelta(days=number % DAYS)
        for platform in PLATFORMS:
            messages = []
            for place in range(40):
                time = day + timedelta(minutes=(number * 37 + place * 29) % 1440, seconds=place)
                product = f"p{(number + place) % 60:02}"
                messages.append(
                    message(event(product, int(time.timestamp() * 1000)), message_id=f"{platform}-{number}-{place}")
                )
                self.views.append(view(f"{time:%Y-%m-%d %H:%M:%S}", product, platform))
            file = self.events / platform / f"{number:05}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(lines(*messages))
        time, product, platform = day + timedelta(hours=number % 24), f"p{number % 60:02}", PLATFORMS[number % 3]
        with sqlite3.connect(self.root / "purchases.db") as database:
            database.execute(
                "INSERT INTO orders (id, user_id, order_date, order_status, device_type) VALUES (?, 1, ?, 'paid', ?)",
                (number + 1, f"{time:%Y-%m-%d %H:%M:%S}", platform),
            )
            database.execute(
                "INSERT INTO order_items (id, order_id, sku, quantity, code_color) VALUES (?, ?, 'x', 1, ?)",
                (number + 1, number + 1, product),
            )
        database.close()
        self.purchases.append(purchase(f"{time:%Y-%m-%d %H:%M:%S}", product, platform))

    def run(self, *arguments: str) -> None:
        """One job, to its end; what it published counts all that there is."""
        done = run_job(*arguments, env=self.env)
        assert done.returncode == 0, done.stdout + done.stderr
        for row in publications(self.root / "lake"):
            self.published.setdefault(int(row["publication"]), (len(self.views), len(self.purchases)))
