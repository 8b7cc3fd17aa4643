"""What of the past is kept: the publications that readers may still use, and the data files that these name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from jobs.config import Config
from jobs.lake import Lake
from jobs.maintain.logs import has_version
from jobs.schemas import PUBLICATIONS, PUBLISHED, Table

Row = dict[str, Any]
"""A publication by column name."""


def all_publications(lake: Lake) -> list[Row]:
    """Every publication without its report, newest first."""
    columns = [name for name in PUBLICATIONS.columns if name != "report"]
    rows: list[Row] = lake.read(PUBLICATIONS, columns).sort_by([("publication", "descending")]).to_pylist()
    return rows


def kept_publications(publications: list[Row], config: Config, now: datetime) -> list[Row]:
    """Of ``publications``, newest first, those to keep.

    They are the ones that were the newest at some moment of the last ``keep_days``, and the newest ``keep_publications``.
    """
    since = now - timedelta(days=config.keep_days)
    before = [place for place, row in enumerate(publications) if row["published_at"] < since]
    # The newest of those before was still what readers saw when the time began.
    count = before[0] + 1 if before else len(publications)
    return publications[: max(count, config.keep_publications)]


def files_of(lake: Lake, table: Table, version: int) -> set[str] | None:
    """Paths of the data files of a version, relative to the table's folder; None when its log is gone.

    Raises:
        Exception: the log is there and cannot be read.
    """
    if not has_version(lake, table, version):
        return None
    return set(lake.add_actions(table, version)["path"].to_pylist())


@dataclass
class Kept:
    """Versions to keep, and the data files that they name."""

    publications: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    """Publications that should be kept and cannot be read any more."""
    files: dict[str, set[str]] = field(default_factory=dict)
    """By table; files of the newest versions among them."""
    oldest: dict[str, int] = field(default_factory=dict)
    """The oldest version of each table that is needed."""


def find_kept(lake: Lake, config: Config, now: datetime) -> Kept:
    """What readers of the kept publications need, of each table.

    Raises:
        Exception: a log that is there cannot be read; then nothing is known, and nothing may be deleted.
    """
    kept = Kept()
    publications = kept_publications(all_publications(lake), config, now)
    lost: set[int] = set()
    for table in PUBLISHED:
        named = {row["publication"]: row[f"{table.name}_version"] for row in publications}
        gone = _keep(kept, lake, table, named.values())
        lost.update(number for number, version in named.items() if version in gone)
    grace = now - timedelta(hours=config.vacuum_grace_hours)
    _keep(kept, lake, PUBLICATIONS, _versions_since(lake, PUBLICATIONS, grace))
    kept.lost = sorted(lost)
    kept.publications = sorted(row["publication"] for row in publications if row["publication"] not in lost)
    return kept


def _keep(kept: Kept, lake: Lake, table: Table, versions: Iterable[int]) -> set[int]:
    """Adds these versions of a table and its newest; those of them that are gone."""
    wanted = {*versions, lake.open(table).version()}
    found = {version: files_of(lake, table, version) for version in sorted(wanted)}
    there = {version: files for version, files in found.items() if files is not None}
    kept.files[table.name] = set().union(*there.values())
    kept.oldest[table.name] = min(there)
    return wanted - set(there)


def _versions_since(lake: Lake, table: Table, since: datetime) -> list[int]:
    """Versions that were the newest at some moment since then."""
    versions: list[int] = []
    for entry in lake.open(table).history():  # newest first
        versions.append(entry["version"])
        if entry["timestamp"] < since.timestamp() * 1000:
            break
    return versions
