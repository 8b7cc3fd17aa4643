"""The report of ``replay``: what became of the rows of each reason, as the closing table and as JSON in the publication."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from jobs.outcome import Outcome
from jobs.replay.retry import Tally


@dataclass
class Replayed(Outcome):
    """What a replay did, or would do (``publication`` None)."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    partitions: int = 0

    @property
    def total(self) -> Tally:
        """The rows of all reasons."""
        total = Tally()
        for tally in self.tallies.values():
            total.add(tally)
        return total

    def add_tallies(self, tallies: Mapping[str, Tally]) -> None:
        """What became of the rows, by the reason that they had."""
        self.tallies = dict(sorted(tallies.items()))
        self.warnings += [f"rows that were not tried: {n:,}: {why}" for why, n in sorted(self.total.unread.items())]

    def to_json(self) -> dict[str, Any]:
        """The ``report`` of the publication (docs/lake.md)."""
        return {
            "job": "replay",
            "started_at": self.started.isoformat(),
            "seconds": self.seconds,
            "views": self.total.added,
            "replayed": {reason: _json(tally) for reason, tally in self.tallies.items()},
            "partitions": self.partitions,
            "stages": self.stages,
            "warnings": self.warnings,
        }

    def show(self, console: Console, title: str) -> None:
        """Prints the closing table, then the warnings."""
        if not self.tallies:
            console.print(f"{title}: no row of the quarantine is asked for")
        else:
            grid = Grid("reason", title=title, title_justify="left")
            for name in ("tried", "now views", "now ignored", "still quarantined", "of these not tried", "views added"):
                grid.add_column(name, justify="right")
            for reason, tally in self.tallies.items():
                grid.add_row(reason, *_cells(tally))
            grid.add_section()
            grid.add_row("all", *_cells(self.total))
            console.print(grid)
            done = "recomputed" if self.publication else "to recompute"
            console.print(f"days of platforms {done}: {self.partitions:,}; {self.seconds:.1f} s", highlight=False)
        self.show_warnings(console)


def _cells(tally: Tally) -> list[str]:
    counts = (tally.tried, tally.views, tally.ignored, tally.quarantined, sum(tally.unread.values()), tally.added)
    return [f"{count:,}" for count in counts]


def _json(tally: Tally) -> dict[str, Any]:
    return {
        "tried": tally.tried,
        "now_views": tally.views,
        "now_ignored": tally.ignored,
        "still_quarantined": tally.quarantined,
        "views_added": tally.added,
        "not_tried": dict(tally.unread),
    }
