"""How a process of the service ends: on a hang-up as on SIGTERM, and for sure, whatever its threads wait for."""

from __future__ import annotations

import logging
import os
import signal
import threading

logger = logging.getLogger(__name__)


def end_on_hang_up() -> None:
    """Take SIGHUP, as of a terminal that is closed, for SIGTERM; one that is ignored, as below ``nohup``, stays so."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def end_within(seconds: float) -> None:
    """End this process after so long, if it is still there by then: one thread that waits for a disk that hangs keeps it alive."""
    timer = threading.Timer(seconds, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    logger.error("something hangs, most likely the disk of the lake: the process %d ends without it", os.getpid())
    os._exit(1)
