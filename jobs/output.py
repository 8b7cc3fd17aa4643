"""Standard output whose reader may go before the end, as ``head`` does: that is no fault, and ends no job half-way."""

from __future__ import annotations

import os
import sys

from rich.console import Console


class Output(Console):
    """A console on standard output; once nobody reads it, what is printed goes nowhere and the job goes on to its own exit code."""

    def on_broken_pipe(self) -> None:
        """Instead of the end of the program with exit code 1."""
        drop_output()


def drop_output() -> None:
    """From now on standard output goes nowhere, and so does what waits in its buffer."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
