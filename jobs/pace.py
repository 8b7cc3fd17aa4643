"""How fast a run of several batches goes, and how long the rest will take."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from jobs.plan import Batch


@dataclass(frozen=True)
class Pace:
    """How fast runs have read so far, to say how long the rest will take."""

    bytes: int
    seconds: float

    def left(self, size: int) -> str:
        """The time that so many bytes will take, in words."""
        if not self.bytes or not self.seconds:
            return "unknown time"
        minutes = size / (self.bytes / self.seconds) / 60
        return f"about {minutes / 60:.1f} hours" if minutes >= 90 else f"about {max(minutes, 0.1):.1f} minutes"


def say_progress(console: Console, done: Batch, left: list[Batch], pace: Pace) -> None:
    """After a batch: how fast it went, and how long the others will take."""
    size = sum(batch.bytes for batch in left)
    rate = pace.bytes / 1e6 / pace.seconds if pace.seconds else 0.0
    console.print(
        f"batch of {done.bytes / 1e6:,.1f} MB done; {rate:,.0f} MB/s so far; left: {len(left):,} batches, "
        f"{size / 1e6:,.1f} MB, {pace.left(size)}",
        highlight=False,
    )
