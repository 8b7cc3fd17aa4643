"""The lake of the serving benchmark: every product on every platform in every hour, written without Spark."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from serving.contract import PARTITION, PLATFORMS, PUBLICATIONS, TABLES

LAST_DAY = date(2016, 2, 29)
"""The newest day of every lake; longer histories begin earlier."""

_UTC = timezone.utc


@dataclass(frozen=True)
class Size:
    """How much a lake holds."""

    days: int
    products: int
    minute_days: int
    """Newest days that have minutes; older ones have hours and days only."""

    @property
    def name(self) -> str:
        """The lake's folder, and what the report calls it."""
        return f"{self.days}-days-{self.products}-products-{self.minute_days}-days-of-minutes"

    @property
    def words(self) -> str:
        """The same in words."""
        minutes = (
            "minutes of all of them"
            if self.minute_days == self.days
            else (
                f"minutes of the newest {self.minute_days} days, of the {self.days - self.minute_days} before hours and days only"
            )
        )
        rows = f"{self.hour_rows:,} rows by the hour"
        return f"{self.days} days, {len(PLATFORMS)} platforms, {self.products:,} products: {rows}; {minutes}"

    @property
    def first_day(self) -> date:
        """The oldest day."""
        return LAST_DAY - timedelta(days=self.days - 1)

    @property
    def hour_rows(self) -> int:
        """Rows of ``ctr_hour``."""
        return self.days * 24 * self.products * len(PLATFORMS)


def product_name(number: int) -> str:
    """The name of a product, of the form that the case has."""
    return f"{20_000_000 + number * 37 % 9_000_000:08}_{number % 1000:03}"


def make_lake(cache: Path, size: Size) -> Path:
    """The root of a lake of that size; one that is whole already is kept."""
    root = cache / "lake" / size.name
    if (root / "publications").exists():
        return root
    connection = duckdb.connect(config={"threads": 2})
    names = [product_name(number) for number in range(size.products)]
    connection.register("names", pa.table({"number": pa.array(range(size.products), pa.int64()), "product": names}))
    for past in range(size.days):
        day = size.first_day + timedelta(days=past)
        _write_day(connection, root, day, with_minutes=past >= size.days - size.minute_days)
    write_deltalake(str(root / "coverage"), _coverage(size))
    publish(root, 1)
    return root


def _write_day(connection: duckdb.DuckDBPyConnection, root: Path, day: date, with_minutes: bool) -> None:
    connection.execute(_MINUTES, {"day": day, "platforms": list(PLATFORMS)})
    for table, unit in (("ctr_minute", "minute"), ("ctr_hour", "hour"), ("ctr_day", "day")):
        if table == "ctr_minute" and not with_minutes:
            continue
        rows = connection.execute(
            f"SELECT date, platform, product, date_trunc('{unit}', time) AS time, sum(views)::BIGINT AS views, "
            "sum(purchases)::BIGINT AS purchases FROM minutes GROUP BY ALL ORDER BY platform, product, time"
        ).to_arrow_table()
        write_deltalake(str(root / table), rows.cast(TABLES[table]), mode="append", partition_by=list(PARTITION))


_MINUTES = """
    CREATE OR REPLACE TEMP TABLE minutes AS
    SELECT $day::DATE AS date, platform, product,
           ($day::TIMESTAMP + to_hours(hour) + to_minutes(20 * part + (mix >> 8) % 20)) AT TIME ZONE 'UTC' AS time,
           1 + (mix >> 16) % 5 AS views, ((mix >> 32) % 40 = 0)::BIGINT AS purchases
    FROM (
        SELECT *, (hash(product, platform, hour, part, $day::DATE) >> 8)::BIGINT AS mix
        FROM names, unnest($platforms::VARCHAR[]) AS p(platform), range(24) AS h(hour), range(3) AS m(part)
    ) WHERE part = 0 OR mix % 2 = 0
"""
"""One to three minutes of each hour, at random; no hour is without a view."""


def _coverage(size: Size) -> pa.Table:
    rows = []
    for past in range(size.days):
        day = size.first_day + timedelta(days=past)
        last = datetime(day.year, day.month, day.day, 23, 59, tzinfo=_UTC)
        rows += [
            {"date": day, "platform": platform, "views": 1, "purchases": 1, "last_view": last, "last_purchase": last}
            for platform in PLATFORMS
        ]
    return pa.Table.from_pylist(rows, schema=TABLES["coverage"])


def publish(root: Path, number: int) -> None:
    """Publish all tables as they are, and empty ones for those that are not there."""
    tables = [table for table in TABLES if (root / table).exists()]
    for table in set(TABLES) - set(tables):
        write_deltalake(str(root / table), TABLES[table].empty_table(), partition_by=list(PARTITION))
    row = {
        "publication": number,
        "published_at": datetime(2016, 3, 1, 3, tzinfo=_UTC),
        "job": "backfill",
        "report": json.dumps({}),
        **{f"{table}_version": DeltaTable(str(root / table)).version() for table in TABLES},
    }
    write_deltalake(str(root / "publications"), pa.Table.from_pylist([row], schema=PUBLICATIONS), mode="append")
