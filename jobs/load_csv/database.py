"""The purchase database for writing: a JDBC address understood by SQLAlchemy, tables with types, rows put in or updated."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.types import TypeEngine

from jobs.errors import JobError, UsageError
from jobs.load_csv.rows import CsvFile, Kind, Row, Value

_BATCH = 1000
_CONNECT_SECONDS = 10
_TYPES: dict[Kind, TypeEngine[Any]] = {
    # SQLite: only INTEGER PRIMARY KEY is its row number; a declared DATETIME loses its time in the JDBC driver.
    Kind.KEY: sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
    Kind.MOMENT: sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql").with_variant(sa.Text(), "sqlite"),
    Kind.AMOUNT: sa.Numeric(18, 4).with_variant(sa.Float(), "sqlite"),
    Kind.COUNT: sa.BigInteger(),
    Kind.TEXT: sa.Text(),
}


@dataclass
class Loaded:
    """What a load did to one table."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0


@contextmanager
def open_database(url: str, user: str | None, password: str | None) -> Iterator[sa.Engine]:
    """An engine for a JDBC address; whatever the database says becomes one clear line.

    Raises:
        UsageError: the address is not understood.
        JobError: the database cannot be reached or refuses a statement.
    """
    engine = _engine(url, user, password)
    try:
        yield engine
    except (sa.exc.SQLAlchemyError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
        shown = engine.url.render_as_string(hide_password=True)
        raise JobError(
            f"the purchase database {shown} failed: {reason[0]}; nothing was loaded; "
            "check --url (or CTR_PURCHASES_URL), the user and the password, and that the database runs"
        ) from None
    finally:
        engine.dispose()


def make_table(metadata: sa.MetaData, file: CsvFile, name: str, indexed: str) -> sa.Table:
    """The table for a file's columns, with its primary key and an index on one wanted column."""
    schema, _, plain = name.rpartition(".")
    key, index = file.names[file.shape.key], file.names[indexed]
    columns = [
        sa.Column(
            column,
            _TYPES[kind],
            primary_key=column == key,
            autoincrement=False,
            nullable=kind not in (Kind.KEY, Kind.MOMENT),
        )
        for column, kind in zip(file.columns, file.kinds, strict=True)
    ]
    table = sa.Table(plain, metadata, *columns, schema=schema or None, mysql_charset="utf8mb4")
    sa.Index(f"ix_{plain}_{index}", table.c[index])
    return table


@contextmanager
def one_transaction(engine: sa.Engine, tables: Iterable[sa.Table]) -> Iterator[sa.Connection]:
    """A transaction in which the tables exist; if it fails, the database is as it was before.

    MySQL commits each CREATE by itself: there, tables that were made for a failed load are dropped again.
    """
    with engine.connect() as connection:
        made: list[sa.Table] = []
        try:
            with connection.begin():
                for table in tables:
                    if _create(connection, table):
                        made.append(table)
                yield connection
        except BaseException:
            if engine.dialect.name == "mysql":
                with connection.begin():
                    for table in reversed(made):
                        table.drop(connection)
            raise


def write_rows(
    connection: sa.Connection, table: sa.Table, rows: Iterable[Row], seen: Callable[[int], object]
) -> Loaded:
    """Puts in the rows that are new, updates those that differ; ``seen`` is told the size of each batch."""
    loaded = Loaded()
    upsert = _upsert(connection.dialect.name, table)
    names = [column.name for column in table.columns]
    key = next(iter(table.primary_key.columns))
    place = names.index(key.name)
    wanted = sa.select(*table.columns)
    convert = _sqlite_value if connection.dialect.name == "sqlite" else _same_value
    source = iter(rows)
    while batch := [tuple(convert(value) for value in row.values) for row in islice(source, _BATCH)]:
        there = connection.execute(wanted.where(key.in_([values[place] for values in batch])))
        known = {row[place]: tuple(row) for row in there}
        different = [values for values in batch if known.get(values[place]) != values]
        if different:
            connection.execute(upsert, [dict(zip(names, values, strict=True)) for values in different])
        changed = sum(values[place] in known for values in different)
        loaded.new += len(different) - changed
        loaded.changed += changed
        loaded.unchanged += len(batch) - len(different)
        seen(len(batch))
    return loaded


def count_orphans(connection: sa.Connection, items: sa.Table, order_id: str, orders: sa.Table) -> int:
    """Rows of items whose order is not there."""
    key = next(iter(orders.primary_key.columns))
    joined = items.outerjoin(orders, items.c[order_id] == key)
    count = connection.scalar(sa.select(sa.func.count()).select_from(joined).where(key.is_(None)))
    return int(count or 0)


def _create(connection: sa.Connection, table: sa.Table) -> bool:
    """Makes the table unless it is there; one that is there must have the columns and the key. True if it was made."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(table.name, schema=table.schema):
        table.create(connection)
        return True
    found = [column["name"] for column in inspector.get_columns(table.name, schema=table.schema)]
    missing = [column.name for column in table.columns if column.name not in found]
    if missing:
        raise JobError(
            f"the table {table.fullname} has no column {', '.join(missing)} (it has {', '.join(found)}); "
            "load into another database, or rename the columns of the CSV file or of the table"
        )
    key = inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"]
    wanted = [column.name for column in table.primary_key.columns]
    if key != wanted:
        raise JobError(
            f"the primary key of the table {table.fullname} is ({', '.join(key)}), wanted ({wanted[0]}): "
            "without it a row cannot be found again; add the key or load into another database"
        )
    for index in table.indexes:
        index.create(connection, checkfirst=True)
    return False


def _upsert(dialect: str, table: sa.Table) -> sa.Insert:
    key = [column.name for column in table.primary_key.columns]
    others = [column.name for column in table.columns if column.name not in key]
    if dialect == "mysql":
        put = mysql.insert(table)
        return put.on_duplicate_key_update({name: put.inserted[name] for name in others})
    insert = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    return insert.on_conflict_do_update(index_elements=key, set_={name: insert.excluded[name] for name in others})


def _same_value(value: Value) -> object:
    return value


def _sqlite_value(value: Value) -> object:
    """SQLite has neither date-times nor decimals: ISO text and floats, which come back as they went."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return float(value) if isinstance(value, Decimal) else value


def _engine(url: str, user: str | None, password: str | None) -> sa.Engine:
    if url.startswith("jdbc:sqlite:"):
        return _sqlite(Path(url.removeprefix("jdbc:sqlite:").partition("?")[0]))
    drivers = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
    wrong = UsageError(
        f"--url {_without_secrets(url)} is not understood; "
        "wanted jdbc:sqlite:FILE, jdbc:postgresql://HOST:PORT/DB or jdbc:mysql://HOST:PORT/DB"
    )
    try:
        parts = urlsplit(url.removeprefix("jdbc:"))
        port = parts.port
    except ValueError:
        raise wrong from None
    options = dict(parse_qsl(parts.query))
    database = unquote(parts.path.strip("/"))
    if not url.startswith("jdbc:") or parts.scheme not in drivers or not database:
        raise wrong
    address = sa.URL.create(
        drivers[parts.scheme],
        username=user or options.get("user") or (unquote(parts.username) if parts.username else None),
        password=password or options.get("password") or (unquote(parts.password) if parts.password else None),
        host=parts.hostname or "localhost",
        port=port,
        database=database,
    )
    return sa.create_engine(address, connect_args=_connect_arguments(parts.scheme, options))


def _sqlite(file: Path) -> sa.Engine:
    if file.is_dir() or file.name == "":
        raise UsageError(f"--url jdbc:sqlite:{file} names no file; wanted jdbc:sqlite:FILE")
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(file)))

    # The driver would begin a transaction only at the first INSERT, after CREATE TABLE: SQLAlchemy's own recipe.
    @sa.event.listens_for(engine, "do_connect")
    def make_folder(*_: object) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)

    @sa.event.listens_for(engine, "connect")
    def no_own_transactions(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own class
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _connect_arguments(kind: str, options: dict[str, str]) -> dict[str, object]:
    """What the driver needs of a JDBC address' options: encryption and schema; tuning of JDBC alone is passed over."""
    arguments: dict[str, object] = {"connect_timeout": _CONNECT_SECONDS}
    if kind == "postgresql":
        if options.get("ssl") == "true":
            arguments["sslmode"] = "verify-full"
        arguments |= {name: options[name] for name in ("sslmode", "sslrootcert") if name in options}
        if "currentSchema" in options:
            arguments["options"] = f"-csearch_path={options['currentSchema']}"
        return arguments
    arguments["charset"] = "utf8mb4"
    mode = options.get("sslMode", "REQUIRED" if options.get("useSSL") == "true" else "")
    if mode in ("REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"):
        context = ssl.create_default_context()
        context.check_hostname = mode == "VERIFY_IDENTITY"
        context.verify_mode = ssl.CERT_NONE if mode == "REQUIRED" else ssl.CERT_REQUIRED
        arguments["ssl"] = context
    return arguments


def _without_secrets(url: str) -> str:
    """The address up to its options, without user and password."""
    scheme, slashes, rest = url.partition("?")[0].partition("//")
    return scheme + slashes + rest.rpartition("@")[2]
