"""Starts the heavy process with the service, again when it dies, and ends it with the service."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

from typing_extensions import Self

from serving.state.temporary import TemporaryFolder

logger = logging.getLogger(__name__)

_AGAIN_SECONDS = 1.0
"""How long after its end the process is started again."""

_END_SECONDS = 6.0
"""How long it may take to end: it interrupts what runs, and waits for nothing that hangs."""


class HeavyKeeper:
    """The heavy process for the time of a block, and the address at which workers reach it."""

    def __init__(self) -> None:
        # Nobody else may write to the socket: tasks are Python objects.
        self._folder = TemporaryFolder("heavy")
        self.address = str(Path(self._folder.name) / "socket")
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="heavy-keeper", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._hang_up()
        self._thread.join()
        self._folder.cleanup()

    def _keep(self) -> None:
        command = [sys.executable, "-m", "serving.load.heavy_process", self.address]
        while not self._ended.is_set():
            Path(self.address).unlink(missing_ok=True)
            try:
                # A session of its own is one more way in which it yields (``come_last``); its input ends it, no terminal has to.
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
            except OSError as error:  # no memory, most likely: it may come back
                logger.error("the heavy process cannot be started, workers answer by themselves: %s", error)
                self._ended.wait(_AGAIN_SECONDS)
                continue
            if self._ended.is_set():
                self._hang_up()
            self._process.wait()
            if not self._ended.is_set():
                logger.error("the heavy process ended (code %d): it is started again", self._process.returncode)
            self._ended.wait(_AGAIN_SECONDS)

    def _hang_up(self) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        if not Path(
            self.address
        ).exists():  # it has no task yet, and may take long to hear: it starts behind all others
            process.kill()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
