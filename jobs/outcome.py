"""What the reports of all jobs share: times, warnings, data-quality limits, the exit code."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone

from rich.console import Console

from jobs.config import Config
from jobs.progress import Stages
from jobs.quality import Finding

OK, QUALITY = 0, 3


@dataclass(kw_only=True)
class Outcome:
    """What a job did, or would do (``publication`` None)."""

    started: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    publication: int | None = None
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    limit_passed: bool = False
    recovered: list[str] = field(default_factory=list)
    """Tables in which a dead run had left something."""

    @property
    def exit_code(self) -> int:
        """0, or 3 when a data-quality limit was passed."""
        return QUALITY if self.limit_passed else OK

    def add_recovered(self, recovered: list[str]) -> None:
        """What a dead run had left, and this one took back."""
        self.recovered = recovered
        if recovered:
            self.warnings.append(f"a run died before this one; taken back: {', '.join(recovered)}")

    def add_findings(self, findings: list[Finding], config: Config) -> None:
        """Data-quality limits that were passed."""
        self.warnings += [f"{finding.limit}: {finding.text}" for finding in findings]
        self.limit_passed = any(finding.limit in config.fatal_limits for finding in findings)

    def finish(self, stages: Stages) -> None:
        """Times."""
        self.stages = dict(stages.seconds)
        self.seconds = round((datetime.now(timezone.utc) - self.started).total_seconds(), 3)

    def show_warnings(self, console: Console) -> None:
        """Prints each warning on a line."""
        for warning in self.warnings:
            console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
