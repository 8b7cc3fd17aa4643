"""The job that keeps a lake fast and small: it merges small files, drops what is out of date, and deletes what nobody can ask for.

No count changes. Whatever it rewrites is published first, and only then files are deleted that no kept publication names: a kill
at any step costs nothing but the work.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.console import Console

from jobs.change import changing
from jobs.config import Config
from jobs.datafiles import DataFile
from jobs.errors import UsageError
from jobs.lake import Lake, existing_lake
from jobs.lock import give_way
from jobs.maintain.compact import (
    COMPACTED,
    Rewrite,
    Swap,
    compact_publications,
    cut,
    describe,
    find_ledger,
    plan_rewrites,
    write,
)
from jobs.maintain.kept import find_kept
from jobs.maintain.logs import clean_logs, expired_logs, tables_to_checkpoint, write_checkpoint
from jobs.maintain.report import Maintenance
from jobs.maintain.vacuum import delete, find_garbage
from jobs.progress import Stages, counting
from jobs.publish import publish, published
from jobs.schemas import FILES, PUBLISHED, QUARANTINE, TABLES

if TYPE_CHECKING:
    from jobs.arguments import Jobs

LEAST_KEEP_DAYS = 7
"""Below this a reader may lose the data under it; Delta's own VACUUM asks for as much."""


@dataclass
class Work:
    """What there is to rewrite for one publication."""

    rewrites: list[Rewrite]
    left: int
    """Rewrites that are left for the next publication."""
    expired: list[DataFile]
    """Data files of ``quarantine`` whose rows are older than ``quarantine_days``."""
    ledger: pa.Table | None
    superseded: int
    """Statements that the ledger loses: there are newer ones about the same files."""

    @property
    def empty(self) -> bool:
        """Whether nothing has to be committed."""
        return not self.rewrites and not self.expired and self.ledger is None


