"""A full disk: told from other failures, wherever in Spark, Arrow or Delta it was met, and said in one line."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from jobs.config import Config

SECTION = "The disk is full"
"""Of docs/operations.md."""

_TEXTS = ("No space left on device", "Disk quota exceeded")


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that a disk or a quota is full; workers' errors arrive as text."""
    while error is not None:
        if any(text in str(error) for text in _TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False


def disk_full_text(config: Config) -> str:
    """One line for the operator: how much is free where a job writes, and what to do."""
    folders = {
        "the lake": config.lake,
        "Spark's own files": os.environ.get("SPARK_LOCAL_DIRS") or tempfile.gettempdir(),
    }
    free = ", ".join(f"{folder} ({what}) has {_free(folder)} free" for what, folder in folders.items())
    return (
        f"a disk is full: now {free}; readers still see the last publication: make room as docs/operations.md says "
        f"({SECTION}), then run again"
    )


def _free(folder: str) -> str:
    path = Path(folder.split(",")[0])
    try:
        return f"{shutil.disk_usage(path).free / 1e6:,.0f} MB"
    except OSError as error:
        return f"an unknown number of bytes ({error.strerror})"
