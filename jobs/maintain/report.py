"""The report of ``maintain``: what was merged, dropped, deleted and kept, as the closing table and as JSON in the publication."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from jobs.datafiles import DataFile
from jobs.outcome import Outcome


@dataclass
class Maintenance(Outcome):
    """What was done for one publication, or would be done."""

    compacted: dict[str, dict[str, Any]] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=lambda: {"rows": 0, "bytes": 0})
    superseded: int = 0
    left: int = 0
    publication_files: int = 0
    checkpoints: list[str] = field(default_factory=list)
    logs: int = 0
    deleted: dict[str, int] = field(default_factory=lambda: {"files": 0, "bytes": 0})
    kept: list[int] = field(default_factory=list)

    def add_work(self, expired: list[DataFile], superseded: int, left: int) -> None:
        """What is dropped and what is left."""
        self.rejects = {
            "rows": sum(file.rows for file in expired),
            "bytes": sum(file.size for file in expired),
        }
        self.superseded = superseded
        self.left = left

    def to_json(self) -> dict[str, Any]:
        """The ``report`` of the publication (docs/lake.md)."""
        return {
            "job": "maintain",
            "started_at": self.started.isoformat(),
            "seconds": self.seconds,
            "compacted": self.compacted,
            "rejects_removed": self.rejects,
            "statements_removed": self.superseded,
            "partitions": sum(row["partitions"] for row in self.compacted.values()),
            "stages": self.stages,
            "warnings": self.warnings,
        }

    def show(self, console: Console, title: str) -> None:
        """Prints the closing table, then the warnings."""
        grid = Grid(title=title, title_justify="left", show_header=False)
        for name, value in self._lines():
            grid.add_row(name, value)
        console.print(grid)
        self.show_warnings(console)

    def _lines(self) -> Iterator[tuple[str, str]]:
        for name, row in self.compacted.items():
            after = f" ({_size(row['bytes_after'])})" if "bytes_after" in row else ""
            before = f"{row['files_before']:,} files ({_size(row['bytes_before'])})"
            yield f"compact {name}", f"{before} of {row['partitions']:,} partitions to {row['files_after']:,}{after}"
        if not self.compacted:
            yield "compact", "nothing: no partition has several small files"
        yield "old rejects", f"{self.rejects['rows']:,} rows ({_size(self.rejects['bytes'])})"
        yield "ledger", f"{self.superseded:,} statements that newer ones replace"
        yield "publications", f"{self.publication_files:,} files to one" if self.publication_files else "nothing"
        if self.left:
            yield "left", f"{self.left:,} rewrites for the next publication"
            return
        yield "checkpoints", ", ".join(self.checkpoints) or "none"
        yield "expired logs", f"{self.logs:,} files"
        yield "unused data", f"{self.deleted['files']:,} files ({_size(self.deleted['bytes'])})"
        yield "kept", f"{len(self.kept):,} publications, from {self.kept[0]} on" if self.kept else "no publication"


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"
