"""All SQL of the service; that of an answer's columns stands in ``columns``.

Values are bound; only names of segments that ``segments`` made are put into the text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa

from serving.contract import PARTITION, PLATFORMS, TABLES
from serving.query.columns import Clock, Column, columns, csv_text, json_text, typed
from serving.query.plan import RAW, Buckets, Piece, Plan
from serving.replica.segments import product_id
from serving.request.formats import FORMATS
from serving.request.parameters import CtrRequest, ProductsRequest
from serving.state.files import TableFiles, is_partitioned
from serving.state.snapshot import Snapshot

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Query:
    """A statement and the values bound to its ``$names``."""

    sql: str
    values: dict[str, Any] = field(default_factory=dict)


def literal(text: str) -> str:
    """A text as an SQL literal, for the few statements that take no bound values (``ATTACH``, ``SET``)."""
    return "'" + text.replace("'", "''") + "'"


def _name(name: str) -> str:
    """A name that is put into a statement.

    Raises:
        ValueError: it is not one that ``segments`` made.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"not a table name: {name!r}")
    return name


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


def detach(name: str) -> str:
    """The statement that ends an ``attach_segment``, if there was one."""
    return f"DETACH DATABASE IF EXISTS {_name(name)}"


def attach_segment(path: str, name: str) -> str:
    """The statement that makes a segment of the replica readable under a name."""
    return f"ATTACH {literal(path)} AS {_name(name)} (READ_ONLY)"


def name_in_segment(name: str) -> str:
    """The name that a segment was made under: one row of one text."""
    return f"SELECT name FROM {_name(name)}.segment"


def read_segment(name: str) -> str:
    """The statement that reads every value of a segment, and so fails if one cannot be read."""
    return f"""
        SELECT bit_xor(hash(product, platform, second, views, purchases)) FROM {_name(name)}.cell
        UNION ALL SELECT bit_xor(hash(id, name, platforms)) FROM {_name(name)}.product
    """


def make_segment(files: TableFiles, path: str, name: str, first_day: date, last_day: date) -> list[Query]:
    """The statements that write the cells of some days of a rollup into a file, sorted by product, platform, time.

    The file has three tables: ``cell`` (numbers only), ``product`` (the names behind the numbers, and a bit for each platform that
    has cells of it), ``segment`` (its own name).
    The statements fail if two products of the span have the same number, or a platform is none of the three.
    """
    days: dict[str, Any] = {"first": first_day, "last": last_day}
    source = stored(files.table, files.within(first_day, last_day), "files", days)
    cases = " ".join(f"WHEN {literal(platform)} THEN {index}" for index, platform in enumerate(PLATFORMS))
    number = f"(CASE platform {cases} ELSE error('a platform is not known') END)::UTINYINT"
    return [
        Query(f"ATTACH {literal(path)} AS made"),
        Query(
            "CREATE TABLE made.product AS SELECT md5_number_lower(product) AS id, product AS name, "
            f"bit_or(1::UTINYINT << {number}) AS platforms "
            f"FROM {source} WHERE date BETWEEN $first AND $last GROUP BY product ORDER BY id",
            days,
        ),
        Query(
            "SELECT CASE WHEN count(DISTINCT id) = count(*) THEN true ELSE error('two products have one number') END "
            "FROM made.product"
        ),
        Query(
            "CREATE TABLE made.cell AS SELECT named.id AS product, "
            f"{number} AS platform, "
            "epoch_us(time) // 1000000 AS second, views, purchases "
            f"FROM {source} AS source JOIN made.product AS named ON named.name = source.product "
            "WHERE date BETWEEN $first AND $last ORDER BY ALL",
            days,
        ),
        Query("CREATE TABLE made.segment AS SELECT $name AS name", {"name": name}),
        Query("CHECKPOINT made"),
        Query(detach("made")),
    ]


def coverage(files: TableFiles) -> Query:
    """The rows of ``coverage`` in the order of ``snapshot.CoverageRow``."""
    values: dict[str, Any] = {}
    source = stored("coverage", files.all, "files", values)
    return Query(f"SELECT date, platform, views, epoch_us(last_view), epoch_us(last_purchase) FROM {source}", values)


