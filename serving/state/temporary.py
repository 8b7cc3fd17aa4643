"""Temporary folders of the service, locked while their processes live, so that those of killed ones can be told and deleted."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

logger = logging.getLogger(__name__)

_NAME = re.compile(r"ctr-(serving|heavy|workers)-\w+")

_YOUNG_SECONDS = 60.0
"""How old an empty folder is at least that nobody is about to lock. Whatever is in one comes after the lock."""


class TemporaryFolder(tempfile.TemporaryDirectory[str]):
    """A folder in the system's place for temporary files (``$TMPDIR``); what killed processes left there is deleted first.

    The lock is on the folder itself: systemd-tmpfiles leaves those alone as well.
    """

    def __init__(self, kind: Literal["serving", "heavy", "workers"]) -> None:
        delete_left()
        super().__init__(prefix=f"ctr-{kind}-", ignore_cleanup_errors=True)
        self._handle: int | None = _lock(self.name)

    def cleanup(self) -> None:
        """Delete it; a second call does nothing."""
        super().cleanup()
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def make_again(path: str) -> None:
    """Make such a folder, which several processes use, again where somebody deleted it, and lock it until the end of this one."""
    Path(path).mkdir(mode=0o700, exist_ok=True)
    _locked_once(path, Path(path).stat().st_ino)


@cache
def _locked_once(path: str, _: int) -> int:
    return _lock(path)


def _lock(path: str) -> int:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    with contextlib.suppress(OSError):  # of a file system without locks: nobody can take this one either
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return handle


def delete_left() -> None:
    """Delete the folders of this user whose processes are dead. Whatever cannot be deleted stays."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name):
                with contextlib.suppress(OSError), _taken(entry.path):
                    shutil.rmtree(entry.path, ignore_errors=True)
                    logger.info("deleted %s, which a killed process of the service left", entry.path)


@contextlib.contextmanager
def _taken(path: str) -> Iterator[None]:
    """Holds the lock of a folder.

    Raises:
        OSError: it is no folder, of another user, or its process lives.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid():
            raise PermissionError(path)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.time() - status.st_mtime < _YOUNG_SECONDS and not any(Path(path).iterdir()):
            raise BlockingIOError(path)
        yield
    finally:
        os.close(handle)
