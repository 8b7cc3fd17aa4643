"""Builds a lake from literal rows, by ``deltalake`` and the service's own contract: no job, no Spark."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from serving.contract import GRAINS, PARTITION, PUBLICATIONS, TABLES

UTC = timezone.utc


def at(text: str) -> datetime:
    """A UTC instant from ``2016-01-03 13:55:00``, with or without a fraction."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def view(
    time: str,
    product: str = "p1",
    platform: str = "iOS",
    message_id: str | None = None,
    position: int = 0,
) -> dict[str, Any]:
    """One row of ``views``."""
    moment = at(time)
    return {
        "date": moment.date(),
        "platform": platform,
        "product": product,
        "time": moment,
        "message_id": message_id,
        "position": position,
    }


def purchase(time: str, product: str = "p1", platform: str = "iOS") -> dict[str, Any]:
    """One row of ``purchases``."""
    moment = at(time)
    return {"date": moment.date(), "platform": platform, "product": product, "time": moment}


def views_once(views: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the copies of each view the smallest (time, product); views without a message id are all kept."""
    kept: dict[Any, dict[str, Any]] = {}
    for number, row in enumerate(views):
        key: Any = (row["platform"], row["date"], row["message_id"], row["position"])
        if row["message_id"] is None:
            key = number
        old = kept.get(key)
        if old is None or (row["time"], row["product"].encode()) < (old["time"], old["product"].encode()):
            kept[key] = row
    return list(kept.values())


def rollup(rows: Iterable[tuple[dict[str, Any], str]], seconds: int) -> list[dict[str, Any]]:
    """The rows of a ``ctr_*`` table; each row comes with the name of what it counts as."""
    cells: dict[Any, dict[str, Any]] = {}
    for row, kind in rows:
        time = datetime.fromtimestamp(int(row["time"].timestamp()) // seconds * seconds, UTC)
        key = (row["platform"], row["product"], time)
        cell = cells.setdefault(
            key,
            {
                "date": row["date"],
                "platform": row["platform"],
                "product": row["product"],
                "time": time,
                "views": 0,
                "purchases": 0,
            },
        )
        cell[kind] += 1
    return list(cells.values())


def coverage(views: Iterable[dict[str, Any]], purchases: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of ``coverage``."""
    days: dict[Any, dict[str, Any]] = {}
    for kind, rows, last in (("views", views, "last_view"), ("purchases", purchases, "last_purchase")):
        for row in rows:
            key = (row["date"], row["platform"])
            day = days.setdefault(
                key,
                {
                    "date": row["date"],
                    "platform": row["platform"],
                    "views": 0,
                    "purchases": 0,
                    "last_view": None,
                    "last_purchase": None,
                },
            )
            day[kind] += 1
            day[last] = max(day[last] or row["time"], row["time"])
    return list(days.values())


@dataclass
class Lake:
    """A lake on disk. ``publish`` replaces all tables by what the rows say and adds a row to ``publications``."""

    path: Path
    publication: int = 0
    versions: dict[str, int] = field(default_factory=dict)

    def publish(
        self,
        views: Iterable[dict[str, Any]] = (),
        purchases: Iterable[dict[str, Any]] = (),
        published_at: str = "2024-01-01 00:00:00",
        report: dict[str, Any] | None = None,
    ) -> int:
        """Write every table and publish it; gives the number of the publication."""
        views, purchases = list(views), list(purchases)
        once = views_once(views)
        counted = [(row, "views") for row in once] + [(row, "purchases") for row in purchases]
        self.write("views", views)
        self.write("purchases", purchases)
        for table, seconds in GRAINS.items():
            self.write(table, rollup(counted, seconds))
        self.write("coverage", coverage(once, purchases))
        return self.announce(published_at, report=report)

    def write(self, table: str, rows: list[dict[str, Any]], mode: str = "overwrite") -> int:
        """One commit to a table; gives its version."""
        schema = TABLES[table]
        write_deltalake(
            str(self.path / table),
            pa.Table.from_pylist(rows, schema=schema),
            mode=mode,  # type: ignore[arg-type]
            partition_by=None if table == "coverage" else list(PARTITION),
        )
        self.versions[table] = DeltaTable(str(self.path / table)).version()
        return self.versions[table]

    def announce(
        self,
        published_at: str = "2024-01-01 00:00:00",
        report: dict[str, Any] | None = None,
        **versions: int | None,
    ) -> int:
        """Add a row to ``publications`` that names the versions as they are, or those given (``ctr_hour=99``)."""
        self.publication += 1
        named: dict[str, int | None] = {**self.versions, **versions}
        row = {
            "publication": self.publication,
            "published_at": at(published_at),
            "job": "daily",
            "report": json.dumps(report or {}),
            **{f"{table}_version": version for table, version in named.items()},
        }
        write_deltalake(
            str(self.path / "publications"), pa.Table.from_pylist([row], schema=PUBLICATIONS), mode="append"
        )
        return self.publication

    def remove(self) -> None:
        """Delete the whole lake; the next publication has the number 1 again."""
        shutil.rmtree(self.path)
        self.publication = 0
        self.versions.clear()
