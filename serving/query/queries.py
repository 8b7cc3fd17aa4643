"""The SQL of an answer, in order and in parts; that of its columns stands in ``columns``, that of the counts in ``cells``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from serving.contract import PLATFORMS
from serving.query.cells import cell_conditions, cells_of_piece, platform_name
from serving.query.columns import Clock, Column, columns, csv_text, json_text, typed
from serving.query.plan import Buckets, Plan
from serving.query.statements import Query, bind, checked, literal
from serving.request.formats import FORMATS
from serving.request.parameters import CtrRequest
from serving.state.snapshot import Snapshot

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
        cells_of_piece(piece, number, request, snapshot, values) for number, piece in enumerate(plan.pieces)
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
    named = f" WHERE name IN ({bind('product', request.products, values)})" if request.products else ""
    names = " UNION ".join(f"SELECT name FROM {checked(segment)}.product" for segment in segments)
    places = "".join(
        f"place{number} AS (SELECT id, place FROM {checked(segment)}.product JOIN ranked USING (name)), "
        for number, segment in enumerate(segments)
    )
    cells = " UNION ALL ".join(
        f"SELECT second, platform AS number, place, views, purchases FROM {checked(segment)}.cell AS cell "
        f"JOIN place{number} ON id = cell.product WHERE {cell_conditions(f'piece{number}', piece, request, values)}"
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
    return _Counted(sql, "bucket, number, place", f", {platform_name('number')} AS platform")


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


def _output(request: CtrRequest, buckets: Buckets, found: list[Column], values: dict[str, Any]) -> str:
    """What is selected of each counted row, as the format wants it."""
    if FORMATS[request.format].typed:
        return typed(found)
    clock = Clock(request, buckets, values)
    if request.format == "csv":
        return f"{csv_text(found, clock)} AS text"
    begin, end = ("", "\n") if request.format == "ndjson" else (",", "")
    return f"{json_text(found, clock, begin, end)} AS text"
