"""How fast a run of several batches goes, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console

from jobs.lake import Lake
from jobs.publish import newest_runs

SHOWN = 20
"""Batches that a dry run lists; the line below them counts all."""


class Batch(Protocol):
    """What is done and published as a whole."""

    @property
    def bytes(self) -> int:
        """What is read for it, as it lies on disk."""


@dataclass(frozen=True)
class Pace:
    """How fast runs have read so far, to say how long the rest will take."""

    bytes: int
    seconds: float

    @property
    def rate(self) -> str:
        """How fast that is, in words."""
        return f"{self.bytes / 1e6 / self.seconds if self.seconds else 0.0:,.0f} MB/s"

    def left(self, size: int) -> str:
        """The time that so many bytes will take, in words."""
        if not self.bytes or not self.seconds:
            return "unknown time"
        minutes = size / (self.bytes / self.seconds) / 60
        return f"about {minutes / 60:.1f} hours" if minutes >= 90 else f"about {max(minutes, 0.1):.1f} minutes"


def last_pace(lake: Lake, jobs: tuple[str, ...]) -> Pace:
    """That of the newest run of these jobs which read anything: all its batches in the seconds that it had needed by then."""
    reports = [run["report"] for run in newest_runs(lake, jobs)] if lake.exists() else []
    read = [report for report in reports if report.get("bytes_on_disk")]
    run = [report for report in read if report["started_at"] == read[0]["started_at"]]
    return Pace(sum(report["bytes_on_disk"] for report in run), run[0]["seconds"] if run else 0.0)


def say_progress(console: Console, done: Batch, left: Sequence[Batch], pace: Pace) -> None:
    """After a batch: how fast it went, and how long the others will take."""
    size = sum(batch.bytes for batch in left)
    console.print(
        f"batch of {done.bytes / 1e6:,.1f} MB done; {pace.rate} so far; left: {len(left):,} batches, "
        f"{size / 1e6:,.1f} MB, {pace.left(size)}",
        highlight=False,
    )
