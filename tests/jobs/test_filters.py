"""Every combination of filters on the tables of the jobs, in every reader, gives the rows that plain Python picks.

Data files carry statistics that the jobs write, checkpoints copy them, and each reader skips files by its own reading of them: a
fault there loses rows without a word. So each reader reads every state that a table can be in.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from rich.console import Console

from jobs import rollback, sql
from jobs.lake import Lake
from jobs.maintain import maintain
from jobs.progress import Stages
from jobs.publish import newest_publication
from jobs.schemas import CTR_DAY, CTR_HOUR, CTR_MINUTE, PURCHASES, QUARANTINE, VIEWS
from tests.jobs.lakes import copy_lake
from tests.jobs.test_run import World
from tests.rows import event, lines, message

pytestmark = [pytest.mark.spark, pytest.mark.slow]

QUIET = Console(quiet=True)
TABLES = {table.name: table for table in (VIEWS, PURCHASES, CTR_MINUTE, CTR_HOUR, CTR_DAY)}
LARGE = {**TABLES, QUARANTINE.name: QUARANTINE}
STATES = ("no checkpoint", "one checkpoint", "three checkpoints", "compacted", "rolled back", "vacuumed")
COLUMNS = ("date", "platform", "product", "time")
DAY = date(2016, 2, 3)
LONG = "x" * 60
"""Longer than Spark keeps in its own statistics."""

PRODUCTS = ["a", "b", "it's", LONG, "\uff5e", "\U0001f600"]
"""The last two are in another order in UTF-8 than in UTF-16, which Java compares by."""


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def day(offset: int) -> date:
    return DAY + timedelta(days=offset)


TIMES = {
    "views": "2016-02-03 12:00:00.123",
    "purchases": "2016-02-03 23:59:59.999999",
    "ctr_minute": "2016-02-03 12:00:00",
    "ctr_hour": "2016-02-03 12:00:00",
    "ctr_day": "2016-02-03 00:00:00",
}
"""A time that each table has: to the millisecond in events; to the microsecond in the database, the last of its file there, as
statistics have milliseconds."""


def filters(table: str) -> dict[str, dict[str, list[Any]]]:
    """The values of each kind of filter on each column."""
    moment = instant(TIMES[table])
    return {
        "date": {"=": [DAY], "IN": [day(-1), day(1)], "BETWEEN": [day(-1), DAY]},
        "platform": {"=": ["iOS"], "IN": ["iOS"], "BETWEEN": ["Android", "MobileWeb"]},
        "product": {"=": ["b"], "IN": ["\U0001f600", "unknown"], "BETWEEN": ["b", "\uff5e"]},
        "time": {"=": [moment], "IN": [moment], "BETWEEN": [moment - timedelta(days=1), moment]},
    }


COMBINATIONS = list(itertools.product((None, "=", "IN", "BETWEEN"), repeat=len(COLUMNS)))
Condition = list[tuple[str, str, list[Any]]]
Row = tuple[Any, ...]


def conditions(table: str) -> list[Condition]:
    """Every combination: column, kind and values of each filter in it."""
    values = filters(table)
    return [
        [(column, kind, values[column][kind]) for column, kind in zip(COLUMNS, kinds, strict=True) if kind]
        for kinds in COMBINATIONS
    ]


def holds(value: object, kind: str, values: list[Any]) -> bool:
    """The plain meaning of a filter; texts are compared by their bytes in UTF-8."""
    found, *bounds = (item.encode() if isinstance(item, str) else item for item in (value, *values))
    return bounds[0] <= found <= bounds[1] if kind == "BETWEEN" else found in bounds


class Picked:
    """What each combination picks of the rows of a table: those that every one of its filters picks."""

    def __init__(self, table: str, rows: list[Row]) -> None:
        self.rows = rows
        self._places = {
            (column, kind): {place for place, row in enumerate(rows) if holds(row[index], kind, values)}
            for index, column in enumerate(COLUMNS)
            for kind, values in filters(table)[column].items()
        }

    def by(self, condition: Condition) -> list[Row]:
        places = set(range(len(self.rows))).intersection(*(self._places[column, kind] for column, kind, _ in condition))
        return [self.rows[place] for place in places]


@pytest.fixture(scope="module")
def states(spark, tmp_path_factory) -> dict[str, Lake]:
    """A lake in each of the states, all made by the jobs."""
    root = tmp_path_factory.mktemp("filters")
    world = World(spark, root / "world")
    found: dict[str, Lake] = {}

    def keep(state: str) -> None:
        found[state] = copy_lake(world.lake, root / state)

    def checkpoint() -> None:
        for table in TABLES.values():
            world.lake.open(table).create_checkpoint()

    def night(number: int) -> None:
        """Views and purchases of three days, two of which had some before, and a view that comes again."""
        for platform in ("iOS", "Android", "MobileWeb"):
            moments = [
                instant(f"{day(number + offset - 3)} {clock}")
                for offset in range(3)
                for clock in ("00:00:00", "12:00:00.123", "23:59:59.999")
            ]
            world.put(
                f"{platform}/{number}",
                lines(
                    *(
                        message(
                            event(product, int(moment.timestamp()) * 1000 + moment.microsecond // 1000),
                            message_id=f"{number % 2} {product} {moment}",
                        )
                        for moment in moments
                        for product in PRODUCTS
                    )
                ),
            )
        bad = lines(message(event(None), event("a", "never"), message_id=str(number)))
        world.put(f"iOS/bad{number}", bad + b"{cut\n")
        with sqlite3.connect(world.path / "shop.db") as shop:
            shop.execute("insert into orders values (?, ?, 'paid', 'iPhone')", [number, str(day(number))])
            shop.execute("insert into order_items values (?, ?, '')", [number, number])
            for offset, clock in enumerate(("00:00:00", "12:00:00.123456", "23:59:59.999999")):
                for count, (device, product) in enumerate(itertools.product(("iPhone", "Android"), PRODUCTS)):
                    key = number * 1000 + offset * 100 + count
                    bought = f"{day(number + offset - 3)} {clock}"
                    shop.execute("insert into orders values (?, ?, 'paid', ?)", [key, bought, device])
                    shop.execute("insert into order_items values (?, ?, ?)", [key, key, product])
        shop.close()
        world.run()

    night(1)
    night(2)
    keep("no checkpoint")
    checkpoint()
    night(3)
    keep("one checkpoint")
    for number in (4, 5):
        checkpoint()
        night(number)
    keep("three checkpoints")
    maintain(world.config(), Stages(QUIET))
    keep("compacted")
    compacted = newest_publication(world.lake)["publication"]
    night(6)
    rollback.put_back(world.config(), compacted, QUIET)
    keep("rolled back")
    for _ in range(2):  # what the first one makes superfluous the second deletes
        maintain(world.config(keep_days=0, keep_publications=1, vacuum_grace_hours=0), Stages(QUIET))
    keep("vacuumed")
    return found


def unfiltered(lake: Lake, table: str) -> list[Row]:
    """All rows, read by deltalake."""
    rows = DeltaTable(lake.uri(TABLES[table])).to_pyarrow_table(columns=list(COLUMNS))
    return [tuple(row.values()) for row in rows.to_pylist()]


def literal(value: object, of_time: str) -> str:
    """A value in SQL; ``of_time`` is the type of a time in that SQL."""
    if isinstance(value, datetime):
        return f"{of_time} '{value:%Y-%m-%d %H:%M:%S.%f}+00:00'"
    return ("DATE " if isinstance(value, date) else "") + "'" + str(value).replace("'", "''") + "'"


def where(condition: Condition, of_time: str) -> str:
    """A combination in SQL."""
    forms = {"=": "{0} = {1}", "IN": "{0} IN ({1})", "BETWEEN": "{0} BETWEEN {1} AND {2}"}
    parts = []
    for column, kind, values in condition:
        texts = [literal(value, of_time) for value in values]
        parts.append(forms[kind].format(column, *([", ".join(texts)] if kind == "IN" else texts)))
    return " AND ".join(parts) or "true"


def check(lake: Lake, table: str, read: Callable[[Condition], list[Row]], wanted: list[Condition]) -> None:
    """Fails where what a reader reads is not what plain Python picks of all rows; what was picked must not be nothing."""
    expected = Picked(table, unfiltered(lake, table))
    assert Counter(read([])) == Counter(expected.rows)
    picked = 0
    for condition in wanted:
        rows = expected.by(condition)
        assert Counter(read(condition)) == Counter(rows), where(condition, "TIMESTAMP")
        picked += len(rows)
    assert picked


everywhere = pytest.mark.parametrize(("state", "table"), list(itertools.product(STATES, TABLES)))


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    extension = files("duckdb_extension_delta") / "extensions" / f"v{duckdb.__version__}" / "delta.duckdb_extension"
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension}'")
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@everywhere
def test_duckdb_gives_the_rows_of_every_combination_of_filters(states, duck, state, table):
    lake = states[state]
    version = newest_publication(lake)[f"{table}_version"]
    duck.execute(f"ATTACH '{lake.uri(TABLES[table])}' AS scanned (TYPE delta, VERSION {version}, PIN_SNAPSHOT)")

    def read(condition: Condition) -> list[Row]:
        query = f"SELECT date, platform, product, time FROM scanned WHERE {where(condition, 'TIMESTAMPTZ')}"
        return [tuple(row.values()) for row in duck.execute(query).to_arrow_table().to_pylist()]

    try:
        check(lake, table, read, conditions(table))
    finally:
        duck.execute("DETACH scanned")


@everywhere
def test_deltalake_gives_the_rows_of_every_combination_of_filters(states, state, table):
    lake = states[state]
    version = newest_publication(lake)[f"{table}_version"]
    scanned = DeltaTable(lake.uri(TABLES[table]), version=version).to_pyarrow_dataset()

    def read(condition: Condition) -> list[Row]:
        chosen = pc.scalar(True)
        for column, kind, values in condition:
            field = pc.field(column)
            one = field.isin(values) if kind == "IN" else (field >= values[0]) & (field <= values[-1])
            chosen = chosen & (field == values[0] if kind == "=" else one)
        rows = scanned.to_table(columns=list(COLUMNS), filter=chosen)
        return [tuple(row.values()) for row in rows.to_pylist()]

    check(lake, table, read, conditions(table))


@everywhere
def test_spark_gives_the_rows_of_every_combination_of_filters(spark, states, state, table):
    """A query of Spark takes a hundred times as long: tables and states share the combinations out, each has some of every kind."""
    lake = states[state]
    version = newest_publication(lake)[f"{table}_version"]
    scanned = spark.read.format("delta").option("versionAsOf", version).load(lake.uri(TABLES[table]))

    def read(condition: Condition) -> list[Row]:
        rows = scanned.select(*COLUMNS).where(where(condition, "TIMESTAMP")).toArrow()
        return [tuple(row.values()) for row in rows.to_pylist()]

    place = STATES.index(state) * len(TABLES) + list(TABLES).index(table)
    check(lake, table, read, conditions(table)[place :: len(STATES) * len(TABLES)])


@pytest.mark.parametrize(("state", "table"), list(itertools.product(STATES, LARGE)))
def test_a_filter_on_any_column_gives_the_rows_that_have_its_value(states, duck, state, table):
    """Also on one without statistics, and on what is NULL."""
    lake = states[state]
    version = newest_publication(lake)[f"{table}_version"]
    delta = lake.open(LARGE[table], version)
    rows = delta.to_pyarrow_table().to_pylist()
    scanned = delta.to_pyarrow_dataset()
    duck.execute(f"ATTACH '{lake.uri(LARGE[table])}' AS scanned (TYPE delta, VERSION {version}, PIN_SNAPSHOT)")
    with sql.connect(lake) as connection:
        try:
            for column in LARGE[table].columns:
                counts = Counter(row[column] for row in rows)
                for value in {None, max(counts.keys() - {None}, default=None), *itertools.islice(counts, 3)}:
                    chosen = pc.field(column).is_null() if value is None else pc.field(column) == pc.scalar(value)
                    query = f'SELECT count(*) FROM {{}} WHERE "{column}" IS NOT DISTINCT FROM ?'
                    found = {
                        "deltalake": scanned.count_rows(filter=chosen),
                        "the delta extension": duck.execute(query.format("scanned"), [value]).fetchone()[0],
                        "jobs.sql": connection.execute(query.format(table), [value]).fetchone()[0],
                    }
                    assert found == dict.fromkeys(found, counts[value]), (column, value)
        finally:
            duck.execute("DETACH scanned")


def test_the_states_are_what_they_are_called(states):
    checkpoints = {state: _count(lake, "_delta_log/*.checkpoint*.parquet") for state, lake in states.items()}
    assert list(checkpoints.values())[:3] == [0, 1, 3]
    assert len(states["compacted"].files(VIEWS)) < len(states["three checkpoints"].files(VIEWS))
    assert states["rolled back"].files(VIEWS) == states["compacted"].files(VIEWS)
    assert states["rolled back"].versions()["views"] > states["compacted"].versions()["views"] + 1
    data = "date=*/platform=*/*.parquet"
    assert (
        _count(states["vacuumed"], data) == len(states["vacuumed"].files(VIEWS)) < _count(states["rolled back"], data)
    )


def _count(lake: Lake, pattern: str) -> int:
    return len(list(Path(lake.uri(VIEWS)).glob(pattern)))
