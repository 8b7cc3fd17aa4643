"""Proves that a contestant counted right: against the sample's own truth, and cell by cell against the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable

from bench.errors import BenchError

Day = tuple[str, str, str]
"""A UTC day, a platform, a product."""


@dataclass(frozen=True)
class Counted:
    """What a contestant counted: views, minute cells, and a digest of every cell with its views."""

    views: int
    cells: int
    digest: int


def counted(source: str) -> tuple[Counted, dict[Day, int]]:
    """What these minute counts hold, and the views of every day, platform and product.

    Args:
        source: a query with the columns platform, product, minute (since 1970, UTC), views.

    Raises:
        BenchError: a cell stands there twice.
    """
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE cells AS {source}")
        row = connection.execute(
            "SELECT sum(views)::BIGINT, count(DISTINCT (platform, product, minute)), count(*), "
            "bit_xor(hash(concat_ws(chr(0), platform, product, minute::BIGINT, views::BIGINT))) FROM cells"
        ).fetchone()
        assert row is not None  # an aggregate gives one row
        views, cells, rows, digest = row
        if cells != rows:
            raise BenchError(f"found {rows - cells:,} cells twice; wanted one row for each platform, product, minute")
        days = connection.execute(
            "SELECT strftime(make_timestamp(minute::BIGINT * 60000000), '%Y-%m-%d'), platform, product, "
            "sum(views)::BIGINT FROM cells GROUP BY ALL"
        ).fetchall()
    return Counted(views or 0, cells, digest or 0), {(day, platform, product): n for day, platform, product, n in days}


def minutes_below(out: Path) -> str:
    """The query for what a peer wrote: ``minutes.csv``, ``minutes.parquet`` or a Delta table ``minutes`` in its folder."""
    if (out / "minutes").is_dir():
        return minutes_in(DeltaTable(str(out / "minutes")).file_uris())
    if (out / "minutes.csv").exists():
        return f"SELECT platform, product, minute, views FROM read_csv({_text(out / 'minutes.csv')})"
    found = f"read_parquet({_text(out / 'minutes.parquet')})"
    with duckdb.connect() as connection:
        names = [name for name, *_ in connection.execute(f"DESCRIBE FROM {found}").fetchall()]
    minute = "minute" if "minute" in names else "epoch_us(time) // 60000000 AS minute"
    return f"SELECT platform, product, {minute}, views FROM {found}"


def minutes_in(files: Sequence[str]) -> str:
    """The query for data files of a Delta table partitioned by date and platform."""
    listed = ", ".join(map(_text, files))
    return (
        "SELECT platform, product, epoch_us(time) // 60000000 AS minute, views "
        f"FROM read_parquet([{listed}], hive_partitioning = true) WHERE views > 0"
    )


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def expected(truth: dict[str, Any]) -> dict[Day, int]:
    """Views of every day, platform and product by the truth of a sample."""
    views: dict[Day, int] = defaultdict(int)
    for day, platforms in truth["cells"].items():
        for platform, products in platforms.items():
            for product, (count, _) in products.items():
                if count:
                    views[day, platform, product] += count
    return dict(views)


class Referee:
    """Takes in what each contestant counted.

    The sample knows the views of each day, platform and product; of the minutes it knows nothing, so all contestants must agree on
    them to the last cell.
    """

    def __init__(self, truth: dict[str, Any]) -> None:
        self._views = int(truth["views_once"])
        self._days = expected(truth)
        self._first: tuple[str, Counted] | None = None

    def judge(self, name: str, source: str) -> Counted:
        """What the contestant counted.

        Raises:
            BenchError: it is not what the sample holds, or not what the others found.
        """
        try:
            found, days = counted(source)
        except BenchError as error:
            raise BenchError(f"{name}: {error}") from None
        if found.views != self._views:
            raise BenchError(f"{name}: counted {found.views:,} views, the sample has {self._views:,}")
        wrong = {key for key in {*days, *self._days} if days.get(key, 0) != self._days.get(key, 0)}
        if wrong:
            key = min(wrong)
            raise BenchError(
                f"{name}: {len(wrong):,} (day, platform, product) are wrong, the first of them {key}: counted "
                f"{days.get(key, 0):,}, the sample has {self._days.get(key, 0):,}"
            )
        if self._first is None:
            self._first = name, found
        other, first = self._first
        if found != first:
            raise BenchError(
                f"{name}: found {found.cells:,} cells (platform, product, minute) with the digest {found.digest:x}, "
                f"but {other} found {first.cells:,} with {first.digest:x}"
            )
        return found
