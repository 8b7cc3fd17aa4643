"""One writer a lake: Delta has no transaction over several tables, and two drivers on one local table lose commits."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from jobs.errors import JobError

NAME = ".lock"


@contextmanager
def lake_lock(root: str, job: str, wait_seconds: float, say: Callable[[str], None]) -> Iterator[None]:
    """Holds the lake's lock while the body runs; the kernel frees it when the holder dies, however it dies.

    Raises:
        JobError: another run still held it after ``wait_seconds``; the text names the holder.
    """
    try:
        Path(root).mkdir(parents=True, exist_ok=True)
        file = (Path(root) / NAME).open("a+", encoding="utf-8")
    except OSError as error:
        raise JobError(f"cannot make the lake {root}: {error}; set CTR_LAKE to a writable path") from error
    with file:
        _acquire(file, root, wait_seconds, say)
        file.truncate(0)
        json.dump({"job": job, "pid": os.getpid(), "host": socket.gethostname(), "since": _now()}, file)
        file.flush()
        yield
        file.truncate(0)


def lock_holder(root: str) -> dict[str, Any] | None:
    """Who holds the lake's lock now: job, pid, host and since (ISO, UTC); None when it is free."""
    try:
        with (Path(root) / NAME).open("r", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _holder(file)
    except FileNotFoundError:
        pass
    return None


def _acquire(file: TextIO, root: str, wait_seconds: float, say: Callable[[str], None]) -> None:
    end = time.monotonic() + wait_seconds
    waiting = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = _described(_holder(file) or {})
            if time.monotonic() >= end:
                raise JobError(
                    f"the lake {root} is in use by {who}; waited {wait_seconds:g} s: try again when it has ended, "
                    "or raise lock_wait_seconds"
                ) from None
            if not waiting:
                say(f"waiting for {who} to free the lake")
                waiting = True
            time.sleep(0.5)
        else:
            return


def _described(holder: dict[str, Any]) -> str:
    since, host = holder.get("since", "?"), holder.get("host", "?")
    return f"{holder.get('job', 'a run')} (pid {holder.get('pid', '?')} on {host}, since {since})"


def _holder(file: TextIO) -> dict[str, Any] | None:
    file.seek(0)
    try:
        value = json.loads(file.read())
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
