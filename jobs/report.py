"""The report of a run: what it read, wrote and left, as the closing table, as JSON in the publication, and as an exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from jobs.awaited import Runs, awaited
from jobs.contents import Displaced
from jobs.decoding.records import Account
from jobs.events import Read
from jobs.lake import Partition
from jobs.outcome import Outcome
from jobs.plan import Plan
from jobs.purchases import Purchases
from jobs.quality import by_age

_SHOWN = 5


@dataclass
class Report(Outcome):
    """One batch of a run, or a run that had nothing to do (``publication`` None)."""

    job: str
    left: int = 0
    """Batches that are still to do."""
    files: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    """Paths of the event files that could not be read, each with the reason."""
    account: Account = field(default_factory=Account)
    bytes_on_disk: int = 0
    purchases: dict[str, Any] = field(default_factory=dict)
    partitions: int = 0
    awaited: Runs = field(default_factory=dict)
    """Days of which event files are still to be read."""
    ages: dict[str, dict[str, int]] = field(default_factory=dict)
    """Views that arrived, purchases that came to a day and that left it, and partitions that were touched, by age of their day."""

    def add_plan(self, plan: Plan, purchases: Purchases) -> None:
        """What the run found to do."""
        listing, batches, batch = plan.listing, plan.batches, plan.batch
        self.left = len(batches) - 1 if batches else 0
        self.files.update(
            listed=len(listing.files),
            unfinished=len(listing.unfinished),
            removed=len(plan.removed),
            planned=len(batch.files),
            duplicate=len(batch.duplicates),
            unknown_platform=len(batch.unknown),
        )
        self.bytes_on_disk = batch.bytes
        self.purchases = purchases.counts
        self._warn("look half-copied and are left for later", listing.unfinished)
        if plan.source_is_empty and plan.removed:
            self.warnings.append(
                f"there is no event file at all, and {len(plan.removed):,} were loaded before: check that the folder of "
                "CTR_EVENTS is mounted; their rows stay"
            )
        else:
            self._warn("were loaded and are gone from the source (their rows stay)", plan.removed)
        self._warn("lie in no folder of a platform and are not read", [file.path for file in batch.unknown])
        self._warn("are copies of others and add nothing", [file.path for file, _ in batch.duplicates])
        if self.purchases.get("without_order"):
            self.warnings.append(
                f"{self.purchases['without_order']:,} order items have no order and are in no CTR: quarantined as order_missing"
            )
        if self.purchases.get("duplicate_orders"):
            self.warnings.append(
                f"{self.purchases['duplicate_orders']:,} rows of orders have the id of another row; of each id the newest counts"
            )

    def add_result(
        self, plan: Plan, read: Read, displaced: Displaced, purchases: Purchases, touched: set[Partition]
    ) -> None:
        """What came of the files."""
        batch = plan.batch
        failed = [(file.path, result.failure) for file in batch.files if (result := read.files[file.file_id]).failure]
        failed += [(file.path, reason) for file, reason in batch.failed]
        self.failed = [f"{path} ({why})" for path, why in failed]
        self.files.update(loaded=len(batch.files) + len(batch.failed) - len(failed), failed=len(failed))
        self.files["replaced"] = len(displaced.gone)
        done = {file.file_id for file in batch.files if read.files[file.file_id].failure is None}
        done |= {file.file_id for file, _ in batch.duplicates}
        self.awaited = awaited(file for file in plan.waiting if file.file_id not in done)
        foreign = []
        for file in batch.files:
            if (result := read.files[file.file_id]).failure is None:
                self.account = self.account + result.account
                if result.account.records > result.account.blank and not result.account.events:
                    foreign.append(file.path)
        self._warn("have records but no event in them (are these event files?)", foreign)
        self.partitions = len(touched)
        today = self.started.date()
        self.ages = {
            "views": by_age(((file.date, file.rows) for file in read.views), today),
            "purchases_added": by_age(((day, count) for (day, _), count in purchases.added.items() if count), today),
            "purchases_removed": by_age(
                ((day, count) for (day, _), count in purchases.removed.items() if count), today
            ),
            "partitions": by_age(((day, 1) for day, _ in touched), today),
        }

    def to_json(self) -> dict[str, Any]:
        """The ``report`` of the publication (docs/lake.md)."""
        account = self.account
        counts = (
            "records",
            "decoded",
            "quarantined_records",
            "blank",
            "events",
            "views",
            "ignored",
            "quarantined_events",
        )
        return {
            "job": self.job,
            "started_at": self.started.isoformat(),
            "seconds": self.seconds,
            "files": dict(self.files),
            **{name: getattr(account, name) for name in counts},
            "bytes": account.bytes,
            "bytes_on_disk": self.bytes_on_disk,
            "purchases": self.purchases,
            "partitions": self.partitions,
            "awaited": self.awaited,
            "ages": self.ages,
            "stages": self.stages,
            "warnings": self.warnings,
        }

    def show(self, console: Console) -> None:
        """Prints the closing table, then the warnings."""
        title = f"{self.job}: publication {self.publication}" if self.publication else f"{self.job}: nothing new"
        grid = Grid(title=title, title_justify="left", show_header=False)
        for name, value in self._lines():
            grid.add_row(name, value)
        console.print(grid)
        self.show_warnings(console)

    def _lines(self) -> list[tuple[str, str]]:
        account, bought = self.account, self.purchases
        records = {"decoded": account.decoded, "quarantined": account.quarantined_records, "blank": account.blank}
        events = {"views": account.views, "ignored": account.ignored, "quarantined": account.quarantined_events}
        items = {name: bought.get(name, 0) for name in ("purchases", "excluded", "quarantined")}
        items["of other devices"] = sum(bought.get("other_devices", {}).values())
        read, megabytes = self.stages.get("read", 0.0), account.bytes / 1e6
        return [
            ("files", ", ".join(f"{count:,} {state}" for state, count in self.files.items() if count) or "none"),
            ("records", _sum(account.records, records)),
            ("events", _sum(account.events, events)),
            ("order items", _sum(bought.get("items", 0), items)),
            *self._purchases(),
            ("partitions", f"{self.partitions:,} recomputed{_ages(self.ages.get('partitions', {}))}"),
            ("stages", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.stages.items())),
            ("speed", f"{megabytes:,.1f} MB at {megabytes / read:,.0f} MB/s" if read and megabytes else "nothing read"),
            ("seconds", f"{self.seconds:.1f}"),
        ]

    def _purchases(self) -> list[tuple[str, str]]:
        """By how many purchases days grew and shrank; nothing where they did not."""
        return [
            (f"purchases {what}", f"{sum(ages.values()):,}{_ages(ages)}")
            for what in ("added", "removed")
            if (ages := self.ages.get(f"purchases_{what}"))
        ]

    def _warn(self, what: str, names: list[str]) -> None:
        if names:
            more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
            self.warnings.append(f"files that {what}: {len(names):,}: {', '.join(names[:_SHOWN])}{more}")


def _ages(ages: dict[str, int]) -> str:
    return " by age: " + ", ".join(f"{count:,} of {name}" for name, count in ages.items()) if ages else ""


def _sum(total: int, parts: dict[str, int]) -> str:
    return f"{total:,} = " + " + ".join(f"{count:,} {name}" for name, count in parts.items())
