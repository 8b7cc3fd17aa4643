"""A small lake written by hand, with the event files and the database that it claims to come from."""

from __future__ import annotations

import io
import os
import sqlite3
from datetime import datetime, timedelta, timezone

from rich.console import Console

from jobs.audit import audit
from jobs.audit.cells import Asked, Period
from jobs.config import Config
from jobs.datafiles import write_partitions
from jobs.discover import list_events
from jobs.lake import Lake, rows_of
from jobs.ledger import LOADED, record, statement
from jobs.publish import next_number, publish
from jobs.schemas import COVERAGE, CTR_DAY, CTR_HOUR, CTR_MINUTE

GRAINS = {CTR_MINUTE: timedelta(minutes=1), CTR_HOUR: timedelta(hours=1), CTR_DAY: timedelta(days=1)}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class World:
    """Event files of one platform, iOS; a test says what the lake claims of them."""

    def __init__(self, path):
        self.path = path
        (path / "events" / "iOS").mkdir(parents=True)
        self.shop("create table orders (id integer, order_date text, status text, device text)")
        self.shop("create table order_items (id integer, order_id integer, code_color text)")
        self.lake = Lake(str(path / "lake"))
        self.lake.create()

    def shop(self, *statements):
        with sqlite3.connect(self.path / "shop.db") as shop:
            for text in statements:
                shop.execute(text)
        shop.close()

    def put(self, name, content, changed=1_460_000_000):
        file = self.path / "events" / "iOS" / name
        file.write_bytes(content)
        os.utime(file, (changed, changed))
        return file

    def config(self, **settings):
        shop = f"jdbc:sqlite:{self.path / 'shop.db'}"
        return Config(events=str(self.path / "events"), lake=self.lake.root, purchases_url=shop, **settings)

    def load(self, name, first, last, views, layout="lines", broken=0):
        """What the ledger says of a file as it lies there now."""
        [file] = [file for file in list_events(str(self.path / "events"), ()).files if file.path == f"iOS/{name}"]
        facts = {"records": 1, "views": views, "layout": layout, "quarantined_records": broken}
        record(self.lake, [statement(file, 1, LOADED, first_time=first, last_time=last, **facts)], 1)

    def claim(self, *cells):
        """The rollups from (time, product, views, purchases), and coverage of their days."""
        for table, grain in GRAINS.items():
            counts = {}
            for time, product, *numbers in cells:
                key = product, EPOCH + (time - EPOCH) // grain * grain
                counts[key] = [a + b for a, b in zip(counts.get(key, (0, 0)), numbers, strict=True)]
            self.replace(table, [(time, product, *numbers) for (product, time), numbers in counts.items()])
        days = {time.date() for time, *_ in cells}
        rows = [{"date": day, "platform": "iOS", "views": 1, "purchases": 1} for day in sorted(days)]
        self.lake.overwrite(COVERAGE, rows_of(COVERAGE, rows), 1)
        self.publish()

    def replace(self, table, cells):
        names = ("time", "product", "views", "purchases")
        rows = [{"date": cell[0].date(), "platform": "iOS", **dict(zip(names, cell, strict=True))} for cell in cells]
        written = write_partitions(self.lake.root, table, rows_of(table, rows), ["product", "time"])
        self.lake.commit(table, 1, written, self.lake.files(table))

    def publish(self):
        return publish(self.lake, next_number(self.lake), "daily", {})

    def audit(self, *, first=None, last=None, days=10, sample=60, seed=1, asked=Asked(), **settings):  # noqa: B008
        """What an audit finds, and what it prints."""
        console = Console(record=True, width=200, file=io.StringIO())
        findings = audit(self.config(**settings), Period(first, last, days), sample, seed, console, asked)
        return findings, console.export_text()
