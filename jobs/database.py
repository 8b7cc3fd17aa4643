"""Reading the purchase database by Spark's JDBC source: every column as text, so that no driver changes a value on the way.

Drivers do change values (SQLite: INTEGER arrives as 32 bits, an empty text in a numeric column as 0, DATETIME without its time), so
the query casts to text and Spark casts to the types of the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, DataFrameReader, SparkSession

from jobs.config import ROOT, Config
from jobs.errors import JobError, UsageError
from jobs.memory import WORKER_GONE

T = TypeVar("T")

_DRIVERS = {
    "sqlite": "org.sqlite.JDBC",
    "postgresql": "org.postgresql.Driver",
    "mysql": "com.mysql.cj.jdbc.Driver",
}
_OF_A_WORKER = ("org.apache.spark.api.python.PythonException", WORKER_GONE)
_TEXT = {"sqlite": "text", "postgresql": "text", "mysql": "char"}
_MYSQL_UTC = "connectionTimeZone=UTC&forceConnectionTimeZoneToSession=true"


def find_columns(
    spark: SparkSession, config: Config, table: str, columns: dict[str, tuple[str, ...]]
) -> dict[str, str]:
    """Each wanted column (the keys) by its name in the database, quoted; of several possible names the first it has is taken.

    Raises:
        JobError: the database cannot be reached, or has no such table or column.
    """
    empty = f"(select * from {table} where 1 = 0) t"
    found = asking(config, lambda: _reader(spark, config).option("dbtable", empty).load())
    kind = dialect(config.purchases_url)
    return {key: _quoted(kind, _first(config, table, found.columns, possible)) for key, possible in columns.items()}


def read_columns(
    spark: SparkSession, config: Config, table: str, columns: dict[str, str], condition: str | None = None
) -> DataFrame:
    """Columns that ``find_columns`` gave, as text under the names of their keys, of the rows for which a condition holds.

    Raises:
        JobError: the database cannot be read.
    """
    texts = ", ".join(f"{as_text(config, name)} as {key}" for key, name in columns.items())
    query = f"(select {texts} from {table}{f' where {condition}' if condition else ''}) t"
    schema = ", ".join(f"{key} string" for key in columns)
    return asking(config, lambda: _reader(spark, config).option("dbtable", query).option("customSchema", schema).load())


def count_repeated(spark: SparkSession, config: Config, table: str, column: str, condition: str | None = None) -> int:
    """How many rows of a table have a value in a column that another row has already; NULLs do not count.

    Raises:
        JobError: the database cannot be read.
    """
    counted = {"repeated": f"count({column}) - count(distinct {column})"}
    [row] = asking(config, read_columns(spark, config, table, counted, condition).collect)
    return int(row["repeated"])


def as_text(config: Config, column: str) -> str:
    """The SQL of a column's value as text."""
    return f"cast({column} as {_TEXT[dialect(config.purchases_url)]})"


def asking(config: Config, ask: Callable[[], T]) -> T:
    """Runs something that talks to the database.

    Raises:
        JobError: it failed; one line names the database and the reason.
    """
    try:
        return ask()
    except (Py4JJavaError, PySparkException) as error:
        if any(text in str(error) for text in _OF_A_WORKER):
            raise  # not the database: a worker
        raise JobError(
            f"the purchase database {shown(config.purchases_url)} cannot be read: {_reason(error)}; "
            "check CTR_PURCHASES_URL, the user and password, and that both tables are loaded (scripts/python.sh -m jobs.load_csv)"
        ) from None


def dialect(url: str) -> str:
    """The kind of database: sqlite, postgresql or mysql."""
    return url.split(":", 2)[1]


def shown(url: str) -> str:
    """The address without user and password, for messages."""
    return re.sub(r"(?i)(user|password)=[^&]*", r"\1=...", re.sub(r"//[^/@]*@", "//", url))


def check_database(config: Config) -> None:
    """Returns if the database may be that of the lake, and, where it is a SQLite file, is there.

    Raises:
        UsageError: it is the sample's, which stands in the settings as they are delivered, and the lake is another's.
        JobError: there is no such file; SQLite's driver would make an empty database.
    """
    url = config.purchases_url
    if dialect(url) != "sqlite":
        return
    file = Path(url.removeprefix("jdbc:sqlite:").partition("?")[0])
    if _is_sample(file) and not Path(config.lake).resolve().is_relative_to(_sample()):
        raise UsageError(
            f"purchases_url is {url}, the database of the sample, and the lake {config.lake} is not below {_sample()}: "
            "set CTR_PURCHASES_URL to the database of your orders"
        )
    if not file.is_file():
        raise JobError(
            f"no purchase database at {file}; load the two CSV files first: "
            f"scripts/python.sh -m jobs.load_csv ORDERS.csv ORDER_ITEMS.csv --url {url}"
        )


def _sample() -> Path:
    """The folder that holds the sample and its lake."""
    return (ROOT / "data").resolve()


def _is_sample(file: Path) -> bool:
    return file.resolve() == _sample() / "sample" / "purchases.db"


def _reader(spark: SparkSession, config: Config) -> DataFrameReader:
    kind = dialect(config.purchases_url)
    check_database(config)
    reader = spark.read.format("jdbc").option("driver", _DRIVERS[kind]).option("fetchsize", "10000")
    url = config.purchases_url
    if kind == "mysql":
        url += ("&" if "?" in url else "?") + _MYSQL_UTC
    if config.purchases_user:
        reader = reader.option("user", config.purchases_user)
    if config.purchases_password:
        reader = reader.option("password", config.purchases_password.get_secret_value())
    return reader.option("url", url)


def _first(config: Config, table: str, found: list[str], possible: tuple[str, ...]) -> str:
    lower = {name.lower(): name for name in found}
    for name in possible:
        if name.lower() in lower:
            return lower[name.lower()]
    raise JobError(
        f"table {table} of {shown(config.purchases_url)} has no column {' or '.join(possible)} "
        f"(it has {', '.join(found)}); name yours under [columns] in conf/ctr.toml"
    )


def _quoted(kind: str, name: str) -> str:
    mark = "`" if kind == "mysql" else '"'
    return mark + name.replace(mark, mark * 2) + mark


def _reason(error: Exception) -> str:
    """The innermost cause, one line, without a stack."""
    java = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    text = str(error)
    if java is not None:
        while java.getCause() is not None:
            java = java.getCause()
        text = java.toString()
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return shown(re.sub(r"^(?:[\w$]+\.)+[\w$]+:\s*", "", line))[:300]
