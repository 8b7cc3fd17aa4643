"""Two nights of a small shop: event files and a database as they stand on the first and on the second night.

Everything is fixed, times of change of the files too, so that any two lakes made from a night can be compared row for row.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from rich.console import Console

from jobs.config import Config
from jobs.lake import Lake
from jobs.ledger import STATES
from jobs.plan import Selection
from jobs.progress import Stages
from jobs.publish import newest_publication
from jobs.report import Report
from jobs.run import Run
from jobs.schemas import FILES, PUBLICATIONS, PUBLISHED, QUARANTINE, Table
from tests.rows import NOON, event, lines, message

DAY = 86_400_000
BATCH_BYTES = 350_000
"""Makes two batches of a night."""

_NOISE = {"recorded_at", "batch"}
"""Columns that tell when something was done, not what."""


def rounds(few: int, full: int) -> int:
    """How many rounds a test plays: ``CTR_FAULT_ROUNDS`` (``make test-faults``), at most ``full``; a few without it."""
    wanted = os.environ.get("CTR_FAULT_ROUNDS")
    return few if not wanted else min(int(wanted), full)


@dataclass(frozen=True)
class Night:
    """Event files and a database as one night finds them."""

    root: Path

    def config(self, lake: Path, **settings: Any) -> Config:
        values = {"batch_bytes": BATCH_BYTES, "quarantine_limit": 1.0, **settings}
        shop = f"jdbc:sqlite:{self.root / 'shop.db'}"
        return Config(events=str(self.root / "events"), lake=str(lake), purchases_url=shop, **values)

    def env(self, lake: Path) -> dict[str, str]:
        """The same settings for a process."""
        return {
            "CTR_EVENTS": str(self.root / "events"),
            "CTR_LAKE": str(lake),
            "CTR_PURCHASES_URL": f"jdbc:sqlite:{self.root / 'shop.db'}",
            "CTR_BATCH_BYTES": str(BATCH_BYTES),
            "CTR_QUARANTINE_LIMIT": "1",
            "CTR_FATAL_LIMITS": "purchases_lost",  # a file of the first night is cut
        }

    def run(
        self,
        spark: SparkSession,
        lake: Path,
        job: str = "daily",
        selection: Selection | None = None,
        **settings: Any,
    ) -> list[Report]:
        """A plain run in this process."""
        run = Run(self.config(lake, **settings), job, spark, Stages(Console(quiet=True)), selection or Selection())
        return run(lambda _: None)

    def put(self, path: str, content: bytes, changed: int = 0) -> None:
        file = self.root / "events" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (1_460_000_000 + changed,) * 2)

    def read(self, path: str) -> bytes:
        return (self.root / "events" / path).read_bytes()

    def sql(self, *statements: str) -> None:
        with sqlite3.connect(self.root / "shop.db") as shop:
            for statement in statements:
                shop.execute(statement)
        shop.close()


def first_night(root: Path) -> Night:
    """Most layouts, copies, messages delivered twice, rejects, a cut file, a folder that is no platform."""
    night = Night(root)
    night.put("iOS/2016-02-01/a.json", lines(*_messages("a", 400, day=0)) + lines(message(event(None))))
    again = [*_messages("a", 100, day=0), *_messages("b", 400, day=0)]
    night.put("iOS/2016-02-01/b.json.gz", gzip.compress(lines(*again), mtime=0))
    night.put("Android/2016-02-02/array.json", _array("d", day=1))
    night.put("Android/2016-02-02/array.json.1", _array("d", day=1))
    night.put("MobileWeb/2016-02-03/c.json", lines(*_messages("c", 400, day=2)) + b'{"events": [broken product\n')
    night.put("MobileWeb/2016-02-04/e.json.gz", gzip.compress(lines(*_messages("e", 400, day=3)), mtime=0)[:-700])
    night.put("windows/f.json", lines(message()))
    night.sql(
        "create table orders (id integer, order_date text, status text, device text)",
        "create table order_items (id integer, order_id integer, code_color text)",
        *[
            f"insert into orders values ({n}, '2016-02-0{n % 2 + 1} 12:{n % 60:02}:00', 'paid', '{device}')"
            for n, device in enumerate(["iPhone", "Android", "MobileWeb", "Desktop"] * 15)
        ],
        *[f"insert into order_items values ({n}, {n // 2}, '10_{n % 7:03}')" for n in range(122)],
        "update orders set order_date = 'soon' where id = 8",
    )
    return night


def second_night(first: Night, root: Path) -> Night:
    """Changed files (one had a copy), new and late ones, the cut file whole, a copy; orders added, moved, changed, deleted."""
    shutil.copytree(first.root, root)
    night = Night(root)
    night.put("iOS/2016-02-01/a.json", lines(*_messages("a", 300, day=0), *_messages("late", 50, day=-200)), 60)
    night.put("Android/2016-02-02/array.json", _array("other", day=1), 60)
    night.put("MobileWeb/2016-02-04/e.json.gz", gzip.compress(lines(*_messages("e", 400, day=3)), mtime=0), 60)
    night.put("iOS/2016-02-05/late.json", lines(*_messages("g", 300, day=-31)), 60)
    night.put("MobileWeb/2016-02-05/again.json", lines(*_messages("c", 200, day=2), *_messages("h", 90, day=4)), 60)
    night.put("iOS/2016-02-05/copy of b.json.gz", night.read("iOS/2016-02-01/b.json.gz"), 60)
    night.sql(
        "insert into orders values (900, '2016-02-03 09:00:00', 'paid', 'iPhone')",
        "insert into order_items values (900, 900, '10_001'), (901, 900, '10_001')",
        "update orders set order_date = '2015-12-24 18:00:00' where id = 4",
        "update orders set status = 'cancelled' where id = 5",
        "delete from orders where id = 6",
        "delete from order_items where order_id = 6",
        "update orders set order_date = 'later' where id = 16",
    )
    return night


def _messages(prefix: str, count: int, *, day: int) -> list[dict[str, Any]]:
    choose = random.Random(f"{prefix} {day}")
    return [
        message(
            event(f"10_{choose.randrange(7):03}", NOON + day * DAY + choose.randrange(-43_200_000, 43_200_000)),
            event(kind="other"),
            message_id=f"{prefix}-{number}",
        )
        for number in range(count)
    ]


def _array(prefix: str, *, day: int) -> bytes:
    """A pretty-printed array of messages without ids, one element broken."""
    messages = [{**item, "message_id": None} for item in _messages(prefix, 200, day=day)]
    return json.dumps(messages, indent=1).encode().replace(b'"product"', b'"product" oops', 1)


Rows = list[tuple[Any, ...]]


def tables(lake: Path) -> dict[str, Rows]:
    """What a reader of the newest publication sees, sorted, without what tells when it was done; of files the newest state.

    Fails where publications have not the numbers 1, 2, 3, ...
    """
    opened = Lake(str(lake))
    newest = newest_publication(opened)
    assert newest is not None, "nothing is published"
    numbers = sorted(opened.read(PUBLICATIONS, ["publication"])["publication"].to_pylist())
    assert numbers == list(range(1, len(numbers) + 1)), f"publications {numbers}"
    return {table.name: _rows(opened, table, newest[f"{table.name}_version"]) for table in PUBLISHED}


def _rows(lake: Lake, table: Table, version: int) -> Rows:
    rows = lake.read(table, version=version).to_pylist()
    if table is FILES:
        order = sorted(rows, key=lambda row: (row["batch"], row["recorded_at"]))
        rows = list({row["file_id"]: row for row in order}.values())
        assert all(row["state"] in STATES for row in rows)
    noise = _NOISE | ({"date"} if table is QUARANTINE else set())
    return sorted((tuple(row[name] for name in table.columns if name not in noise) for row in rows), key=repr)


def check_same(found: dict[str, Rows], wanted: dict[str, Rows], what: str) -> None:
    """Fails with the table and the first rows that differ."""
    for name, rows in wanted.items():
        if found[name] != rows:
            missing = [row for row in rows if row not in found[name]][:3]
            extra = [row for row in found[name] if row not in rows][:3]
            raise AssertionError(
                f"{what}: {name} has {len(found[name])} rows, wanted {len(rows)}; missing {missing}, extra {extra}"
            )


def copy_of(lake: Path, target: Path) -> Path:
    """A lake of one's own with the same content; paths in a lake are relative."""
    shutil.copytree(lake, target)
    return target
