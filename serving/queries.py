"""All SQL of the service. Values are bound; only names of tables that ``store`` made are put into the text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from serving.parameters import CtrRequest, ProductsRequest
from serving.plan import Buckets, Piece, Plan
from serving.snapshot import DAY, PlatformFacts, Snapshot
from serving.times import offsets

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
        ValueError: it is not one that ``store`` made.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"not a table name: {name!r}")
    return name


def attach(path: str, name: str, version: int) -> str:
    """The statement that makes a Delta table readable under a name, at one version for good."""
    return f"ATTACH {literal(path)} AS {_name(name)} (TYPE delta, VERSION {int(version)}, PIN_SNAPSHOT)"


def detach(name: str) -> str:
    """The statement that ends an ``attach``, if there was one."""
    return f"DETACH DATABASE IF EXISTS {_name(name)}"


def columns_of(name: str) -> str:
    """The columns of a table: rows of name and type."""
    return f"SELECT column_name, column_type FROM (DESCRIBE {_name(name)})"


def coverage(name: str) -> str:
    """The rows of ``coverage`` in the order of ``snapshot.CoverageRow``."""
    return f"SELECT date, platform, views, epoch_us(last_view), epoch_us(last_purchase) FROM {_name(name)}"


def products(request: ProductsRequest, snapshot: Snapshot) -> Query:
    """The names of products that contain a text, in any case, in the byte order of UTF-8."""
    return Query(
        f"SELECT DISTINCT product FROM {_name(snapshot.tables['ctr_day'])} "
        "WHERE contains(lower(product), lower($search)) ORDER BY product LIMIT $limit",
        {"search": request.search, "limit": request.limit},
    )


def ctr(request: CtrRequest, plan: Plan, snapshot: Snapshot) -> Query:
    """The answer as JSON text: one column, one row of the answer in each, begun by a comma, in order."""
    values: dict[str, Any] = {}
    cells = " UNION ALL ".join(
        _cells(piece, number, request, snapshot, values) for number, piece in enumerate(plan.pieces)
    )
    bucket, bucket_end, source = _bucketed(plan.buckets, request.detail, values)
    json_fields = _case_fields(request, plan.buckets, values)
    if request.detail:
        json_fields += _detail_fields(request, plan.buckets, snapshot, values)
    sql = f"""
        WITH cell AS ({cells}),
        counted AS (
            SELECT {bucket} AS bucket, {bucket_end} AS bucket_end, platform, product,
                   sum(views)::BIGINT AS views, sum(purchases)::BIGINT AS purchases
            FROM {source} GROUP BY ALL
        )
        SELECT ',{{' || {" || ',' || ".join(json_fields)} || '}}' AS text
        FROM (SELECT * FROM counted ORDER BY bucket, platform, product)
    """
    return Query(sql, values)


def _cells(piece: Piece, number: int, request: CtrRequest, snapshot: Snapshot, values: dict[str, Any]) -> str:
    """The counts of one piece: second, platform, product, views, purchases."""
    where = _Where(f"piece{number}", piece, request, values)
    if piece.rollup is not None:
        return (
            "SELECT epoch_us(time) // 1000000 AS second, platform, product, views, purchases "
            f"FROM {_name(snapshot.tables[piece.rollup])} WHERE {where.partitions} AND {where.rows}"
        )
    views, purchases = _name(snapshot.tables["views"]), _name(snapshot.tables["purchases"])
    return f"""
        SELECT epoch_us(time) // 1000000 AS second, platform, product, 1::BIGINT AS views, 0::BIGINT AS purchases
        FROM ({_views_once(views, where)})
        UNION ALL
        SELECT epoch_us(time) // 1000000, platform, product, 0::BIGINT, 1::BIGINT
        FROM {purchases} WHERE {where.partitions} AND {where.rows}
    """


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
        self.partitions = f"date BETWEEN ${prefix}_first_day AND ${prefix}_last_day"
        self.rows = f"time >= ${prefix}_from AND time < ${prefix}_to"
        if request.platforms:
            self.partitions += f" AND platform IN ({_bind('platform', request.platforms, values)})"
        if request.products:
            self.rows += f" AND product IN ({_bind('product', request.products, values)})"


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


def _case_fields(request: CtrRequest, buckets: Buckets, values: dict[str, Any]) -> list[str]:
    """The four fields of the case, each as SQL that gives its JSON text. CTR is rounded half up in whole numbers."""
    ratio = "((20000 * purchases + views) // (2 * views))"
    return [
        f"""'"timestamp":"' || {_local("bucket", request, buckets, values)} || '"'""",
        """'"platform":"' || platform || '"'""",
        """'"product":' || to_json(product)""",
        f"""'"CTR":' || CASE WHEN views = 0 THEN 'null'
            ELSE printf('%d.%04d', {ratio} // 10000, {ratio} % 10000) END""",
    ]


