"""The Delta logs of the tables: which versions they still hold, checkpoints, and log files that nobody needs."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

from jobs.lake import CHECKPOINT_COMMITS, Lake
from jobs.schemas import TABLES, Table

_LOG_DAYS = 30
"""Delta's own retention of logs, which ``cleanup_metadata`` keeps to (``delta.logRetentionDuration``)."""

_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint.*\.parquet")
_LOG = re.compile(r"(\d{20})\..+")


def has_version(lake: Lake, table: Table, version: int) -> bool:
    """Whether the log still says what the table was at a version: by a checkpoint at or before it and every commit since."""
    begin = max((found for found in _versions(lake, table, _CHECKPOINT) if found <= version), default=-1)
    return _versions(lake, table, _COMMIT).issuperset(range(begin + 1, version + 1))


def tables_to_checkpoint(lake: Lake) -> list[Table]:
    """Tables with enough commits since their last checkpoint: those that were made before commits wrote checkpoints as often."""
    found = []
    for table in TABLES:
        since = lake.open(table).version() - max(_versions(lake, table, _CHECKPOINT), default=0)
        if since >= CHECKPOINT_COMMITS:
            found.append(table)
    return found


def write_checkpoint(lake: Lake, table: Table) -> None:
    """Writes the table's newest state beside its log."""
    lake.open(table).create_checkpoint()


def expired_logs(lake: Lake, table: Table, oldest: int, now: datetime, *, after_checkpoint: bool = False) -> list[Path]:
    """Log files that ``clean_logs`` deletes: past Delta's retention, and no version from ``oldest`` on is read from them.

    ``after_checkpoint``: those that it would delete once the newest version had a checkpoint.
    """
    checkpoints = _versions(lake, table, _CHECKPOINT) | ({lake.open(table).version()} if after_checkpoint else set())
    begin = max((version for version in checkpoints if version <= oldest), default=0)
    limit = (now - timedelta(days=_LOG_DAYS)).timestamp()
    return [
        path
        for path in _folder(lake, table).iterdir()
        if (match := _LOG.fullmatch(path.name)) and int(match[1]) < begin and path.stat().st_mtime < limit
    ]


def clean_logs(lake: Lake, table: Table, oldest: int) -> None:
    """Deletes expired logs, by delta-rs, which keeps all that ``oldest`` and later versions are read from."""
    lake.open(table, oldest).cleanup_metadata()


def _versions(lake: Lake, table: Table, kind: re.Pattern[str]) -> set[int]:
    """Versions that have a log file of a kind."""
    names = (path.name for path in _folder(lake, table).iterdir())
    return {int(match[1]) for name in names if (match := kind.fullmatch(name))}


def _folder(lake: Lake, table: Table) -> Path:
    return Path(lake.uri(table)) / "_delta_log"
