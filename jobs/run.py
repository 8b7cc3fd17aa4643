"""A run: the path of the data from listed files and the database to a publication. ``daily`` and ``backfill`` are both runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

from pyspark.sql import SparkSession

from jobs.config import Config
from jobs.datafiles import DataFile
from jobs.discover import list_events
from jobs.errors import JobError
from jobs.events import Read, Reading, read_events
from jobs.lake import Lake, Partition, rows_of
from jobs.ledger import (
    ARCHIVE,
    DUPLICATE,
    FAILED,
    LOADED,
    PLANNED,
    REPLACED,
    UNKNOWN_PLATFORM,
    Ledger,
    Statement,
    account_columns,
    record,
    statement,
)
from jobs.lock import lake_lock
from jobs.plan import Batch, Selection, make_batches
from jobs.progress import Stages
from jobs.publish import next_number, publish, recover
from jobs.purchases import Purchases, read_purchases
from jobs.replace import rewrite_without
from jobs.report import Report
from jobs.rollup import make_rollup_tasks, write_rollups
from jobs.schemas import COVERAGE, PURCHASES, QUARANTINE, ROLLUPS, VIEWS, Table
from jobs.tasks import make_tasks


@dataclass
class Run:
    """One run of a job on one lake."""

    config: Config
    job: str
    spark: SparkSession
    stages: Stages
    selection: Selection = field(default_factory=Selection)

    def __post_init__(self) -> None:
        self.lake = Lake(self.config.lake)
        self.started = datetime.now(timezone.utc)

    def __call__(self, show: Callable[[Report], None]) -> list[Report]:
        """Does all there is to do, a batch at a time, shows and gives the report of each; between batches the lake is free.

        Raises:
            JobError: the run cannot go on; what was published before stays.
        """
        reports: list[Report] = []
        while not reports or reports[-1].left:
            report = self._locked(first=not reports)
            if report.publication or not reports:
                show(report)
            reports.append(report)
        return reports

    def _locked(self, *, first: bool) -> Report:
        with lake_lock(self.config.lake, self.job, self.config.lock_wait_seconds, self.stages.console.print):
            try:
                return self._batch(with_purchases=first)
            except JobError:  # leave the lake as it was; what dies otherwise is taken back by the next run
                recover(self.lake)
                raise

    def _batch(self, *, with_purchases: bool) -> Report:
        """Recover, list, plan, read, write, roll up, publish: the whole path of one batch."""
        self.lake.create()
        report = Report(self.job, self.started, recovered=recover(self.lake))
        with self.stages.stage("list"):
            listing = list_events(self.config.events, self.config.unfinished_names)
            batches = make_batches(
                self.config.events, listing, Ledger.read(self.lake), self.selection, self.config.batch_bytes
            )
        batch = batches[0] if batches else Batch()
        number = next_number(self.lake)
        record(self.lake, [statement(file, number, PLANNED) for file in batch.files], number)
        read, purchases = self._read_both(batch, number, with_purchases)
        report.add_plan(listing, batches, purchases)
        if batch.empty and not purchases.changed and not purchases.quarantine:
            report.finish(self.stages, self.config)
            return report
        touched = self._write(batch, read, purchases, number)
        self._roll_up(touched, number)
        record(self.lake, conclusions(batch, read, number), number)
        report.add_result(batch, read, touched)
        report.finish(self.stages, self.config)
        report.publication = publish(self.lake, number, self.job, report.to_json())
        return report

    def _read_both(self, batch: Batch, number: int, with_purchases: bool) -> tuple[Read, Purchases]:
        """Events and purchases at the same time: the database's answers are waiting more than work."""
        with ThreadPoolExecutor(1) as pool:
            purchases = pool.submit(self._purchases, number) if with_purchases else None
            read = self._read(batch, number)
            return read, purchases.result() if purchases else Purchases()

    def _purchases(self, number: int) -> Purchases:
        with self.stages.stage("purchases"):
            return read_purchases(self.spark, self.config, self.lake, number, self.started.date())

    def _read(self, batch: Batch, number: int) -> Read:
        if not batch.files:
            return Read()
        with self.stages.stage("read"):
            tasks = make_tasks(self.config.events, batch.files, self.config.task_bytes)
            reading = Reading(
                self.config.events, self.config.lake, self.config.record_bytes, number, self.started.date()
            )
            with self.stages.tasks(self.spark, f"reading {len(batch.files):,} files", len(tasks)):
                return read_events(self.spark, tasks, reading)

    def _write(self, batch: Batch, read: Read, purchases: Purchases, number: int) -> set[Partition]:
        """Commits rows of views, quarantine and purchases; the partitions whose counts may have changed."""
        with self.stages.stage("commit"):
            kept, gone = self._without_replaced(replaced(batch, read), VIEWS)
            self.lake.commit(VIEWS, number, [*read.views, *kept], gone)
            rejects, old_rejects = self._without_replaced(replaced(batch, read), QUARANTINE)
            self.lake.commit(QUARANTINE, number, [*read.quarantine, *purchases.quarantine, *rejects], old_rejects)
            self.lake.commit(PURCHASES, number, purchases.adds, purchases.removes)
        return {(file.date, file.platform) for file in [*read.views, *gone]} | purchases.changed

    def _without_replaced(self, replaced: list[Statement], table: Table) -> tuple[list[DataFile], list[DataFile]]:
        """What has to be added and removed so that rows of replaced files are gone."""
        days = [day for known in replaced for day in known.days(table)]
        if not days:
            return [], []
        return rewrite_without(self.lake, table, {known.file_id for known in replaced}, min(days), max(days))

    def _roll_up(self, touched: set[Partition], number: int) -> None:
        """Recomputes the touched partitions of the rollups and of ``coverage``."""
        if not touched:
            return
        with self.stages.stage("rollup"):
            tasks = make_rollup_tasks(self.lake, touched)
            with self.stages.tasks(self.spark, f"rolling up {len(touched):,} days of platforms", len(tasks)):
                rollups = write_rollups(self.spark, tasks, self.config.lake)
            for table in ROLLUPS:
                self.lake.commit(table, number, rollups.files[table.name], self.lake.files(table, touched))
            self._cover(touched, rollups.coverage, number)

    def _cover(self, touched: set[Partition], rows: dict[Partition, dict[str, Any]], number: int) -> None:
        known = {(row["date"], row["platform"]): row for row in self.lake.read(COVERAGE).to_pylist()}
        for day, platform in touched:
            zero = {"date": day, "platform": platform, "views": 0, "purchases": 0}
            known[day, platform] = rows.get((day, platform), zero)
        self.lake.overwrite(COVERAGE, rows_of(COVERAGE, [known[key] for key in sorted(known)]), number)


def conclusions(batch: Batch, read: Read, number: int) -> list[dict[str, Any]]:
    """Rows of the ledger: what became of every file of a batch."""
    rows = [statement(file, number, UNKNOWN_PLATFORM) for file in batch.unknown]
    rows += [statement(file, number, ARCHIVE) for file in batch.archives]
    rows += [statement(file, number, FAILED, detail=reason) for file, reason in batch.failed]
    rows += [statement(file, number, DUPLICATE, duplicate_of=original) for file, original in batch.duplicates]
    for file in batch.files:
        result = read.files[file.file_id]
        if result.failure is not None:
            rows.append(statement(file, number, FAILED, detail=result.failure))
        else:
            rows.append(statement(file, number, LOADED, checksum=result.checksum, **account_columns(result.account)))
    now = datetime.now(timezone.utc)
    rows += [
        {**asdict(known), "batch": number, "state": REPLACED, "recorded_at": now} for known in replaced(batch, read)
    ]
    return rows


def replaced(batch: Batch, read: Read) -> list[Statement]:
    """Loaded files whose path holds another content that was read; where that failed, the old rows stay until it can be."""
    well = {file.path for file in batch.files if read.files[file.file_id].failure is None}
    return [known for known in batch.replaced if known.path in well]
