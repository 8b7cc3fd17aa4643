"""Older publications: whether their data files are still there, and what changed between two of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from datetime import date
from math import inf
from pathlib import Path
from time import monotonic

from deltalake import DeltaTable

from serving.contract import TABLES
from serving.state.files import files_of
from serving.state.publications import Publication

_TRUSTED_SECONDS = 60.0
"""How long the oldest publication that was kept is told without another look."""


def is_kept(lake: str, publication: Publication) -> bool:
    """Whether every data file that the publication names is there. Reads logs and looks for files; opens none.

    Raises:
        OSError: the system does not let anybody look, which says nothing of the publication.
    """
    try:
        return all(path.exists() for table in TABLES for path in _paths(lake, table, publication.versions[table]))
    except OSError:
        raise
    except Exception:  # deltalake has no class for "this version is gone"; whatever it raises, the version is of no use
        return False


class Kept:
    """Which publications of a history are kept, as of one state of it. Threads may share it.

    Data files go without a new publication: what is gone stays gone and is remembered, what is kept is looked at again.
    """

    def __init__(self, lake: str, history: Sequence[Publication]) -> None:
        """Nothing is known yet; the history has the newest first."""
        self._lake = lake
        self._history = history
        self._gone: set[Publication] = set()
        self._searching = threading.Lock()
        self._oldest: Publication | None = None
        self._trusted_until = -inf

    def is_gone(self, publication: Publication) -> bool:
        """Whether data files that the publication names are gone for good.

        Where those of the newest are not there either, the lake is out of reach or broken, perhaps for a moment.
        """
        if publication in self._gone:
            return True
        newest = self._history[0] if self._history else publication
        with contextlib.suppress(OSError):
            if publication != newest and not is_kept(self._lake, publication) and is_kept(self._lake, newest):
                self._gone.add(publication)
        return publication in self._gone

    def oldest(self) -> int | None:
        """The number of the oldest that is kept. One that is gone is named for a while, until somebody asks for it.

        ``None``: there is none, or the lake is out of reach.
        """
        with self._searching:
            if monotonic() >= self._trusted_until or self._oldest in self._gone:
                self._oldest = None
                with contextlib.suppress(OSError):
                    self._oldest = self._search()
                    self._trusted_until = monotonic() + _TRUSTED_SECONDS
            return self._oldest.number if self._oldest is not None else None

    def _search(self) -> Publication | None:
        """The oldest that is kept. What is deleted is always the older part (``docs/lake.md``)."""
        low, high = 0, len(self._history)  # history[:low] is kept, history[high:] is not
        while low < high:
            middle = (low + high) // 2
            if is_kept(self._lake, self._history[middle]):
                low = middle + 1
            else:
                high = middle
        return self._history[low - 1] if low else None


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
