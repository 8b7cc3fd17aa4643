"""The SQL of the counts of a piece of a plan, by second, platform and product: from the replica, a rollup, or each view once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from serving.contract import PLATFORMS
from serving.query.plan import RAW, Piece
from serving.query.statements import Query, bind, checked, literal, stored
from serving.replica.segments import day_of, product_id
from serving.request.parameters import CtrRequest
from serving.state.files import TableFiles
from serving.state.snapshot import Snapshot

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def cells_of_products(pieces: Iterable[Piece], platforms: Iterable[str], products: Iterable[int]) -> Query:
    """The cells of products by their numbers: rows of second, platform and product (both numbers), views, purchases.

    All pieces are read from segments. The text holds numbers that ``segments`` made, and no value of a request: with nothing to
    bind DuckDB plans the statement once instead of twice, and with the schema named it need not look for it.
    """
    wanted = [_one_of("product", products)]
    if numbers := [PLATFORMS.index(platform) for platform in platforms]:
        wanted.append(_one_of("platform", numbers))
    return Query(
        " UNION ALL ".join(
            f"SELECT second, platform, product, views, purchases FROM {checked(piece.segment or '')}.main.cell "
            f"WHERE {' AND '.join(wanted)} AND second >= {int(piece.start)} AND second < {int(piece.end)}"
            for piece in pieces
        )
    )


def _one_of(column: str, numbers: Iterable[int]) -> str:
    """The condition that a column is one of these numbers. A single one, written as equal to it, is planned faster."""
    texts = [str(int(number)) for number in numbers]
    return f"{column} = {texts[0]}" if len(texts) == 1 else f"{column} IN ({', '.join(texts)})"


def cells_of_piece(piece: Piece, number: int, request: CtrRequest, snapshot: Snapshot, values: dict[str, Any]) -> str:
    """The counts of one piece that is read from Delta: second, platform, product, views, purchases."""
    where = _Where(f"piece{number}", piece, request, values)
    if piece.rollup is not None:
        return (
            "SELECT epoch_us(time) // 1000000 AS second, platform, product, views, purchases "
            f"FROM {where.stored(snapshot.tables[piece.rollup])} WHERE {where.partitions} AND {where.rows}"
        )
    views, purchases = (where.stored(snapshot.tables[table]) for table in RAW)
    return f"""
        SELECT epoch_us(time) // 1000000 AS second, platform, product, 1::BIGINT AS views, 0::BIGINT AS purchases
        FROM ({_views_once(views, where)})
        UNION ALL
        SELECT epoch_us(time) // 1000000, platform, product, 0::BIGINT, 1::BIGINT
        FROM {purchases} WHERE {where.partitions} AND {where.rows}
    """


@dataclass(frozen=True)
class NumberedCells:
    """The SQL of the counts of all pieces that are read from segments, which have numbers for products and platforms.

    A product has the same number in every segment (``segments.product_id``), so names are joined once, however many segments a
    request reads: a join for each of a year of days took gigabytes.
    """

    cells: str
    """``second``, ``number`` (of the platform), ``id`` (of the product), ``views``, ``purchases``."""
    products: str
    """``id``, ``name``; it fails where two products have one number."""


def numbered_cells(
    pieces: Sequence[Piece], request: CtrRequest, snapshot: Snapshot, values: dict[str, Any]
) -> NumberedCells | None:
    """The counts of the pieces that are read from segments; ``None`` where there are none."""
    cells = [
        f"SELECT second, platform AS number, cell.product AS id, views, purchases FROM {checked(piece.segment)}.cell AS cell "
        f"WHERE {_cell_conditions(f'piece{number}', piece, request, values)}"
        for number, piece in enumerate(pieces)
        if piece.segment is not None
    ]
    if not cells:
        return None
    named = f"WHERE name IN ({bind('product', request.products, values)}) " if request.products else ""
    # The segments of days have every product: few segments, of which the others need not be read for names.
    days = [segment.name for segment in snapshot.days] if snapshot.knows_products else None
    sources = days or [piece.segment for piece in pieces if piece.segment is not None]
    products = " UNION ".join(f"SELECT id, name FROM {checked(segment)}.product" for segment in sources)
    return NumberedCells(
        " UNION ALL ".join(cells),
        f"SELECT id, name FROM ({products}) {named}"
        "QUALIFY CASE WHEN count(*) OVER (PARTITION BY id) > 1 THEN error('two products have one number') ELSE true END",
    )


def _cell_conditions(prefix: str, piece: Piece, request: CtrRequest, values: dict[str, Any]) -> str:
    """Which cells of a segment a piece is about, by numbers alone, which is what lets DuckDB pass over the others."""
    values.update({f"{prefix}_from": piece.start, f"{prefix}_to": piece.end})
    conditions = [f"second >= ${prefix}_from AND second < ${prefix}_to"]
    if request.platforms:
        numbers = [PLATFORMS.index(platform) for platform in request.platforms]
        conditions.append(f"platform IN ({', '.join(map(str, numbers))})")
    if request.products:
        conditions.append(f"cell.product IN ({', '.join(str(product_id(name)) for name in request.products)})")
    return " AND ".join(conditions)


def platform_name(number: str) -> str:
    """The name of the platform with a number; numbers are in the order of names."""
    return f"CASE {number} {' '.join(f'WHEN {index} THEN {literal(name)}' for index, name in enumerate(PLATFORMS))} END"


def _views_once(views: str, where: _Where) -> str:
    """Each view once (``docs/lake.md``): of its copies the smallest (time, product), if that is what was asked for.

    Copies are looked for among all rows of the partitions, whatever their time and product, but only for views
    of which a copy was asked for: that keeps the hash table small when the piece is.
    """
    return f"""
        SELECT time, platform, product FROM {views}
        WHERE {where.partitions} AND {where.rows} AND message_id IS NULL
        UNION ALL
        SELECT time, platform, product FROM (
            SELECT winner.time AS time, platform, winner.product AS product FROM (
                SELECT date, platform, message_id, position, min({{'time': time, 'product': product}}) AS winner
                FROM {views}
                SEMI JOIN (
                    SELECT date, platform, message_id, position FROM {views}
                    WHERE {where.partitions} AND {where.rows} AND message_id IS NOT NULL
                ) AS asked USING (date, platform, message_id, position)
                WHERE {where.partitions}
                GROUP BY date, platform, message_id, position
            )
        ) WHERE {where.rows}
    """


class _Where:
    """Conditions of one piece: on partitions (which files are read), and on rows (time and product)."""

    def __init__(self, prefix: str, piece: Piece, request: CtrRequest, values: dict[str, Any]) -> None:
        values[f"{prefix}_from"] = _instant(piece.start)
        values[f"{prefix}_to"] = _instant(piece.end)
        values[f"{prefix}_first_day"] = day_of(piece.start)
        values[f"{prefix}_last_day"] = day_of(piece.end - 1)
        self._prefix, self._values = prefix, values
        self._days, self._platforms = (day_of(piece.start), day_of(piece.end - 1)), request.platforms
        self.partitions = f"date BETWEEN ${prefix}_first_day AND ${prefix}_last_day"
        self.rows = f"time >= ${prefix}_from AND time < ${prefix}_to"
        if request.platforms:
            self.partitions += f" AND platform IN ({bind('platform', request.platforms, values)})"
        if request.products:
            self.rows += f" AND product IN ({bind('product', request.products, values)})"

    def stored(self, files: TableFiles) -> str:
        """The rows of the data files that the conditions on partitions leave: what stands behind ``FROM``."""
        paths = files.within(*self._days, self._platforms)
        return stored(files.table, paths, f"{self._prefix}_{files.table}", self._values)


def _instant(second: int) -> datetime:
    return _EPOCH + timedelta(seconds=second)
