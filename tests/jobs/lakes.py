"""Lakes made without Spark: several runs' worth of small files, each run published."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from datetime import date, datetime, timedelta, timezone
from importlib.resources import files
from pathlib import Path

import duckdb
import pyarrow as pa

from jobs.config import Config
from jobs.datafiles import write_partitions
from jobs.lake import Lake, rows_of
from jobs.lock import lake_lock
from jobs.publish import next_number, publish
from jobs.schemas import COVERAGE, CTR_DAY, FILES, PUBLISHED, PURCHASES, QUARANTINE, VIEWS

DAY = date(2016, 2, 1)
TODAY = datetime.now(timezone.utc).date()


def make_config(lake, **settings):
    return Config(events="/nowhere", lake=lake.root, purchases_url="jdbc:sqlite:/nowhere", **settings)


def make_lake(path):
    lake = Lake(str(path))
    lake.create()
    return lake


def copy_lake(lake, path):
    """A lake like another; files keep their times."""
    shutil.copytree(lake.root, path)
    return Lake(str(path))


def turns_while_one_waits(monkeypatch, publishes, lake, first, work):
    """The publications of some work in order, and among them "daily": a run that waits for the lake from the first of them on.

    ``publishes`` is what the work publishes with, as ``module.publish``.
    """
    turns, waits = [], threading.Event()

    def wait():
        with lake_lock(lake.root, "daily", 60, lambda _: waits.set()):
            turns.append("daily")

    waiter = threading.Thread(target=wait)

    def publish_while_one_waits(lake, number, *rest):
        if number == first:
            waiter.start()
            assert waits.wait(30)
        turns.append(number)
        return publish(lake, number, *rest)

    monkeypatch.setattr(publishes, publish_while_one_waits)
    work()
    waiter.join(30)
    return turns


def view(product="p", second=0, day=DAY, platform="iOS", file_id="f", **columns):
    time = datetime(day.year, day.month, day.day, tzinfo=timezone.utc) + timedelta(seconds=second)
    return {"date": day, "platform": platform, "product": product, "time": time, "file_id": file_id, **columns}


def reject(raw=b"raw", day=TODAY, platform="iOS", **columns):
    return {"date": day, "platform": platform, "reason": "stray_text", "raw": raw, "raw_bytes": len(raw), **columns}


def said(file_id, state="loaded", minute=0, batch=1):
    recorded = datetime(2016, 2, 2, tzinfo=timezone.utc) + timedelta(minutes=minute)
    return {"file_id": file_id, "path": file_id, "size": 1, "state": state, "batch": batch, "recorded_at": recorded}


def add(lake, table, rows, replace=()):
    """One commit of one data file a partition, in the order that the jobs write."""
    sort = ["raw"] if table is QUARANTINE else ["product", "time"]
    written = write_partitions(lake.root, table, rows_of(table, rows), sort)
    lake.commit(table, 1, written, lake.files(table, replace))
    return written


def night(lake, number):
    """What a nightly run leaves: late views of two days, a changed purchase, a reject, statements, counts; published."""
    add(lake, VIEWS, [view(f"p{n % 7}", n * 60 + number, file_id=f"f{number}", offset=n) for n in range(20)])
    add(lake, VIEWS, [view("q", number, DAY + timedelta(days=number), "Android", offset=number)])
    add(lake, PURCHASES, [{**view(f"p{number}"), "item_id": str(number)}])
    add(lake, QUARANTINE, [reject(b"broken %d" % number), reject(b"old", TODAY - timedelta(days=100))])
    count = {"date": DAY, "platform": "iOS", "product": "p", "time": view()["time"], "views": number, "purchases": 1}
    add(lake, CTR_DAY, [count], [(DAY, "iOS")])
    lake.overwrite(COVERAGE, rows_of(COVERAGE, [{"date": DAY, "platform": "iOS", "views": number}]), number)
    for minute, state in enumerate(("planned", "loaded")):
        lake.append(FILES, rows_of(FILES, [said(f"f{number}", state, number * 10 + minute, number)]), number)
    return publish(lake, next_number(lake), "daily", {})


def lake_of_nights(path, count):
    """A lake after so many nights."""
    lake = make_lake(path)
    for number in range(1, count + 1):
        night(lake, number)
    return lake


def rows(lake, table, version=None):
    """The rows of a table as a multiset."""
    return multiset(lake.read(table, table.columns, version))


def multiset(table: pa.Table):
    return Counter(tuple(row.values()) for row in table.to_pylist())


def all_rows(lake, skip=()):
    return {table.name: rows(lake, table) for table in PUBLISHED if table not in skip}


def tree(lake):
    """Every file of the lake but its locks."""
    return sorted(
        str(path) for path in Path(lake.root).rglob("*") if path.is_file() and not path.name.startswith(".lock")
    )


def published_rows(lake, publication):
    """The rows of every table at the versions that a publication names."""
    return {table.name: rows(lake, table, publication[f"{table.name}_version"]) for table in PUBLISHED}


def counts_by_duckdb(lake, publication):
    """Rows of every table as DuckDB reads the versions of a publication, and the sums of the day's counts."""
    extension = files("duckdb_extension_delta") / "extensions" / f"v{duckdb.__version__}" / "delta.duckdb_extension"
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension}'")
        found = {}
        for table in PUBLISHED:
            version = publication[f"{table.name}_version"]
            connection.execute(
                f"ATTACH '{lake.uri(table)}' AS {table.name} (TYPE delta, VERSION {version}, PIN_SNAPSHOT)"
            )
            [(found[table.name],)] = connection.execute(f"SELECT count(*) FROM {table.name}").fetchall()
        query = "SELECT date, platform, product, sum(views), sum(purchases) FROM ctr_day GROUP BY ALL ORDER BY ALL"
        return found, connection.execute(query).fetchall()
