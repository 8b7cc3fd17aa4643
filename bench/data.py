"""The data of a benchmark: a generated sample that is kept between runs, and a purchase database, its own or an empty one."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError

_BLOCK = 16 << 20


@dataclass(frozen=True)
class Data:
    """One sample: its event folders and what is true of them."""

    root: Path
    truth: dict[str, Any]

    @property
    def events(self) -> Path:
        """Root of the platform folders."""
        return self.root / "events"

    @property
    def bytes(self) -> int:
        """Size of all event files."""
        return int(self.truth["bytes"])

    @property
    def views(self) -> int:
        """Views, each counted once."""
        return int(self.truth["views_once"])

    @property
    def items(self) -> int:
        """Order items in the CSV files."""
        with (self.root / "order_items.csv").open("rb") as lines:
            return sum(1 for _ in lines) - 1

    def describe(self) -> str:
        """The sample in one line."""
        days = self.truth["parameters"]["days"]
        return (
            f"{self.bytes / 1e9:.2f} GB of JSON lines in {self.truth['files']:,} files ({days} day{'s'[: days > 1]}, "
            f"3 platforms), {self.truth['messages']:,} messages, {self.views:,} views"
        )


def open_data(root: Path) -> Data:
    """The sample in a folder.

    Raises:
        BenchError: there is none, or one that the peers cannot read: with damaged records, or no plain JSON lines.
    """
    try:
        truth = json.loads((root / "truth.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchError(f"no sample in {root} ({error}); leave --data out, and one is made") from None
    parameters = truth["parameters"]
    if not parameters["clean"] or parameters["layout"] != "lines" or parameters["gzip"]:
        raise BenchError(f"{root}: wanted a sample made with --clean --layout lines and without --gzip")
    return Data(root, truth)


def make_data(cache: Path, *options: str) -> Data:
    """A clean sample made with these options of ``jobs.sample``; one that is there already is kept."""
    root = cache / "-".join(["sample", *(option.lstrip("-") for option in options)])
    command = [sys.executable, "-m", "jobs.sample", "--clean", "--layout", "lines", "--out", str(root), *options]
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode:
        raise BenchError(f"the sample could not be made: {' '.join(command)}")
    return open_data(root)


def warm(events: Path) -> None:
    """Reads every file once, so that all contestants find them in the memory of the system."""
    for file in sorted(path for path in events.rglob("*") if path.is_file()):
        with file.open("rb", buffering=0) as stream:
            while stream.read(_BLOCK):
                pass


def empty_database(file: Path) -> str:
    """The address of a SQLite database with the two tables and no purchase."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with sqlite3.connect(file) as shop:
        shop.execute("create table orders (id integer, order_date text, status text, device text)")
        shop.execute("create table order_items (id integer, order_id integer, code_color text)")
    shop.close()
    return f"jdbc:sqlite:{file}"


def database_of(file: Path, data: Data, days: Collection[str] | None = None, one_in: int = 1) -> str:
    """The address of a SQLite database with the sample's orders, or those of some days (as written in them), or one in so many."""
    url = f"jdbc:sqlite:{file}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    csvs = [str(data.root / name) for name in ("orders.csv", "order_items.csv")]
    command = [sys.executable, "-m", "jobs.load_csv", *csvs, "--url", url]
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode:
        raise BenchError(f"the orders could not be loaded: {' '.join(command)}")
    if days is not None or one_in > 1:
        with sqlite3.connect(file) as shop:
            if days is not None:
                others = f"substr(order_date, 1, 10) not in ({', '.join('?' * len(days))})"
                shop.execute(f"delete from orders where {others}", tuple(days))
            shop.execute("delete from orders where rowid % ? <> 0", (one_in,))
            shop.execute("delete from order_items where order_id not in (select id from orders)")
        shop.close()
    return url
