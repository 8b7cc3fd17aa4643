"""What all SQL of the service is made with: a statement with its values, and the rows of a Delta table.

Values are bound; only names of segments that ``segments`` made are put into a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from serving.contract import PARTITION, TABLES
from serving.state.files import is_partitioned


@dataclass(frozen=True)
class Query:
    """A statement and the values bound to its ``$names``."""

    sql: str
    values: dict[str, Any] = field(default_factory=dict)


def literal(text: str) -> str:
    """A text as an SQL literal, for the few statements that take no bound values (``ATTACH``, ``SET``)."""
    return "'" + text.replace("'", "''") + "'"


def checked(name: str) -> str:
    """A name that is put into a statement.

    Raises:
        ValueError: it is not one that ``segments`` made.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"not a table name: {name!r}")
    return name


def bind(prefix: str, items: Iterable[str], values: dict[str, Any]) -> str:
    """Bind each item under a name of its own and give the list of names."""
    names = []
    for number, item in enumerate(items):
        values[f"{prefix}{number}"] = item
        names.append(f"${prefix}{number}")
    return ", ".join(names)


_SQL_TYPES = {
    pa.date32(): "DATE",
    pa.string(): "VARCHAR",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
}
"""What DuckDB calls the types of ``contract.TABLES``."""


def stored(table: str, paths: Sequence[str], name: str, values: dict[str, Any]) -> str:
    """The rows of some data files of a Delta table, with the columns of ``contract.TABLES``: what stands behind ``FROM``.

    Args:
        table: the table.
        paths: of the data files; for none of them there are no rows.
        name: what the paths are bound as.
        values: gets the paths.
    """
    types = {field.name: _SQL_TYPES[field.type] for field in TABLES[table]}
    if not paths:
        return f"(SELECT {', '.join(f'NULL::{kind} AS {column}' for column, kind in types.items())} WHERE false)"
    values[name] = list(paths)
    selected = ", ".join(f"{column}::{kind} AS {column}" for column, kind in types.items())
    # A column that was added to the table later is not in its older files.
    hive = ", ".join(f"{column}: '{types[column]}'" for column in PARTITION)
    options = (
        f"hive_partitioning = true, hive_types = {{{hive}}}" if is_partitioned(table) else "hive_partitioning = false"
    )
    return f"(SELECT {selected} FROM read_parquet(${name}, union_by_name = true, {options}))"