def _detail_fields(request: CtrRequest, buckets: Buckets, snapshot: Snapshot, values: dict[str, Any]) -> list[str]:
    """What ``detail`` adds: counts, the end of the bucket, and how far its counts can be trusted."""
    values["end"] = buckets.end
    end = _local("least(bucket_end, $end)", request, buckets, values)
    return [
        """'"views":' || views""",
        """'"purchases":' || purchases""",
        f"""'"bucketEnd":"' || {end} || '"'""",
        f"""'"status":"' || {_status(buckets, snapshot, values)} || '"'""",
    ]


def _local(second: str, request: CtrRequest, buckets: Buckets, values: dict[str, Any]) -> str:
    """An instant as ``YYYY-MM-DD HH:MM:SS`` by the clocks of the zone.

    The offsets are bound here, from the same zone data as the parameters were read with; DuckDB has data of its own.
    """
    changes = offsets(buckets.start, buckets.end + 1, ZoneInfo(request.timezone))
    cases = []
    for number, (_, seconds) in enumerate(changes):
        values[f"offset{number}"] = seconds
        if number + 1 < len(changes):
            values[f"change{number}"] = changes[number + 1][0]
            cases.append(f"WHEN {second} < $change{number} THEN $offset{number}")
    last = f"$offset{len(changes) - 1}"
    offset = f"CASE {' '.join(cases)} ELSE {last} END" if cases else last
    return f"strftime(make_timestamp(({second} + {offset})::BIGINT * 1000000), '%Y-%m-%d %H:%M:%S')"


def _status(buckets: Buckets, snapshot: Snapshot, values: dict[str, Any]) -> str:
    """``partial``: cut by the range, or a day in it is missing; ``provisional``: later than a watermark; ``final``."""
    values["end"] = buckets.end
    partial = ["bucket_end > $end"]
    marks = []
    for number, facts in enumerate(snapshot.platforms.values()):
        values[f"known{number}"] = facts.platform
        for run, (first, last) in enumerate(_missing(facts, buckets)):
            values.update({f"gap{number}_{run}_from": first, f"gap{number}_{run}_to": last})
            partial.append(
                f"platform = $known{number} AND bucket < $gap{number}_{run}_to AND bucket_end > $gap{number}_{run}_from"
            )
        if facts.watermark is not None:
            values[f"mark{number}"] = (facts.watermark - _EPOCH) // timedelta(seconds=1)
            marks.append(f"WHEN $known{number} THEN least(bucket_end, $end) > $mark{number}")
        else:
            marks.append(f"WHEN $known{number} THEN true")
    late = f"CASE platform {' '.join(marks)} ELSE true END" if marks else "true"
    return f"CASE WHEN {' OR '.join(partial)} THEN 'partial' WHEN {late} THEN 'provisional' ELSE 'final' END"


def _missing(facts: PlatformFacts, buckets: Buckets) -> list[tuple[int, int]]:
    """The missing days of a platform that the range touches, as runs of seconds ``[from, to)``."""
    runs: list[tuple[int, int]] = []
    for day in facts.missing_days:
        first = _second(day)
        last = first + 86_400
        if last <= buckets.start or first >= buckets.end:
            continue
        if runs and runs[-1][1] == first:
            runs[-1] = (runs[-1][0], last)
        else:
            runs.append((first, last))
    return runs


def _instant(second: int) -> datetime:
    return _EPOCH + timedelta(seconds=second)


def _day(second: int) -> date:
    return _instant(second).date()


def _second(day: date) -> int:
    return (day - _EPOCH.date()) // DAY * 86_400
