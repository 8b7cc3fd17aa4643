"""One writer a lake: Delta has no transaction over several tables, and two drivers on one local table lose commits.

Who wants the lock stands in a queue: it shares the lock of a second file until it has the first. So a run of many batches can see
that somebody waits, and the kernel takes the dead out of the queue.
"""

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
QUEUE = ".lock.queue"
_POLL_SECONDS = 0.1
_LOOK_SECONDS = 0.3
"""The lock may be taken for so long although no run has it: ``lock_holder`` looks at it."""
_PATIENCE_SECONDS = 10.0
"""Who stands in the queue and does not take a free lock for so long is stopped or hangs."""


@contextmanager
def lake_lock(root: str, job: str, wait_seconds: float, say: Callable[[str], None]) -> Iterator[None]:
    """Holds the lake's lock while the body runs; the kernel frees it when the holder dies, however it dies.

    Raises:
        JobError: another run still held it after ``wait_seconds``; the text names the holder.
    """
    try:
        Path(root).mkdir(parents=True, exist_ok=True)
        file = (Path(root) / NAME).open("a+", encoding="utf-8")
        queue = (Path(root) / QUEUE).open("a")
    except OSError as error:
        raise JobError(f"cannot make the lake {root}: {error}; set CTR_LAKE to a writable path") from error
    with file:
        with queue:
            _acquire(file, queue, root, wait_seconds, say)
        file.truncate(0)
        json.dump({"job": job, "pid": os.getpid(), "host": socket.gethostname(), "since": _now()}, file)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def give_way(root: str, wait_seconds: float) -> None:
    """Between two batches: returns when nobody waits for the lake's lock any more, so each that waits gets its turn.

    Neither for a waiter that does not take a free lock nor for longer than ``wait_seconds``: then it is as any other run.
    Who gives way does not stand in the queue, so two runs never give way to each other.
    """
    end = time.monotonic() + max(wait_seconds, _PATIENCE_SECONDS)
    patience = time.monotonic() + _PATIENCE_SECONDS
    with (Path(root) / QUEUE).open("a") as queue:
        while not _locked(queue, fcntl.LOCK_EX):
            now = time.monotonic()
            if _is_held(root):
                patience = now + _PATIENCE_SECONDS
            if now >= min(end, patience):
                return
            time.sleep(_POLL_SECONDS)


def lock_holder(root: str) -> dict[str, Any] | None:
    """Which run holds the lake's lock now: job, pid, host and since (ISO, UTC); None when none does.

    Another program may hold it, such as a backup under ``flock``: the note that a dead run left is not about that one.
    """
    try:
        with (Path(root) / NAME).open("r", encoding="utf-8") as file:
            return None if _locked(file, fcntl.LOCK_SH) else _holder(file)
    except FileNotFoundError:
        return None


def _is_held(root: str) -> bool:
    with (Path(root) / NAME).open("r", encoding="utf-8") as file:
        return not _locked(file, fcntl.LOCK_SH)


def _locked(file: TextIO, mode: int) -> bool:
    """Whether the file could be locked at once; closing it frees it."""
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _acquire(file: TextIO, queue: TextIO, root: str, wait_seconds: float, say: Callable[[str], None]) -> None:
    """Takes the lock, standing in the queue meanwhile; at first it waits without a word, for it may only be looked at."""
    start = time.monotonic()
    said = False
    while True:
        _locked(queue, fcntl.LOCK_SH)  # refused only in the moment in which another looks whether anybody waits
        if _locked(file, fcntl.LOCK_EX):
            return
        who, waited = _described(_holder(file)), time.monotonic() - start
        if waited >= max(wait_seconds, _LOOK_SECONDS):
            raise JobError(
                f"the lake {root} is in use by {who}; waited {wait_seconds:g} s: try again when it has ended, "
                "or raise lock_wait_seconds"
            )
        if waited >= _LOOK_SECONDS and not said:
            say(f"waiting for {who} to free the lake")
            said = True
        time.sleep(_POLL_SECONDS)


def _described(holder: dict[str, Any] | None) -> str:
    if holder is None:
        return "a program that is no run (a backup under flock?)"
    since, host = holder.get("since", "?"), holder.get("host", "?")
    return f"{holder.get('job', 'a run')} (pid {holder.get('pid', '?')} on {host}, since {since})"


def _holder(file: TextIO) -> dict[str, Any] | None:
    file.seek(0)
    try:
        value = json.loads(file.read())
    except ValueError:
        return None
    return value if isinstance(value, dict) and not _is_dead(value) else None


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether the run that left a note was killed, as far as this host can tell."""
    if holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int):
        return False
    try:
        os.kill(holder["pid"], 0)
    except OSError as error:  # any other says that it lives and is somebody else's
        return isinstance(error, ProcessLookupError)
    return False


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
