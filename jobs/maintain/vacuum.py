"""Data files that no kept publication needs: found by listing the tables' folders, and deleted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from jobs.config import Config
from jobs.errors import JobError
from jobs.lake import Lake
from jobs.maintain.kept import Kept
from jobs.schemas import TABLES


@dataclass(frozen=True)
class Garbage:
    """A data file that may be deleted."""

    path: Path
    size: int


def find_garbage(lake: Lake, kept: Kept, config: Config, now: datetime) -> list[Garbage]:
    """Data files of all tables that no kept version names and that are older than ``vacuum_grace_hours``.

    Among them are the files of runs that died before their commit. Nothing under ``_delta_log`` is ever one of them.
    """
    limit = (now - timedelta(hours=config.vacuum_grace_hours)).timestamp()
    found = []
    for table in TABLES:
        folder = Path(lake.uri(table))
        named = kept.files[table.name]
        for entry in _data_files(folder):
            status = entry.stat()
            if status.st_mtime < limit and Path(entry.path).relative_to(folder).as_posix() not in named:
                found.append(Garbage(Path(entry.path), status.st_size))
    return found


def delete(lake: Lake, garbage: list[Garbage]) -> None:
    """Deletes the files, and the folders of partitions that are empty without them.

    Raises:
        JobError: a file cannot be deleted; the others stay for the next time.
    """
    try:
        for file in garbage:
            file.path.unlink(missing_ok=True)
        for folder in {file.path.parent for file in garbage}:
            _delete_empty(folder, Path(lake.root))
    except OSError as error:
        raise JobError(
            f"cannot clean up the lake: {error}; check who owns the files, then run maintain again"
        ) from error


def _delete_empty(folder: Path, root: Path) -> None:
    """Deletes a partition's folder and those above it that are empty, but never that of a table."""
    while folder.parent != root and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _data_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith(("_", ".")):
                    yield from _data_files(Path(entry.path))
            elif ".parquet" in entry.name:  # delta-rs names an unfinished one x.parquet#1
                yield entry
