"""The tables of the lake: names, columns, partitions. Every column is declared here once; docs/lake.md explains them.

Schemas are Arrow schemas; ``deltalake`` and Spark both take theirs from here. Times are UTC, in microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TIME = pa.timestamp("us", tz="UTC")

PLATFORMS = ("Android", "MobileWeb", "iOS")
"""The platforms, each the name of a folder of event files in any case."""

PARTITION = ("date", "platform")
"""Partition columns of every large table: the UTC day and the platform."""


@dataclass(frozen=True)
class Table:
    """One Delta table of the lake: its folder name, its columns in order, its partition columns."""

    name: str
    schema: pa.Schema
    partition_by: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Column names in schema order."""
        return list(self.schema.names)


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


_COUNTS = _schema(
    date=pa.date32(),
    platform=pa.string(),
    product=pa.string(),
    time=TIME,
    views=pa.int64(),
    purchases=pa.int64(),
)

VIEWS = Table(
    "views",
    _schema(
        date=pa.date32(),
        platform=pa.string(),
        product=pa.string(),
        time=TIME,
        message_id=pa.string(),
        position=pa.int32(),
        file_id=pa.string(),
        offset=pa.int64(),
    ),
    PARTITION,
)

PURCHASES = Table(
    "purchases",
    _schema(
        date=pa.date32(),
        platform=pa.string(),
        product=pa.string(),
        time=TIME,
        order_id=pa.string(),
        item_id=pa.string(),
        device=pa.string(),
        status=pa.string(),
    ),
    PARTITION,
)

QUARANTINE = Table(
    "quarantine",
    _schema(
        date=pa.date32(),
        platform=pa.string(),
        source=pa.string(),
        reason=pa.string(),
        detail=pa.string(),
        file_id=pa.string(),
        offset=pa.int64(),
        position=pa.int32(),
        raw=pa.binary(),
        raw_bytes=pa.int64(),
        batch=pa.int64(),
    ),
    PARTITION,
)

CTR_MINUTE = Table("ctr_minute", _COUNTS, PARTITION)
CTR_HOUR = Table("ctr_hour", _COUNTS, PARTITION)
CTR_DAY = Table("ctr_day", _COUNTS, PARTITION)

COVERAGE = Table(
    "coverage",
    _schema(
        date=pa.date32(),
        platform=pa.string(),
        views=pa.int64(),
        purchases=pa.int64(),
        first_view=TIME,
        last_view=TIME,
        first_purchase=TIME,
        last_purchase=TIME,
    ),
)

FILES = Table(
    "files",
    _schema(
        file_id=pa.string(),
        path=pa.string(),
        platform=pa.string(),
        size=pa.int64(),
        modified=TIME,
        etag=pa.string(),
        checksum=pa.string(),
        batch=pa.int64(),
        state=pa.string(),
        detail=pa.string(),
        duplicate_of=pa.string(),
        layout=pa.string(),
        bytes=pa.int64(),
        lines=pa.int64(),
        records=pa.int64(),
        decoded=pa.int64(),
        quarantined_records=pa.int64(),
        blank=pa.int64(),
        events=pa.int64(),
        views=pa.int64(),
        ignored=pa.int64(),
        quarantined_events=pa.int64(),
        first_time=TIME,
        last_time=TIME,
        recorded_at=TIME,
    ),
)

PUBLICATIONS = Table(
    "publications",
    _schema(
        publication=pa.int64(),
        published_at=TIME,
        batch=pa.int64(),
        job=pa.string(),
        views_version=pa.int64(),
        purchases_version=pa.int64(),
        ctr_minute_version=pa.int64(),
        ctr_hour_version=pa.int64(),
        ctr_day_version=pa.int64(),
        coverage_version=pa.int64(),
        quarantine_version=pa.int64(),
        files_version=pa.int64(),
        report=pa.string(),
    ),
)

ROLLUPS = (CTR_MINUTE, CTR_HOUR, CTR_DAY)
PUBLISHED = (VIEWS, PURCHASES, CTR_MINUTE, CTR_HOUR, CTR_DAY, COVERAGE, QUARANTINE, FILES)
"""Tables that a publication names a version of, so that readers see one state of all of them."""

TABLES = (*PUBLISHED, PUBLICATIONS)
