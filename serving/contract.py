"""The part of the lake's contract that the service reads: tables, columns, platforms. ``docs/lake.md`` explains them.

The jobs declare the same tables in their own module; ``tests/test_contract.py`` proves that both sides agree.
"""

from __future__ import annotations

import pyarrow as pa

PLATFORMS = ("Android", "MobileWeb", "iOS")
"""Every platform, in the byte order of their names, which is the order of answers."""

PARTITION = ("date", "platform")
"""Partition columns of every table but ``coverage`` and ``publications``."""

_TIME = pa.timestamp("us", tz="UTC")


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


_COUNTS = _schema(
    date=pa.date32(), platform=pa.string(), product=pa.string(), time=_TIME, views=pa.int64(), purchases=pa.int64()
)

TABLES: dict[str, pa.Schema] = {
    "views": _schema(
        date=pa.date32(),
        platform=pa.string(),
        product=pa.string(),
        time=_TIME,
        message_id=pa.string(),
        position=pa.int32(),
    ),
    "purchases": _schema(date=pa.date32(), platform=pa.string(), product=pa.string(), time=_TIME),
    "ctr_minute": _COUNTS,
    "ctr_hour": _COUNTS,
    "ctr_day": _COUNTS,
    "coverage": _schema(
        date=pa.date32(),
        platform=pa.string(),
        views=pa.int64(),
        purchases=pa.int64(),
        last_view=_TIME,
        last_purchase=_TIME,
    ),
}
"""Tables that answers are read from, each with the columns that the service needs; others may stand beside them."""

PUBLICATIONS = _schema(
    publication=pa.int64(),
    published_at=_TIME,
    job=pa.string(),
    **{f"{table}_version": pa.int64() for table in TABLES},
    report=pa.string(),
)
"""The columns of ``publications`` that the service needs."""

GRAINS = {"ctr_day": 86_400, "ctr_hour": 3_600, "ctr_minute": 60}
"""Seconds that one row of each rollup stands for, coarsest first."""