def products(request: ProductsRequest, snapshot: Snapshot) -> Query:
    """The names of products that contain a text, in any case, in the byte order of UTF-8.

    They are read from the replica where that knows every product, else from Delta.
    """
    values: dict[str, Any] = {"search": request.search, "limit": request.limit}
    if snapshot.knows_products:
        return Query(_products_of_replica(request, snapshot), values)
    own = f" AND platform IN ({_bind('platform', request.platforms, values)})" if request.platforms else ""
    source = stored("ctr_day", snapshot.tables["ctr_day"].all, "files", values)
    return Query(
        f"SELECT DISTINCT product FROM {source} "
        f"WHERE contains(lower(product), lower($search)){own} ORDER BY product LIMIT $limit",
        values,
    )


def _products_of_replica(request: ProductsRequest, snapshot: Snapshot) -> str:
    mask = sum(1 << PLATFORMS.index(platform) for platform in request.platforms)
    own = f" AND platforms & {mask} > 0" if mask else ""
    found = " UNION ".join(
        f"SELECT name FROM {_name(segment.name)}.product WHERE contains(lower(name), lower($search)){own}"
        for segment in snapshot.days
    )
    return f"SELECT DISTINCT name FROM ({found}) ORDER BY name LIMIT $limit"


BEYOND_LIMIT = "more rows than the limit"
"""The text of the error with which ``ctr`` ends when the answer would have more rows than allowed."""


def ctr(request: CtrRequest, plan: Plan, snapshot: Snapshot, row_limit: int = sys.maxsize) -> Query:
    """The answer in order: typed columns, or one column of text with a row of the answer in each.

    Texts of JSON begin with a comma, those of other formats end with the end of their line.
    More rows than ``row_limit`` end the query with the error ``BEYOND_LIMIT``, before the first row and before sorting.
    """
    values: dict[str, Any] = {"row_limit": row_limit}
    counted = _counted(request, plan, snapshot, values)
    found = columns(request, plan.buckets, snapshot, values)
    sql = f"""
        {counted.sql}
        SELECT {_output(request, plan.buckets, found, values)}
        FROM (
            SELECT *{counted.shown} FROM (
                SELECT * FROM counted
                QUALIFY CASE WHEN row_number() OVER () > $row_limit THEN error('{BEYOND_LIMIT}') ELSE true END
                ORDER BY {counted.order}
            )
        )
    """
    return Query(sql, values)


def ctr_rows(request: CtrRequest, plan: Plan, snapshot: Snapshot, row_limit: int, part_rows: int) -> Query:
    """The rows of the answer in order, counted in parts, which have ``part_rows`` rows and those of one bucket more at most.

    Of each part: its first bucket, the rows up to its end, its first bucket with which they pass ``row_limit``.
    """
    values: dict[str, Any] = {"row_limit": row_limit, "part_rows": part_rows}
    sql = f"""
        {_counted(request, plan, snapshot, values).sql}
        SELECT min(bucket), max(rows)::BIGINT, min(bucket) FILTER (rows > $row_limit)
        FROM (SELECT bucket, sum(count(*)) OVER (ORDER BY bucket) AS rows FROM counted GROUP BY bucket)
        GROUP BY (rows - 1)::BIGINT // $part_rows ORDER BY 1
    """
    return Query(sql, values)


@dataclass(frozen=True)
class _Counted:
    """The WITH clause that counts: ``counted`` has a row for each row of the answer, in no order."""

    sql: str
    order: str = "bucket, platform, product"
    """The order of the answer."""
    shown: str = ""
    """Columns of the answer that are made when its rows are in order."""


def _counted(request: CtrRequest, plan: Plan, snapshot: Snapshot, values: dict[str, Any]) -> _Counted:
    segments = [piece.segment for piece in plan.pieces if piece.segment is not None]
    if len(segments) == len(plan.pieces) and not request.fill:
        return _counted_by_place(request, plan, segments, values)
    cells = " UNION ALL ".join(
        _cells(piece, number, request, snapshot, values) for number, piece in enumerate(plan.pieces)
    )
    bucket, bucket_end, source = _bucketed(plan.buckets, request.detail, values)
    name, filled = ("found", _filled(request, plan.buckets, values)) if request.fill else ("counted", "")
    return _Counted(f"""
        WITH cell AS ({cells}),
        {name} AS (
            SELECT {bucket} AS bucket, {bucket_end} AS bucket_end, platform, product,
                   sum(views)::BIGINT AS views, sum(purchases)::BIGINT AS purchases
            FROM {source} GROUP BY ALL
        ){filled}
    """)


