"""Compaction: many small data files of a partition become one sorted file, the ledger its newest statements. No row changes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from typing import Any

import pyarrow as pa

from jobs.datafiles import DataFile
from jobs.errors import JobError
from jobs.lake import Lake
from jobs.ledger import newest_statements
from jobs.maintain.merge import HELD_BYTES, held_bytes, merge
from jobs.schemas import FILES, PUBLICATIONS, PURCHASES, QUARANTINE, ROLLUPS, VIEWS, Table

COMPACTED = (VIEWS, PURCHASES, *ROLLUPS, QUARANTINE)
"""Tables whose partitions are compacted, in this order."""

CONTROL_FILES = 20
"""Data files of a control table after which it is written again as one."""

_THREADS = 4


@dataclass(frozen=True)
class Rewrite:
    """Small files of one partition that become one."""

    table: Table
    files: tuple[DataFile, ...]

    @property
    def date(self) -> date:
        """The partition's UTC day."""
        return self.files[0].date

    @property
    def platform(self) -> str:
        """The partition's platform."""
        return self.files[0].platform

    @property
    def bytes(self) -> int:
        """Bytes to read."""
        return sum(file.size for file in self.files)


@dataclass
class Swap:
    """Data files of one table to add and to remove in one commit."""

    adds: list[DataFile] = field(default_factory=list)
    removes: list[DataFile] = field(default_factory=list)


def plan_rewrites(table: Table, files: Iterable[DataFile], small: int) -> list[Rewrite]:
    """One rewrite for each partition with more than one file below ``small`` bytes, newest day first.

    A partition with more of them than one merge can hold has several.
    """
    partitions: dict[tuple[date, str], list[DataFile]] = defaultdict(list)
    for file in files:
        if file.size < small:
            partitions[file.date, file.platform].append(file)
    return [
        Rewrite(table, tuple(group))
        for key in sorted(partitions, reverse=True)
        for group in _groups(partitions[key])
        if len(group) > 1
    ]


def _groups(files: list[DataFile]) -> Iterator[list[DataFile]]:
    group: list[DataFile] = []
    held = 0
    for file in sorted(files, key=lambda file: (file.size, file.path)):
        if len(group) > 1 and held + held_bytes(file) > HELD_BYTES:
            yield group
            group, held = [], 0
        group.append(file)
        held += held_bytes(file)
    yield group


def cut(rewrites: list[Rewrite], most_bytes: int) -> tuple[list[Rewrite], list[Rewrite]]:
    """The rewrites that one publication takes, at least one, and those left for the next."""
    total = 0
    for place, rewrite in enumerate(rewrites):
        total += rewrite.bytes
        if place and total > most_bytes:
            return rewrites[:place], rewrites[place:]
    return rewrites, []


def write(lake: Lake, rewrites: list[Rewrite], done: Callable[[], None]) -> dict[str, Swap]:
    """Writes the merged files: what to commit, by table. ``done`` is called after each rewrite. Nothing is committed.

    Raises:
        JobError: a file cannot be read or written.
    """
    swaps: dict[str, Swap] = defaultdict(Swap)
    todo = iter(rewrites)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        try:
            running = {pool.submit(_write, lake, rewrite): rewrite for rewrite in islice(todo, _THREADS)}
            while running:
                ended = next(as_completed(running))
                swap = swaps[running.pop(ended).table.name]
                adds, removes = ended.result()
                swap.adds += adds
                swap.removes += removes
                done()
                running.update({pool.submit(_write, lake, rewrite): rewrite for rewrite in islice(todo, 1)})
        except OSError as error:
            raise JobError(f"cannot compact the lake {lake.root}: {error}; nothing was changed") from error
    return swaps


def _write(lake: Lake, rewrite: Rewrite) -> tuple[list[DataFile], list[DataFile]]:
    paths = [f"{lake.uri(rewrite.table)}/{file.path}" for file in rewrite.files]
    return merge(lake.root, rewrite.table, rewrite.date, rewrite.platform, paths), list(rewrite.files)


def find_ledger(lake: Lake, version: int | None = None) -> tuple[pa.Table, int] | None:
    """The ledger compacted and how many statements it loses; None where there is nothing to gain."""
    rows = lake.read(FILES, version=version)
    newest = newest_statements(rows)
    superseded = rows.num_rows - newest.num_rows
    if superseded or len(lake.open(FILES, version).file_uris()) > CONTROL_FILES:
        return newest, superseded
    return None


def compact_publications(lake: Lake, number: int, *, dry_run: bool = False) -> int:
    """Writes the rows of ``publications`` again as one file when they lie in many; how many there were, or 0.

    The rows stay as they are and no version of this table is ever asked for, so this needs no publication.
    """
    count = len(lake.open(PUBLICATIONS).file_uris())
    if count <= CONTROL_FILES:
        return 0
    if not dry_run:
        lake.overwrite(PUBLICATIONS, lake.read(PUBLICATIONS).sort_by("publication"), number)
    return count


def describe(swap: Swap) -> dict[str, Any]:
    """The swap as JSON values for the report."""
    return {
        "partitions": len({(file.date, file.platform) for file in swap.removes}),
        "files_before": len(swap.removes),
        "files_after": len(swap.adds),
        "bytes_before": sum(file.size for file in swap.removes),
        "bytes_after": sum(file.size for file in swap.adds),
    }
