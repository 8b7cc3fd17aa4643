"""Older publications: whether their data files are still there, and what changed between two of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from deltalake import DeltaTable

from serving.contract import TABLES
from serving.state.files import files_of
from serving.state.publications import Publication


def is_kept(lake: str, publication: Publication) -> bool:
    """Whether every data file that the publication names is there. Reads logs and looks for files; opens none."""
    try:
        return all(path.exists() for table in TABLES for path in _paths(lake, table, publication.versions[table]))
    except Exception:  # deltalake has no class for "this version is gone"; whatever it raises, the version is of no use
        return False


def oldest_kept(lake: str, history: Sequence[Publication]) -> int | None:
    """The number of the oldest publication that is kept. What is deleted is always the older part (``docs/lake.md``).

    Args:
        lake: the root of the Delta tables.
        history: publications, newest first.
    """
    low, high = 0, len(history)  # history[:low] is kept, history[high:] is not
    while low < high:
        middle = (low + high) // 2
        if is_kept(lake, history[middle]):
            low = middle + 1
        else:
            high = middle
    return history[low - 1].number if low else None


def changed(lake: str, old: Publication, new: Publication) -> list[tuple[date, str]]:
    """The (date, platform) whose data files differ between two publications, in order.

    Every run replaces the files of a partition whose counts changed; ``maintain`` also replaces files without a change.

    Raises:
        PublicationError: a version is gone.
        ValueError: one of them names none.
    """
    before, after = (files_of(lake, "ctr_day", _version(one)).by_partition for one in (old, new))
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def _version(publication: Publication) -> int:
    version = publication.versions["ctr_day"]
    if version is None:
        raise ValueError(f"publication {publication.number} names no version of ctr_day")
    return version


def _paths(lake: str, table: str, version: int | None) -> list[Path]:
    if version is None:
        raise ValueError(f"no version of {table}")
    root = Path(lake) / table
    delta = DeltaTable(str(root), version=version)
    # In what delta-rs calls these files the folder of the table is written as in a URL, what follows it is not.
    folder = delta.table_uri.removeprefix("file://")
    return [root / name.removeprefix(folder) for name in delta.file_uris()]
