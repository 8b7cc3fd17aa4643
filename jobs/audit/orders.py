"""Counts the purchases of cells again: both tables row by row through SQLAlchemy, joined by a dictionary."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from jobs.audit.cells import Cell
from jobs.config import Config
from jobs.errors import JobError
from jobs.lake import Partition
from jobs.load_csv.database import open_database

_LOCAL_TIME = re.compile(r"\s*(\d{4})-(\d{2})-(\d{2})(?:[ T](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d+))?)?)?\s*", re.ASCII)
_ROWS = 10_000


def count_purchases(config: Config, cells: list[Cell]) -> Counter[Cell]:
    """The purchases of each cell: order items whose order is of the cell's platform and time (design, section 1).

    Raises:
        JobError: the database cannot be read.
    """
    password = config.purchases_password.get_secret_value() if config.purchases_password else None
    counts: Counter[Cell] = Counter()
    with open_database(config.purchases_url, config.purchases_user, password) as engine, engine.connect() as connection:
        orders = _orders(connection, config, {cell.partition for cell in cells})
        by_product: dict[tuple[str | None, Partition], list[Cell]] = defaultdict(list)
        for cell in cells:
            by_product[cell.product, cell.partition].append(cell)
        names = config.columns
        for order_id, product in _rows(connection, config.order_items_table, names.item_order_id, names.item_product):
            if product is None or not product.strip(" "):
                continue
            if order_id not in orders:
                continue
            time, platform = orders[order_id]
            day = time.date(), platform
            there = [*by_product.get((product, day), ()), *by_product.get((None, day), ())]
            counts.update(cell for cell in there if cell.start <= time < cell.end)
    return counts


def _orders(
    connection: sa.Connection, config: Config, partitions: set[tuple[object, str]]
) -> dict[str | None, tuple[datetime, str]]:
    """Time (UTC) and platform of the orders of these days, by the order's id; of several rows of an id the largest counts.

    The table is read twice, so that only ids with a row on these days are held; the largest may be of another day.
    """
    zone = ZoneInfo(config.orders_timezone)
    excluded = {status.lower() for status in config.excluded_statuses}
    names = config.columns
    wanted = (names.order_id, names.order_date, names.order_status, names.order_device)

    def place(date: str | None, status: str | None, device: str | None) -> tuple[datetime, str] | None:
        platform = config.platform_of_device.get((device or "").strip(" ").lower())
        time = _utc(date, zone)
        if platform is None or time is None or (status or "").strip(" ").lower() in excluded:
            return None
        return (time, platform) if (time.date(), platform) in partitions else None

    held = {order_id for order_id, *row in _rows(connection, config.orders_table, *wanted) if place(*row)}
    largest: dict[str | None, list[str | None]] = {}
    for order_id, *row in _rows(connection, config.orders_table, *wanted):
        if order_id in held:
            largest[order_id] = max(row, largest.get(order_id, row), key=_rank)
    return {order_id: found for order_id, row in largest.items() if (found := place(*row))}


def _rank(row: list[str | None]) -> list[tuple[bool, str]]:
    """What puts rows in order: the texts one after another, nothing before any text."""
    return [(text is not None, text or "") for text in row]


def _rows(connection: sa.Connection, table: str, *columns: tuple[str, ...]) -> Iterator[tuple[str | None, ...]]:
    """The wanted columns of every row as text; of several possible names the first that the table has."""
    schema, _, plain = table.rpartition(".")
    there = {
        column["name"].lower(): column["name"] for column in sa.inspect(connection).get_columns(plain, schema or None)
    }
    names = [next((there[name.lower()] for name in possible if name.lower() in there), None) for possible in columns]
    for name, possible in zip(names, columns, strict=True):
        if name is None:
            raise JobError(
                f"table {table} has no column {' or '.join(possible)} (it has {', '.join(there.values())}); "
                "name yours under [columns] in conf/ctr.toml"
            )
    source = sa.table(plain, *(sa.column(name) for name in names if name), schema=schema or None)
    texts = sa.select(*(sa.cast(column, sa.Text) for column in source.columns))
    for row in connection.execution_options(yield_per=_ROWS).execute(texts):
        yield tuple(row)


def _utc(text: str | None, zone: ZoneInfo) -> datetime | None:
    """The time of a local date-time; None for what is none. A local time that exists twice is the first."""
    match = _LOCAL_TIME.fullmatch(text or "")
    if not match:
        return None
    year, month, day, hour, minute, second, fraction = match.groups(default="0")
    micros = int(fraction.ljust(6, "0")[:6])
    try:
        local = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), micros)
        return local.replace(tzinfo=zone).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
