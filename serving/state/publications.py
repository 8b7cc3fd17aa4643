"""Reads the rows of ``publications`` and notices new ones, at the cost of one ``stat`` while nothing happens."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from common.days import days_of_runs
from serving.contract import PUBLICATIONS, TABLES

logger = logging.getLogger(__name__)

_COMMIT = re.compile(r"\d{20}\.(json|checkpoint.*\.parquet)")
"""Names in a log that make it one; others are of a commit that has not ended."""

_SETTLED_SECONDS = 2.0
"""A folder changed more recently than this may change again without a new time stamp on a coarse clock."""


@dataclass(frozen=True)
class Publication:
    """One row of ``publications``: a consistent set of table versions."""

    table_id: str
    """Identity of the ``publications`` table; another one means that the lake was made anew."""
    number: int
    published_at: datetime
    versions: dict[str, int | None] = field(hash=False)
    job: str
    report: dict[str, Any] = field(hash=False)
    awaited: dict[str, frozenset[date]] = field(default_factory=dict, hash=False)
    """By platform the days of which event files stood at the source and were in no table when it was published."""

    @property
    def identity(self) -> tuple[str, int, datetime]:
        """What no other publication has, also in a lake made anew."""
        return self.table_id, self.number, self.published_at


class PublicationLog:
    """The ``publications`` table of one lake."""

    def __init__(self, lake: str) -> None:
        self.path = Path(lake) / "publications"
        self._log = self.path / "_delta_log"
        self._seen: tuple[int, int] | None = None

    def changed(self) -> bool:
        """Whether the table may have changed since the last call of ``read``; absent tables count as changed.

        Raises:
            OSError: the table cannot be looked at, which does not say that it is absent.
        """
        mark = self._mark()
        return mark is None or mark != self._seen

    def read(self) -> list[Publication]:
        """All publications, newest first; empty where there is no table.

        Raises:
            Exception: the table cannot be looked at, or whatever ``deltalake`` raises on one that it cannot read.
        """
        mark = self._mark()
        self._seen = None
        if mark is None or not self._has_commit():
            return []
        table = DeltaTable(str(self.path))
        rows = table.to_pyarrow_table(columns=list(PUBLICATIONS.names)).to_pylist()
        publications = [_publication(str(table.metadata().id), row) for row in rows]
        if time.time() - mark[1] / 1e9 > _SETTLED_SECONDS:
            self._seen = mark
        return sorted(publications, key=lambda publication: publication.number, reverse=True)

    def forget(self) -> None:
        """Make the next ``changed`` say yes, so that a publication that could not be served is tried again."""
        self._seen = None

    def _mark(self) -> tuple[int, int] | None:
        """Identity and time of the log's folder: every commit adds a file to it."""
        try:
            status = self._log.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _has_commit(self) -> bool:
        """Whether there is a table. ``DeltaTable.is_deltatable`` says no of one that it may not look at, too."""
        return any(_COMMIT.fullmatch(file.name) for file in self._log.iterdir())


def _publication(table_id: str, row: dict[str, Any]) -> Publication:
    report = _report(row["report"])
    return Publication(
        table_id=table_id,
        number=row["publication"],
        published_at=row["published_at"],
        versions={table: row[f"{table}_version"] for table in TABLES},
        job=row["job"] or "",
        report=report,
        awaited=_awaited(report),
    )


def _report(text: str | None) -> dict[str, Any]:
    """The report as an object. One that is not an object is logged and left out: answers do not depend on it."""
    try:
        report = json.loads(text or "{}")
    except ValueError:
        report = None
    if isinstance(report, dict):
        return report
    logger.warning("a publication has a report that is not a JSON object: %.80r", text)
    return {}


def _awaited(report: dict[str, Any]) -> dict[str, frozenset[date]]:
    """The days that the report names as runs, first and last; where it does not, as in those of before, none."""
    try:
        return {platform: frozenset(days_of_runs(runs)) for platform, runs in report.get("awaited", {}).items()}
    except (AttributeError, TypeError, ValueError):
        logger.warning("a publication has a report whose awaited days cannot be read: %.80r", report.get("awaited"))
        return {}


def runs(publications: list[Publication], count: int = 10) -> Iterator[dict[str, Any]]:
    """The newest runs as ``/v1/status`` tells them: the publication, and what its report says."""
    for publication in publications[:count]:
        yield {
            "dataVersion": publication.number,
            "publishedAt": publication.published_at,
            "job": publication.job,
            "report": publication.report,
        }
