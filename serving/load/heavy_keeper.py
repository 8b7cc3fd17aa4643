"""Starts the heavy process with the service, again when it dies, and ends it with the service."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import monotonic

from typing_extensions import Self

from serving.errors import SettingsError
from serving.state.temporary import TemporaryFolder

logger = logging.getLogger(__name__)

_AGAIN_SECONDS = 1.0
"""How long after its end the process is started again; each time twice as long, where it lived for a short time only."""

_LONGEST_SECONDS = 60.0
"""The longest of these waits, and how long a process has to live for the next one to be short again."""

_ADDRESS_BYTES = 107
"""How long the path of a socket may be (``man 7 unix``)."""

_END_SECONDS = 6.0
"""How long it may take to end: it interrupts what runs, and waits for nothing that hangs."""


class HeavyKeeper:
    """The heavy process for the time of a block, and the address at which workers reach it."""

    def __init__(self) -> None:
        """Starts nothing yet.

        Raises:
            SettingsError: the path of temporary files is too long for a socket.
        """
        # Nobody else may write to the socket: tasks are Python objects.
        self._folder = TemporaryFolder("heavy")
        self.address = str(Path(self._folder.name) / "socket")
        too_long = len(os.fsencode(self.address)) - _ADDRESS_BYTES
        if too_long > 0:
            self._folder.cleanup()
            raise SettingsError(
                f"the path of temporary files {tempfile.gettempdir()} is too long by {too_long} bytes for a socket in it; "
                "set TMPDIR to a shorter one, or heavy_process = false (CTR_HEAVY_PROCESS)"
            )
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
        pause = _AGAIN_SECONDS
        while not self._ended.is_set():
            began = monotonic()
            Path(self.address).unlink(missing_ok=True)
            try:
                # A session of its own is one more way in which it yields (``come_last``); its input ends it, no terminal has to.
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
            except OSError as error:  # no memory, most likely: it may come back
                logger.error("the heavy process cannot be started, workers answer by themselves: %s", error)
                self._ended.wait(pause)
                pause = min(2 * pause, _LONGEST_SECONDS)
                continue
            if self._ended.is_set():
                self._hang_up()
            self._process.wait()
            if monotonic() - began > _LONGEST_SECONDS:
                pause = _AGAIN_SECONDS
            if not self._ended.is_set():
                code = self._process.returncode
                logger.error("the heavy process ended (code %d): it is started again in %g s", code, pause)
            self._ended.wait(pause)
            pause = min(2 * pause, _LONGEST_SECONDS)

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
