"""How far the reading of the event files is: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

_LINE_SECONDS = 10.0
_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    DownloadColumn(),
    TransferSpeedColumn(),
    TimeRemainingColumn(),
)


class Reading:
    """Shows how many of the files' bytes are read while the body reads them."""

    def __init__(self, console: Console, files: int, size: int) -> None:
        self._console, self._size = console, size
        self._text = f"counting again in {files:,} event files"
        self._bar = Progress(*_COLUMNS, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(self._text, total=size)
        self._begun = self._said = time.monotonic()
        self._read = 0

    def __enter__(self) -> Reading:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def done(self, size: int) -> None:
        """One more file of this size is read, or passed over."""
        self._read += size
        self._bar.advance(self._task, size)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._said >= _LINE_SECONDS:
            left = (now - self._begun) / self._read * (self._size - self._read) if self._read else 0.0
            self._console.print(
                f"{self._text}: {self._read / 1e6:,.0f} of {self._size / 1e6:,.0f} MB, {left:,.0f} s left",
                highlight=False,
            )
            self._said = now
