"""A run: the path of the data from listed files and the database to a publication. ``daily`` and ``backfill`` are both runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from jobs.change import changing
from jobs.config import Config
from jobs.contents import Displaced, displace, handed_over
from jobs.events import Read, Reading, read_events
from jobs.lake import Lake, Partition
from jobs.ledger import (
    ARCHIVE,
    DUPLICATE,
    FAILED,
    GONE,
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
from jobs.lock import give_way
from jobs.pace import Pace, say_progress
from jobs.plan import Batch, Checksums, Plan, Selection, make_plan
from jobs.progress import Stages, counting
from jobs.publish import publish
from jobs.purchases import Purchases, read_purchases
from jobs.quality import check_quality
from jobs.recompute import recompute
from jobs.replace import rewrite_without
from jobs.report import Report
from jobs.schemas import PURCHASES, QUARANTINE, VIEWS
from jobs.tasks import make_tasks, size_of_tasks

_CANCEL_SECONDS = 0.2
"""Between two tries to end the reading of the database."""


@dataclass
class Run:
    """One run of a job on one lake."""

    config: Config
    job: str
    spark: SparkSession
    stages: Stages
    selection: Selection = field(default_factory=Selection)
    lake: Lake = field(init=False)
    """That of the batch at work."""

    def __post_init__(self) -> None:
        self.started = datetime.now(timezone.utc)
        self.day = self.started.date()
        self.read_bytes = 0
        self.failed: dict[str, str] = {}
        self.checksums: Checksums = {}

    def __call__(self, show: Callable[[Report], None]) -> list[Report]:
        """Does all there is to do, a batch at a time, shows and gives the report of each; between batches others get their turn.

        Raises:
            JobError: the run cannot go on; what was published before stays.
        """
        reports: list[Report] = []
        while not reports or reports[-1].left:
            if reports:
                give_way(self.config.lake, self.config.lock_wait_seconds)
            report = self._batch(with_purchases=not reports)
            if report.publication or report.files["failed"] or not reports:
                show(report)
            reports.append(report)
        return reports

    def _batch(self, *, with_purchases: bool) -> Report:
        """The whole path of one batch: list, plan, read, write, roll up, publish."""
        with changing(self.config, self.job, self.stages.console.print) as change:
            self.lake = change.lake
            report = Report(self.job, started=self.started)
            report.add_recovered(change.recovered)
            self.day = datetime.now(timezone.utc).date()  # of the batch: a backfill may run for days
            with self._purchases_beside(change.number, wanted=with_purchases) as found:
                with self.stages.stage("list"):
                    ledger = Ledger.read(self.lake, self.failed)
                    plan = make_plan(
                        self.config, ledger, self.selection, self.checksums, partial(counting, self.stages.console)
                    )
                batch = plan.batch
                planned = [file for file in batch.files if not ledger.has_failed(file)]
                record(self.lake, [statement(file, change.number, PLANNED) for file in planned], change.number)
                read = self._read(batch, change.number)
                purchases = found()
            report.add_plan(plan, purchases)
            displaced = displace(batch.files, batch.duplicates, ledger, read)
            concluded = handed_over(self.lake, displaced, change.number)
            concluded += conclusions(batch, read, displaced, change.number)
            self.failed |= {row["file_id"]: row["path"] for row in concluded if row["state"] == FAILED}
            if not (purchases.changed or purchases.rejects or any(ledger.is_news(row) for row in concluded)):
                report.add_result(plan, read, displaced, purchases, set())
                self._check(report, purchases, set())
                report.finish(self.stages)
                return report
            touched = self._write(displaced.gone, read, purchases, change.number)
            recompute(self.spark, self.lake, touched, change.number, self.stages)
            record(self.lake, concluded, change.number)
            report.add_result(plan, read, displaced, purchases, touched)
            self._check(report, purchases, touched)
            report.finish(self.stages)
            report.publication = publish(self.lake, change.number, self.job, report.to_json())
            self._say_progress(plan, report)
            return report

    def _check(self, report: Report, purchases: Purchases, touched: set[Partition]) -> None:
        """Data-quality limits; on a night with nothing new, too: it may be new that nothing comes."""
        findings = check_quality(self.lake, report.account, touched, self.config, self.day, purchases, report.failed)
        report.add_findings(findings, self.config)

    def _say_progress(self, plan: Plan, report: Report) -> None:
        """Between batches: how fast it goes and how long the rest will take."""
        self.read_bytes += report.bytes_on_disk
        if len(plan.batches) > 1:
            seconds = (datetime.now(timezone.utc) - self.started).total_seconds()
            say_progress(self.stages.console, plan.batches[0], plan.batches[1:], Pace(self.read_bytes, seconds))

    @contextmanager
    def _purchases_beside(self, number: int, *, wanted: bool) -> Iterator[Callable[[], Purchases]]:
        """Reads the purchases while the body lists and reads event files: the database's answers are waiting more than work.

        Yields what waits for them, and gives them; none where they are not wanted.
        """
        if not wanted:
            yield Purchases
            return
        with ThreadPoolExecutor(1) as pool:
            purchases = pool.submit(self._purchases, number)
            try:
                yield purchases.result
            except BaseException:
                while not purchases.done():  # or what failed is told only when the database was read
                    with suppress(Py4JError, OSError):  # where the JVM is gone there is nothing to cancel
                        self.spark.sparkContext.cancelAllJobs()
                    wait([purchases], _CANCEL_SECONDS)  # it may start another one
                raise

    def _purchases(self, number: int) -> Purchases:
        with self.stages.stage("purchases"):
            self.spark.sparkContext.setLocalProperty("spark.scheduler.pool", "purchases")  # of this thread
            return read_purchases(self.spark, self.config, self.lake, number, self.day)

    def _read(self, batch: Batch, number: int) -> Read:
        if not batch.files:
            return Read()
        with self.stages.stage("read"):
            cores = self.spark.sparkContext.defaultParallelism
            task_bytes = size_of_tasks(batch.bytes, cores, self.config.task_bytes)
            tasks = make_tasks(self.config.events, batch.files, task_bytes)
            reading = Reading(self.config.events, self.config.lake, self.config.record_bytes, number, self.day)
            with self.stages.tasks(self.spark, f"reading {len(batch.files):,} files", len(tasks), batch.bytes):
                return read_events(self.spark, tasks, reading)

    def _write(self, replaced: list[Statement], read: Read, purchases: Purchases, number: int) -> set[Partition]:
        """Commits rows of views, quarantine and purchases; the partitions whose counts may have changed."""
        with self.stages.stage("commit"):
            kept, gone = rewrite_without(self.lake, VIEWS, replaced)
            self.lake.commit(VIEWS, number, [*read.views, *kept], gone)
            items = purchases.rejects
            self.lake.commit(QUARANTINE, number, [*items.new, *items.rest], items.removes)
            # Only now: a data file may hold order items that are settled and records of a file that is replaced.
            rejects, old_rejects = rewrite_without(self.lake, QUARANTINE, replaced)
            self.lake.commit(QUARANTINE, number, [*read.quarantine, *rejects], old_rejects)
            self.lake.commit(PURCHASES, number, purchases.adds, purchases.removes)
        return {(file.date, file.platform) for file in [*read.views, *gone]} | purchases.changed


def conclusions(batch: Batch, read: Read, displaced: Displaced, number: int) -> list[dict[str, Any]]:
    """Rows of the ledger: what became of every file of a batch, and of those whose rows are gone with it."""
    rows = [statement(file, number, UNKNOWN_PLATFORM) for file in batch.unknown]
    rows += [statement(file, number, ARCHIVE) for file in batch.archives]
    rows += [statement(file, number, FAILED, detail=reason) for file, reason in batch.failed]
    for file, original in batch.duplicates:
        content = displaced.renewed.get(original, original)
        if file.file_id != content:
            rows.append(statement(file, number, DUPLICATE, duplicate_of=content))
    for file in batch.files:
        result = read.files[file.file_id]
        if result.failure is not None:
            rows.append(statement(file, number, FAILED, detail=result.failure))
        else:
            rows.append(statement(file, number, LOADED, checksum=result.checksum, **account_columns(result.account)))
    now = datetime.now(timezone.utc)
    copies = {file.file_id for file, _ in displaced.copies} | {file.file_id for file, _ in batch.duplicates}
    replaced = [known for known in displaced.gone if known.file_id not in copies]
    for state, statements in ((REPLACED, replaced), (GONE, batch.given_up)):
        rows += [{**asdict(known), "batch": number, "state": state, "recorded_at": now} for known in statements]
    return rows
