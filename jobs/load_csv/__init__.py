"""Puts the two CSV files into the purchase database: SQLite, PostgreSQL or MySQL, by the same command.

    scripts/python.sh -m jobs.load_csv orders.csv order_items.csv
    scripts/python.sh -m jobs.load_csv orders.csv order_items.csv --url 'jdbc:postgresql://localhost:5432/shop?user=me'

Both files are checked to the end before the database is touched, and loaded in one transaction. A second load of the
same files changes nothing; a changed row is updated; rows that are only in the database stay.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jobs.config import Config, load_config
from jobs.errors import JobError, UsageError
from jobs.load_csv.database import Loaded, count_orphans, make_table, one_transaction, open_database, write_rows
from jobs.load_csv.rows import CsvFile, Kind, Shape, open_csv


def main(argv: Sequence[str] | None = None) -> int:
    """Loads the files that the arguments name; 0 done, 1 failed, 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        config = load_config()
        orders = open_csv(arguments.orders, order_shape(config))
        items = open_csv(arguments.order_items, item_shape(config))
        load(orders, items, config, arguments.url or config.purchases_url)
    except JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("stopped; nothing was loaded", file=sys.stderr)
        return 1
    return 0


def load(orders: CsvFile, items: CsvFile, config: Config, url: str) -> None:
    """Loads both files in one transaction and prints what that did.

    Raises:
        UsageError: the address of the database is not understood.
        JobError: a row does not fit, or the database fails; the database is as it was.
    """
    files = (orders, items)
    sizes = [file.check() for file in files]
    metadata = sa.MetaData()
    tables = (
        make_table(metadata, orders, config.orders_table, "order_date"),
        make_table(metadata, items, config.order_items_table, "order_id"),
    )
    password = config.purchases_password.get_secret_value() if config.purchases_password else None
    loaded: list[Loaded] = []
    with (
        open_database(url, config.purchases_user, password) as engine,
        _progress() as progress,
        one_transaction(engine, tables) as connection,
    ):
        for file, table, size in zip(files, tables, sizes, strict=True):
            task = progress.add_task(table.name, total=size)
            loaded.append(write_rows(connection, table, file.rows(), partial(progress.advance, task)))
        orphans = count_orphans(connection, tables[1], items.names["order_id"], tables[0])
    for file, table, done in zip(files, tables, loaded, strict=True):
        print(f"{table.fullname}: {done.new} new, {done.changed} changed, {done.unchanged} unchanged ({file.path})")
    if orphans:
        print(
            f"warning: {orphans} rows of {tables[1].fullname} have no order in {tables[0].fullname}: "
            "they are no purchases until it is loaded",
            file=sys.stderr,
        )


def order_shape(config: Config) -> Shape:
    """What the file of orders must have."""
    names = config.columns
    return Shape(
        config.orders_table,
        {
            "id": (Kind.KEY, names.order_id),
            "order_date": (Kind.MOMENT, names.order_date),
            "status": (Kind.TEXT, names.order_status),
            "device": (Kind.TEXT, names.order_device),
        },
        dict.fromkeys(("order_subtotal", "order_discount", "order_total", "shipping_cost"), Kind.AMOUNT),
    )


def item_shape(config: Config) -> Shape:
    """What the file of order items must have."""
    names = config.columns
    return Shape(
        config.order_items_table,
        {
            "id": (Kind.KEY, names.item_id),
            "order_id": (Kind.KEY, names.item_order_id),
            "product": (Kind.TEXT, names.item_product),
        },
        {"quantity": Kind.COUNT},
    )


def _progress() -> Progress:
    """A bar a table, on a terminal only."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/python.sh -m jobs.load_csv",
        description="Puts the two CSV files into the purchase database; a second load of the same files changes nothing.",
    )
    parser.add_argument("orders", type=Path, metavar="ORDERS.csv", help="one row for each order")
    parser.add_argument("order_items", type=Path, metavar="ORDER_ITEMS.csv", help="one row for each item of an order")
    parser.add_argument(
        "--url",
        help="jdbc:sqlite:FILE, jdbc:postgresql://HOST:PORT/DB or jdbc:mysql://HOST:PORT/DB (default: CTR_PURCHASES_URL or "
        "conf/ctr.toml); user and password: CTR_PURCHASES_USER, CTR_PURCHASES_PASSWORD",
    )
    return parser
