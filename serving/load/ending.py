"""Ends a process for sure: a thread that waits for a disk that hangs, or for one that does, keeps it alive for ever."""

from __future__ import annotations

import logging
import os
import threading

logger = logging.getLogger(__name__)


def end_within(seconds: float) -> None:
    """End this process after so long, if it is still there by then."""
    timer = threading.Timer(seconds, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    logger.error("something hangs, most likely the disk of the lake: the process %d ends without it", os.getpid())
    os._exit(1)
