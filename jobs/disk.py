"""What a disk does to a job: it is full, or a data file is gone or damaged. Said in one line, wherever it was met."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from jobs.config import Config
from jobs.errors import error_texts

FULL_SECTION = "The disk is full"
RESTORE_SECTION = "Backup and restore"
"""Sections of docs/operations.md."""

_FULL = ("No space left on device", "Disk quota exceeded")
_LOST = ("No such file or directory", "Could not open Parquet", "magic bytes", "No files found", "FileNotFoundError")
_DATA_FILE = re.compile(r"""(?:['"]|FileNotFoundError: )([^'"\n]*\.parquet)""")


def disk_failure(error: BaseException, config: Config) -> str | None:
    """One line for the operator if the disk is to blame for an error, else None; errors of workers arrive as text."""
    for text in error_texts(error):
        if any(word in text for word in _FULL):
            return _full(config)
        if any(word in text for word in _LOST) and (found := _DATA_FILE.search(text)):
            return (
                f"a data file of the lake is gone or damaged: {found[1]}; readers may fail on that day: see docs/operations.md "
                f"({RESTORE_SECTION})"
            )
    return None


def _full(config: Config) -> str:
    folders = {
        "the lake": config.lake,
        "Spark's own files": os.environ.get("SPARK_LOCAL_DIRS") or tempfile.gettempdir(),
    }
    free = ", ".join(f"{folder} ({what}) has {_free(folder)} free" for what, folder in folders.items())
    return (
        f"a disk is full: now {free}; readers still see the last publication: make room as docs/operations.md says "
        f"({FULL_SECTION}), then run again"
    )


def _free(folder: str) -> str:
    path = Path(folder.split(",")[0])
    try:
        return f"{shutil.disk_usage(path).free / 1e6:,.0f} MB"
    except OSError as error:
        return f"an unknown number of bytes ({error.strerror})"
