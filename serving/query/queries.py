"""The SQL of an answer, in order and in parts; that of its columns stands in ``columns``, that of the counts in ``cells``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from serving.contract import PLATFORMS
from serving.query.cells import NumberedCells, cells_of_piece, numbered_cells, platform_name
from serving.query.columns import Clock, Column, columns, csv_text, json_text, typed
from serving.query.plan import Buckets, Plan
from serving.query.statements import Query, literal
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
    numbered = numbered_cells(plan.pieces, request, snapshot, values)
    if numbered is not None and not request.fill and all(piece.segment is not None for piece in plan.pieces):
        return _counted_by_place(request, plan, numbered, values)
    cells = [
        cells_of_piece(piece, number, request, snapshot, values)
        for number, piece in enumerate(plan.pieces)
        if piece.segment is None
    ]
    if numbered is not None:
        cells.append(
            f"SELECT second, {platform_name('number')} AS platform, name AS product, views, purchases "
            f"FROM ({numbered.cells}) JOIN ({numbered.products}) USING (id)"
        )
    bucket, bucket_end = _bucketed(plan.buckets, values)
    name, filled = ("found", _filled(request, plan.buckets, values)) if request.fill else ("counted", "")
    return _Counted(f"""
        WITH cell AS ({" UNION ALL ".join(cells)}),
        {name} AS (
            SELECT *, {bucket_end} AS bucket_end FROM (
                SELECT {bucket} AS bucket, platform, product,
                       sum(views)::BIGINT AS views, sum(purchases)::BIGINT AS purchases
                FROM cell GROUP BY ALL
            )
        ){filled}
    """)


def _counted_by_place(request: CtrRequest, plan: Plan, numbered: NumberedCells, values: dict[str, Any]) -> _Counted:
    """The same where segments of the replica have everything: products and platforms stay numbers until all is counted.

    A product's place is that in the order of names.
    """
    bucket, bucket_end = _bucketed(plan.buckets, values)
    sql = f"""
        WITH cell AS ({numbered.cells}),
        summed AS (
            SELECT {bucket} AS bucket, number, id,
                   sum(views)::BIGINT AS views, sum(purchases)::BIGINT AS purchases
            FROM cell GROUP BY ALL
        ),
        ranked AS (SELECT id, name, row_number() OVER (ORDER BY name)::INTEGER AS place FROM ({numbered.products})),
        counted AS (
            SELECT bucket, {bucket_end} AS bucket_end, number, place, name AS product, views, purchases
            FROM summed JOIN ranked USING (id)
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
        values.update(edges=list(buckets.edges[:-1]), edge_ends=list(buckets.edges[1:]))
        every = "SELECT unnest($edges::BIGINT[]) AS bucket, unnest($edge_ends::BIGINT[]) AS bucket_end"
    else:
        values["end"] = buckets.end
        every = "SELECT bucket, bucket + $step AS bucket_end FROM (SELECT unnest(range($start, $end, $step)) AS bucket)"
    return f""",
        counted AS (
            SELECT every_bucket.bucket, every_bucket.bucket_end, pair.platform, pair.product,
                   coalesce(found.views, 0) AS views, coalesce(found.purchases, 0) AS purchases
            FROM ({every}) AS every_bucket
            CROSS JOIN ({pairs}) AS pair
            LEFT JOIN found ON found.bucket = every_bucket.bucket
                AND found.platform = pair.platform AND found.product = pair.product
        )"""


def _bucketed(buckets: Buckets, values: dict[str, Any]) -> tuple[str, str]:
    """The bucket of a cell by its ``second``, and the end that a bucket has uncut by ``bucket``.

    Calendar days have 24 hours but for those on which clocks change: few runs of equal ones make them all, and which one holds a
    cell takes no memory to find, where looking its day up among all days (``ASOF JOIN``) sorts the cells.
    """
    if buckets.step is not None:
        values.update(start=buckets.start, step=buckets.step)
        return "$start + (second - $start) // $step * $step", "bucket + $step"
    starts, ends = [], []
    for number, (start, end, step) in enumerate(_runs(buckets.edges)):
        run = f"$run{number}"
        values.update({f"run{number}_from": start, f"run{number}_to": end, f"run{number}_step": step})
        starts.append(f"WHEN second < {run}_to THEN {run}_from + (second - {run}_from) // {run}_step * {run}_step")
        ends.append(f"WHEN bucket < {run}_to THEN bucket + {run}_step")
    return f"CASE {' '.join(starts)} END", f"CASE {' '.join(ends)} END"


def _runs(edges: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Buckets of one length that follow each other: where the first begins, where the last ends, and their length."""
    for step, found in groupby(pairwise(edges), lambda ends: ends[1] - ends[0]):
        ends = list(found)
        yield ends[0][0], ends[-1][1], step


def _output(request: CtrRequest, buckets: Buckets, found: list[Column], values: dict[str, Any]) -> str:
    """What is selected of each counted row, as the format wants it."""
    if FORMATS[request.format].typed:
        return typed(found)
    clock = Clock(request, buckets, values)
    if request.format == "csv":
        return f"{csv_text(found, clock)} AS text"
    begin, end = ("", "\n") if request.format == "ndjson" else (",", "")
    return f"{json_text(found, clock, begin, end)} AS text"