def add_parser(jobs: Jobs) -> None:
    """The command line of ``maintain``."""
    parser = jobs.add_parser(
        "maintain",
        help="merge small files, drop what is out of date, free the disk (needs no Spark)",
        description="Merges small data files, removes rejects older than quarantine_days, drops superseded statements of the "
        "ledger, publishes that, and then deletes data and logs that no publication of the last keep_days, and none of the "
        "newest keep_publications, needs. No count changes.",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
    parser.add_argument(
        "--short-retention",
        action="store_true",
        help=f"obey a keep_days below {LEAST_KEEP_DAYS}: readers that still use an older publication then fail",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config, console: Console) -> int:
    """Maintains the lake, or says what there is to do; 0."""
    if config.keep_days < LEAST_KEEP_DAYS and not arguments.short_retention:
        raise UsageError(
            f"keep_days is {config.keep_days:g}: wanted at least {LEAST_KEEP_DAYS}, so that no reader loses the data under "
            "it; raise it, or say --short-retention"
        )
    existing_lake(config.lake)
    if arguments.dry_run:
        preview(config).show(console, "maintain: what would be done")
    else:
        maintain(config, Stages(console))
    return 0


def maintain(config: Config, stages: Stages) -> list[Maintenance]:
    """Does all there is to do, at most ``batch_bytes`` a publication, and shows each; between them others get their turn.

    Raises:
        JobError: something cannot be read, written or deleted; what was published before stays.
    """
    done: list[Maintenance] = []
    while not done or done[-1].left:
        if done:
            give_way(config.lake, config.lock_wait_seconds)
        done.append(_round(config, stages))
        number = done[-1].publication
        done[-1].show(stages.console, f"maintain: publication {number}" if number else "maintain: nothing to rewrite")
    return done


def _round(config: Config, stages: Stages) -> Maintenance:
    """The whole path for one publication: find, rewrite, publish; when no work is left, clean up."""
    now = datetime.now(timezone.utc)
    with changing(config, "maintain", stages.console.print) as change:
        result = Maintenance(started=now)
        result.add_recovered(change.recovered)
        with stages.stage("find"):
            work = find_work(change.lake, config, now.date())
        result.add_work(work.expired, work.superseded, work.left)
        if not work.empty:
            with stages.stage("rewrite"):
                result.compacted = _rewrite(change.lake, work, change.number, stages.console)
            result.finish(stages)
            result.publication = publish(change.lake, change.number, "maintain", result.to_json())
        if not work.left:
            with stages.stage("clean"):
                result.publication_files = compact_publications(change.lake, change.number)
                _clean(change.lake, config, result, datetime.now(timezone.utc))
        return result


def preview(config: Config) -> Maintenance:
    """What ``maintain`` would do now, as the newest publication stands; nothing is changed and nothing waits for a run.

    Raises:
        JobError: nothing is published.
    """
    lake = Lake(config.lake)
    newest = published(lake)
    now = datetime.now(timezone.utc)
    work = find_work(lake, config, now.date(), {table.name: newest[f"{table.name}_version"] for table in PUBLISHED})
    result = Maintenance()
    result.add_work(work.expired, work.superseded, work.left)
    result.left = 0
    for table in COMPACTED:
        rewrites = [rewrite for rewrite in work.rewrites if rewrite.table is table]
        if rewrites:
            removes = [file for rewrite in rewrites for file in rewrite.files]
            row = {**describe(Swap(removes=removes)), "files_after": len(rewrites)}
            del row["bytes_after"]
            result.compacted[table.name] = row
    result.publication_files = compact_publications(lake, 0, dry_run=True)
    _clean(lake, config, result, now, dry_run=True)
    return result


def find_work(lake: Lake, config: Config, today: date, versions: dict[str, int] | None = None) -> Work:
    """What there is to rewrite in the tables at these versions (default: the newest), at most ``batch_bytes`` of it.

    With versions, which is for looking only, all of it.
    """
    named = versions or {}
    oldest = today - timedelta(days=config.quarantine_days)
    expired = [file for file in lake.files(QUARANTINE, version=named.get(QUARANTINE.name)) if file.date < oldest]
    rewrites: list[Rewrite] = []
    for table in COMPACTED:
        files = lake.files(table, version=named.get(table.name))
        if table is QUARANTINE:
            files = [file for file in files if file.date >= oldest]
        rewrites += plan_rewrites(table, files, config.compact_bytes)
    taken, left = (rewrites, []) if versions else cut(rewrites, config.batch_bytes)
    ledger, superseded = find_ledger(lake, named.get(FILES.name)) or (None, 0)
    return Work(taken, len(left), expired, ledger, superseded)


def _rewrite(lake: Lake, work: Work, number: int, console: Console) -> dict[str, dict[str, Any]]:
    """Writes and commits the work; what was compacted, by table. Nothing is published."""
    with counting(console, "merging small files", len(work.rewrites)) as done:
        swaps = write(lake, work.rewrites, done)
    compacted = {table.name: describe(swaps[table.name]) for table in COMPACTED if table.name in swaps}
    for table in COMPACTED:
        swap = swaps.get(table.name, Swap())
        lake.commit(table, number, swap.adds, [*swap.removes, *(work.expired if table is QUARANTINE else [])])
    if work.ledger is not None:
        lake.overwrite(FILES, work.ledger, number)
    return compacted


def _clean(lake: Lake, config: Config, result: Maintenance, now: datetime, *, dry_run: bool = False) -> None:
    """Checkpoints, logs and data files. What has to stay is known of every table before the first file is deleted."""
    checkpoints = tables_to_checkpoint(lake)
    result.checkpoints = [table.name for table in checkpoints]
    if not dry_run:
        for table in checkpoints:
            write_checkpoint(lake, table)
    kept = find_kept(lake, config, now)
    garbage = find_garbage(lake, kept, config, now)
    result.kept = kept.publications
    if kept.lost:
        result.warnings.append(f"the logs of publications {_numbers(kept.lost)} are gone: they cannot be kept")
    result.logs = sum(
        len(expired_logs(lake, table, kept.oldest[table.name], now, after_checkpoint=table in checkpoints))
        for table in TABLES
    )
    result.deleted = {"files": len(garbage), "bytes": sum(file.size for file in garbage)}
    if dry_run:
        return
    delete(lake, garbage)
    for table in TABLES:
        clean_logs(lake, table, kept.oldest[table.name])


def _numbers(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
