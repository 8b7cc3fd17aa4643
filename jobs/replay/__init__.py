"""The job that tries the quarantine again after a fix: of the rules, of the settings, or of the folder of event files.

Rows that can be used now go over to ``views``, exactly these leave ``quarantine``, the ledger's counts are put right, what
follows is recomputed, and all of it is published at once. All but the recomputation is done in the driver, a row group after the
other: a quarantine is small beside the files. Spark is started only where a view was found.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession
from rich.console import Console

from jobs.arguments import check_days, day
from jobs.change import changing
from jobs.config import Config
from jobs.datafiles import DataFile, write_partitions
from jobs.decoding.records import Account, Reason, Reject, Views
from jobs.discover import EventFile
from jobs.errors import UsageError
from jobs.events import FLUSH_RAW_BYTES, FLUSH_ROWS, Reading, reject_rows, view_rows
from jobs.lake import Lake, Partition, existing_lake
from jobs.ledger import LOADED, account_columns, account_of, event_file, newest_statements, record
from jobs.progress import Stages, counting
from jobs.publish import publish, published
from jobs.quality import check_quality
from jobs.quarantine import Asked, rewrite, row_groups
from jobs.recompute import recompute
from jobs.replay.redecode import extend
from jobs.replay.report import Replayed
from jobs.replay.retry import Retry, Row, Source
from jobs.schemas import FILES, PUBLISHED, QUARANTINE, VIEWS
from jobs.session import spark_session

if TYPE_CHECKING:
    from jobs.arguments import Jobs

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

Session = Callable[[], AbstractContextManager[SparkSession]]
"""Starts Spark, which is stopped at the end of the block."""


def add_parser(jobs: Jobs) -> None:
    """The command line of ``replay``."""
    parser = jobs.add_parser(
        "replay",
        help="try the quarantine again after a fix",
        description="Reads quarantined records and events of event files again by the present rules and settings. What can be "
        "used now is counted and leaves the quarantine; the rest stays. Order items need no replay: daily reads them anew.",
    )
    parser.add_argument(
        "--reason", nargs="+", action="extend", default=[], metavar="REASON", help="only these (docs/quarantine.md)"
    )
    parser.add_argument(
        "--from", dest="first", type=day, metavar="DAY", help="only what was quarantined on this UTC day or later"
    )
    parser.add_argument("--to", dest="last", type=day, metavar="DAY", help="or up to this day, included")
    parser.add_argument("--file", metavar="GLOB", help="only of event files whose path below the root matches")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config, console: Console) -> int:
    """Replays, or says what that would do; 0, or 3 when a data-quality limit was passed."""
    if unknown := sorted(set(arguments.reason) - {reason.value for reason in Reason}):
        raise UsageError(
            f"--reason {', '.join(unknown)}: wanted reasons of events, of {', '.join(reason.value for reason in Reason)}"
        )
    check_days(arguments)
    existing_lake(config.lake)
    asked = Asked(tuple(arguments.reason), arguments.first, arguments.last, arguments.file)
    stages = Stages(console)
    if arguments.dry_run:
        preview(config, asked, stages).show(console, "replay: what would be done")
        return 0
    report = replay(config, asked, stages, lambda: spark_session("replay", stages))
    number = report.publication
    report.show(console, f"replay: publication {number}" if number else "replay: nothing has changed")
    return report.exit_code


def replay(config: Config, asked: Asked, stages: Stages, session: Session) -> Replayed:
    """The whole path: try again, commit what changed, correct the ledger, recompute, publish.

    Raises:
        JobError: it cannot go on; the lake is as it was.
    """
    report = Replayed()
    with changing(config, "replay", stages.console.print) as change:
        lake, number = change.lake, change.number
        report.add_recovered(change.recovered)
        with stages.stage("read"):
            output = _Output(config)
            tried = Retry(config, find_sources(lake, asked), output.keep)
            adds, removes = _try(lake, tried, asked, stages.console)
            output.write()
        report.add_tallies(tried.tallies)
        if not removes:
            report.finish(stages)
            return report
        with stages.stage("commit"):
            lake.commit(VIEWS, number, output.views)
            lake.commit(QUARANTINE, number, [*adds, *output.quarantine], removes)
            record(lake, corrected(tried, number), number)
        touched = {(file.date, file.platform) for file in output.views}
        if touched:
            with session() as spark:
                recompute(spark, lake, touched, number, stages)
        report.partitions = len(touched)
        report.add_findings(check_quality(lake, Account(), touched, config, report.started.date()), config)
        report.finish(stages)
        report.publication = publish(lake, number, "replay", report.to_json())
        return report


def preview(config: Config, asked: Asked, stages: Stages) -> Replayed:
    """What ``replay`` would do now, as the newest publication stands; nothing is written and nothing waits for a run.

    Raises:
        JobError: nothing is published.
    """
    lake = Lake(config.lake)
    newest = published(lake)
    versions = {table.name: newest[f"{table.name}_version"] for table in PUBLISHED}
    report = Replayed()
    touched: set[Partition] = set()

    def note(views: Views, _rejects: list[Reject], file: EventFile, _row: Row) -> None:
        touched.update(partitions_of(views, file))

    with stages.stage("read"):
        tried = Retry(config, find_sources(lake, asked, versions), note)
        for held in _counted(asked_files(lake, asked, versions), stages.console):
            tried.data_file(lake, held, asked)
    report.add_tallies(tried.tallies)
    report.partitions = len(touched)
    report.finish(stages)
    return report


def partitions_of(views: Views, file: EventFile) -> set[Partition]:
    """The partitions in which views of an event file lie."""
    assert file.platform is not None  # a file that is loaded lies in the folder of a platform
    return {((_EPOCH + timedelta(milliseconds=time)).date(), file.platform) for time in views.time_ms}


def asked_files(lake: Lake, asked: Asked, versions: dict[str, int] | None = None) -> list[DataFile]:
    """The data files of the quarantine that hold days asked for, at these versions (default: the newest)."""
    version = (versions or {}).get(QUARANTINE.name)
    return [held for held in lake.files(QUARANTINE, version=version) if asked.takes_day(held.date)]


def find_sources(lake: Lake, asked: Asked, versions: dict[str, int] | None = None) -> dict[str, Source | None]:
    """By ``file_id`` the event files with rows that are asked for; None where the ledger does not say that one is loaded."""
    names = ["source", "reason", "file_id"]
    wanted: set[str] = set()
    for held in asked_files(lake, asked, versions):
        for _, rows in row_groups(lake, held, names):
            wanted.update(pc.unique(rows["file_id"].filter(asked.mask(rows))).to_pylist())
    rows = newest_statements(lake.read(FILES, version=(versions or {}).get(FILES.name)))
    rows = rows.filter(pc.is_in(rows["file_id"], value_set=pa.array(wanted, pa.string())))
    known = {row["file_id"]: row for row in rows.to_pylist()}
    found: dict[str, Source | None] = {}
    for file_id in wanted:
        row = known.get(file_id)
        if row is None and asked.path is None:
            found[file_id] = None
        elif row is not None and asked.takes_path(row["path"]):
            found[file_id] = Source(event_file(row), row) if row["state"] == LOADED else None
    return found


def corrected(tried: Retry, number: int) -> list[dict[str, Any]]:
    """Statements about the event files whose counts changed.

    ``recorded_at`` stays: it tells in which partitions of the quarantine the rows of a file lie (``Statement.days``).

    Raises:
        AccountError: the counts of a file do not add up any more.
    """
    rows = []
    for file_id, change in tried.accounts.items():
        known = tried.source(file_id).statement
        account = account_of(known) + change
        account.check(known["path"])
        rows.append({**known, "batch": number, **account_columns(account)})
    return rows


def _try(lake: Lake, tried: Retry, asked: Asked, console: Console) -> tuple[list[DataFile], list[DataFile]]:
    """Tries all rows that are asked for; data files of the quarantine to add and to remove for those that were there before."""
    adds: list[DataFile] = []
    removes: list[DataFile] = []
    for held in _counted(asked_files(lake, asked), console):
        changes = tried.data_file(lake, held, asked)
        if changes:
            adds += rewrite(lake, held, changes.gone, changes.renamed)
            removes.append(held)
    return adds, removes


def _counted(files: list[DataFile], console: Console) -> Iterator[DataFile]:
    """Passes the files on and shows how many are done."""
    with counting(console, "trying the quarantine again", len(files)) as done:
        for file in files:
            yield file
            done()


class _Output:
    """Writes views and new rejects as data files whenever there are many of them; nothing is committed."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._found: dict[str, tuple[EventFile, Views]] = {}
        self._rejects: list[pa.Table] = []
        self._rows = self._bytes = 0
        self.views: list[DataFile] = []
        self.quarantine: list[DataFile] = []

    def keep(self, views: Views, rejects: list[Reject], file: EventFile, row: Row) -> None:
        """Takes what is found in place of a row; rejects stand where the row stood, so that they are not kept for longer."""
        if views:
            extend(self._found.setdefault(file.file_id, (file, Views()))[1], views)
        if rejects:
            config = self._config
            reading = Reading(config.events, config.lake, config.record_bytes, row.batch, row.held.date)
            self._rejects.append(reject_rows(rejects, file, reading))
        self._rows += len(views) + len(rejects)
        self._bytes += sum(len(reject.raw) for reject in rejects)
        if self._rows >= FLUSH_ROWS or self._bytes >= FLUSH_RAW_BYTES:
            self.write()

    def write(self) -> None:
        """Writes what is held."""
        if self._found:
            rows = pa.concat_tables([view_rows(views, file) for file, views in self._found.values()])
            self.views += write_partitions(self._config.lake, VIEWS, rows, ["product", "time"])
        if self._rejects:
            rejects = pa.concat_tables(self._rejects)
            self.quarantine += write_partitions(self._config.lake, QUARANTINE, rejects, ["offset"])
        self._found, self._rejects = {}, []
        self._rows = self._bytes = 0