def _counted_by_place(request: CtrRequest, plan: Plan, segments: list[str], values: dict[str, Any]) -> _Counted:
    """The same where segments of the replica have everything: products and platforms stay numbers until all is in order.

    A product's number is its place in the order of names; names, not the segments' numbers, tell products apart.
    """
    named = f" WHERE name IN ({_bind('product', request.products, values)})" if request.products else ""
    names = " UNION ".join(f"SELECT name FROM {_name(segment)}.product" for segment in segments)
    places = "".join(
        f"place{number} AS (SELECT id, place FROM {_name(segment)}.product JOIN ranked USING (name)), "
        for number, segment in enumerate(segments)
    )
    cells = " UNION ALL ".join(
        f"SELECT second, platform AS number, place, views, purchases FROM {_name(segment)}.cell AS cell "
        f"JOIN place{number} ON id = cell.product WHERE {_cell_conditions(f'piece{number}', piece, request, values)}"
        for number, (piece, segment) in enumerate(zip(plan.pieces, segments, strict=True))
    )
    bucket, bucket_end, source = _bucketed(plan.buckets, request.detail, values)
    sql = f"""
        WITH ranked AS MATERIALIZED (
            SELECT name, row_number() OVER (ORDER BY name)::INTEGER AS place FROM ({names}){named}
        ),
        {places}cell AS ({cells}),
        summed AS (
            SELECT {bucket} AS bucket, {bucket_end} AS bucket_end, number, place,
                   sum(views)::BIGINT AS views, sum(purchases)::BIGINT AS purchases
            FROM {source} GROUP BY ALL
        ),
        counted AS (
            SELECT bucket, bucket_end, number, place, name AS product, views, purchases FROM summed JOIN ranked USING (place)
        )
    """
    return _Counted(sql, "bucket, number, place", f", {_platform_name('number')} AS platform")


def _platform_name(number: str) -> str:
    """The name of the platform with a number; numbers are in the order of names."""
    return f"CASE {number} {' '.join(f'WHEN {index} THEN {literal(name)}' for index, name in enumerate(PLATFORMS))} END"


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


def _filled(request: CtrRequest, buckets: Buckets, values: dict[str, Any]) -> str:
    """``counted`` with every bucket of every pair of platform and product: what was found, else zeros.

    The pairs are those that have counts, and those that were asked for by name: each product on each platform.
    """
    pairs = "SELECT DISTINCT platform, product FROM found"
    if request.products:
        platforms = ", ".join(f"({literal(platform)})" for platform in request.platforms or PLATFORMS)
        values["named"] = list(request.products)
        pairs += f"""
                UNION SELECT platform, product FROM (VALUES {platforms}) AS named (platform)
                CROSS JOIN (SELECT unnest($named::VARCHAR[]) AS product)"""
    if buckets.step is None:
        ends = "unnest($edge_ends::BIGINT[])" if request.detail else "NULL"
        every = f"SELECT unnest($edges::BIGINT[]) AS bucket, {ends} AS bucket_end"
    else:
        values["end"] = buckets.end
        end = "bucket + $step" if request.detail else "NULL"
        every = f"SELECT bucket, {end} AS bucket_end FROM (SELECT unnest(range($start, $end, $step)) AS bucket)"
    return f""",
        counted AS (
            SELECT every_bucket.bucket, every_bucket.bucket_end, pair.platform, pair.product,
                   coalesce(found.views, 0) AS views, coalesce(found.purchases, 0) AS purchases
            FROM ({every}) AS every_bucket
            CROSS JOIN ({pairs}) AS pair
            LEFT JOIN found ON found.bucket = every_bucket.bucket
                AND found.platform = pair.platform AND found.product = pair.product
        )"""


def _output(request: CtrRequest, buckets: Buckets, found: list[Column], values: dict[str, Any]) -> str:
    """What is selected of each counted row, as the format wants it."""
    if FORMATS[request.format].typed:
        return typed(found)
    clock = Clock(request, buckets, values)
    if request.format == "csv":
        return f"{csv_text(found, clock)} AS text"
    begin, end = ("", "\n") if request.format == "ndjson" else (",", "")
    return f"{json_text(found, clock, begin, end)} AS text"


