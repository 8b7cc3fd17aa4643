"""The columns of an answer as SQL: each one typed, for Arrow and Parquet, or as a part of one text a row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from statistics import NormalDist
from typing import Any
from zoneinfo import ZoneInfo

from serving.query.plan import Buckets
from serving.request.parameters import CtrRequest
from serving.request.times import offsets
from serving.state.snapshot import DAY, PlatformFacts, Snapshot

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Column:
    """One column: its name, what kind of value it has, and the SQL of it.

    Kinds: ``time`` (a second), ``name`` (text that needs no escape), ``text``, ``count``, and ``share``: a fraction
    of one in whole ten thousandths, or NULL, so that no digit depends on how a floating-point number is printed.
    """

    name: str
    kind: str
    sql: str


def column_names(request: CtrRequest) -> list[str]:
    """The names of the columns of a request in the order of the answer."""
    names = ["timestamp", "platform", "product", "CTR"]
    if request.detail:
        names += ["views", "purchases", "bucketEnd", "status"]
    return names + (["ciLow", "ciHigh"] if request.ci is not None else [])


def columns(request: CtrRequest, buckets: Buckets, snapshot: Snapshot, values: dict[str, Any]) -> list[Column]:
    """The columns of a request in the order of the answer, made from ``queries.ctr``'s counts of each bucket."""
    found = [
        Column("timestamp", "time", "bucket"),
        Column("platform", "name", "platform"),
        Column("product", "text", "product"),
        Column("CTR", "share", _CTR),
    ]
    if request.detail:
        values["end"] = buckets.end
        found += [
            Column("views", "count", "views"),
            Column("purchases", "count", "purchases"),
            Column("bucketEnd", "time", "least(bucket_end, $end)"),
            Column("status", "name", _status(buckets, snapshot, values)),
        ]
    if request.ci is not None:
        values["z"] = NormalDist().inv_cdf((1 + request.ci) / 2)
        found += [Column("ciLow", "share", _wilson("-")), Column("ciHigh", "share", _wilson("+"))]
    return found


_CTR = "CASE WHEN views > 0 THEN (20000 * purchases + views) // (2 * views) END"
"""Purchases / views, rounded half up on the exact fraction, in whole numbers."""


def _wilson(sign: str) -> str:
    """One end of Wilson's score interval for purchases out of views, rounded half up like CTR.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927. A CTR above 1 is no
    share of anything, so it has no interval.
    """
    root = "sqrt($z * $z + 4.0::DOUBLE * purchases * (views - purchases) / views)"
    end = f"(2.0::DOUBLE * purchases + $z * $z {sign} $z * {root}) / (2.0::DOUBLE * (views + $z * $z))"
    return f"CASE WHEN views > 0 AND purchases <= views THEN floor(10000 * ({end}) + 0.5)::BIGINT END"


def typed(columns: list[Column]) -> str:
    """The columns as a select list of typed values. A share is the double that is nearest to its four digits."""
    forms = {
        "time": "make_timestamptz(({sql})::BIGINT * 1000000)",
        "share": "({sql})::DOUBLE / 10000",
        "count": "({sql})::BIGINT",
    }
    return ", ".join(
        f'{forms.get(column.kind, "{sql}").format(sql=column.sql)} AS "{column.name}"' for column in columns
    )


def json_text(columns: list[Column], clock: Clock, begin: str = "", end: str = "") -> str:
    """One JSON object a row between two texts. All in one ``concat``: a chain of ``||`` takes several times as long."""
    forms = {"text": "to_json({sql})", "share": "coalesce({sql}, 'null')"}
    parts, open_text = [], begin + "{"
    for column in columns:
        quote = '"' if column.kind in ("time", "name") else ""
        value = forms.get(column.kind, "{sql}").format(sql=_text(column, clock))
        parts += [f"'{open_text}\"{column.name}\":{quote}'", value]
        open_text = f"{quote},"
    return f"concat({', '.join(parts)}, '{open_text.removesuffix(',')}}}{end}')"


def csv_text(columns: list[Column], clock: Clock) -> str:
    """One line of CSV a row (RFC 4180) and its end; NULL is an empty field."""
    forms = {
        "text": "CASE WHEN regexp_matches({sql}, '[\",\\r\\n]') THEN '\"' || replace({sql}, '\"', '\"\"') || '\"' "
        "ELSE {sql} END",
        "share": "coalesce({sql}, '')",
    }
    fields = (forms.get(column.kind, "{sql}").format(sql=_text(column, clock)) for column in columns)
    return f"""concat({", ',', ".join(fields)}, '\r\n')"""


def _text(column: Column, clock: Clock) -> str:
    """The value of a column as text; NULL stays NULL."""
    if column.kind == "time":
        return clock.text(column.sql)
    if column.kind == "share":
        return f"(({column.sql})::DECIMAL(14, 0) * 0.0001::DECIMAL(4, 4))::VARCHAR"
    return f"({column.sql})"


class Clock:
    """The clocks of the request's zone during its range.

    The offsets are bound here, from the same zone data as the parameters were read with; DuckDB has data of its own.
    """

    def __init__(self, request: CtrRequest, buckets: Buckets, values: dict[str, Any]) -> None:
        self._changes = offsets(buckets.start, buckets.end + 1, ZoneInfo(request.timezone))
        for number, (_, seconds) in enumerate(self._changes):
            values[f"offset{number}"] = seconds
            if number + 1 < len(self._changes):
                values[f"change{number}"] = self._changes[number + 1][0]

    def text(self, second: str) -> str:
        """An instant as ``YYYY-MM-DD HH:MM:SS``."""
        last = len(self._changes) - 1
        offset = f"$offset{last}"
        if last:
            cases = " ".join(f"WHEN {second} < $change{number} THEN $offset{number}" for number in range(last))
            offset = f"CASE {cases} ELSE {offset} END"
        return f"make_timestamp(({second} + {offset})::BIGINT * 1000000)::VARCHAR"


def _status(buckets: Buckets, snapshot: Snapshot, values: dict[str, Any]) -> str:
    """``partial``: cut by the range, or a day in it is missing; ``provisional``: later than a watermark; ``final``."""
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
    for day in facts.missing(_day(buckets.start), _day(buckets.end - 1)):
        first = _second(day)
        last = first + 86_400
        if runs and runs[-1][1] == first:
            runs[-1] = (runs[-1][0], last)
        else:
            runs.append((first, last))
    return runs


def _day(second: int) -> date:
    return _EPOCH.date() + second // 86_400 * DAY


def _second(day: date) -> int:
    return (day - _EPOCH.date()) // DAY * 86_400