def _cells(piece: Piece, number: int, request: CtrRequest, snapshot: Snapshot, values: dict[str, Any]) -> str:
    """The counts of one piece: second, platform, product, views, purchases."""
    if piece.segment is not None:
        return _segment_cells(piece.segment, f"piece{number}", piece, request, values)
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


def cells(pieces: Iterable[Piece], platforms: Iterable[str], products: Iterable[int]) -> Query:
    """The cells of products by their numbers: rows of second, platform and product (both numbers), views, purchases.

    All pieces are read from segments. The text holds numbers that ``segments`` made, and no value of a request: with nothing to
    bind DuckDB plans the statement once instead of twice.
    """
    wanted = [f"product IN ({', '.join(str(int(number)) for number in products)})"]
    numbers = [str(PLATFORMS.index(platform)) for platform in platforms]
    if numbers:
        wanted.append(f"platform IN ({', '.join(numbers)})")
    return Query(
        " UNION ALL ".join(
            f"SELECT second, platform, product, views, purchases FROM {_name(piece.segment or '')}.cell "
            f"WHERE {' AND '.join(wanted)} AND second >= {int(piece.start)} AND second < {int(piece.end)}"
            for piece in pieces
        )
    )


def products_of_segment(name: str) -> str:
    """The products of a segment: rows of number and name."""
    return f"SELECT id, name FROM {_name(name)}.product"


def _segment_cells(segment: str, prefix: str, piece: Piece, request: CtrRequest, values: dict[str, Any]) -> str:
    """The counts of one piece from a segment of the replica, which has numbers for products and platforms."""
    named = f" AND named.name IN ({_bind('product', request.products, values)})" if request.products else ""
    return (
        f"SELECT second, {_platform_name('platform')} AS platform, named.name AS product, views, purchases "
        f"FROM {_name(segment)}.cell AS cell JOIN {_name(segment)}.product AS named ON named.id = cell.product "
        f"WHERE {_cell_conditions(prefix, piece, request, values)}{named}"
    )


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
        values[f"{prefix}_first_day"] = _day(piece.start)
        values[f"{prefix}_last_day"] = _day(piece.end - 1)
        self._prefix, self._values = prefix, values
        self._days, self._platforms = (_day(piece.start), _day(piece.end - 1)), request.platforms
        self.partitions = f"date BETWEEN ${prefix}_first_day AND ${prefix}_last_day"
        self.rows = f"time >= ${prefix}_from AND time < ${prefix}_to"
        if request.platforms:
            self.partitions += f" AND platform IN ({_bind('platform', request.platforms, values)})"
        if request.products:
            self.rows += f" AND product IN ({_bind('product', request.products, values)})"

    def stored(self, files: TableFiles) -> str:
        """The rows of the data files that the conditions on partitions leave: what stands behind ``FROM``."""
        paths = files.within(*self._days, self._platforms)
        return stored(files.table, paths, f"{self._prefix}_{files.table}", self._values)


def _bind(prefix: str, items: Iterable[str], values: dict[str, Any]) -> str:
    """Bind each item under a name of its own and give the list of names."""
    names = []
    for number, item in enumerate(items):
        values[f"{prefix}{number}"] = item
        names.append(f"${prefix}{number}")
    return ", ".join(names)


def _bucketed(buckets: Buckets, with_end: bool, values: dict[str, Any]) -> tuple[str, str, str]:
    """Expressions of a cell's bucket and of the end that the bucket has uncut, and what to select them from."""
    if buckets.step is not None:
        values.update(start=buckets.start, step=buckets.step)
        bucket = "$start + (second - $start) // $step * $step"
        return bucket, f"{bucket} + $step" if with_end else "NULL", "cell"
    values.update(edges=list(buckets.edges[:-1]))
    columns = "unnest($edges::BIGINT[]) AS edge"
    if with_end:
        values.update(edge_ends=list(buckets.edges[1:]))
        columns += ", unnest($edge_ends::BIGINT[]) AS edge_end"
    source = f"cell ASOF JOIN (SELECT {columns}) AS edges ON cell.second >= edges.edge"
    return "edge", "edge_end" if with_end else "NULL", source


def _instant(second: int) -> datetime:
    return _EPOCH + timedelta(seconds=second)


def _day(second: int) -> date:
    return _instant(second).date()
