"""What a failing read raises, and what that is to a client."""

from __future__ import annotations

import errno
import os

import duckdb
import pyarrow as pa

from serving.errors import LakeUnreadable, OutOfMemory

FAILURES = (duckdb.Error, pa.ArrowException, OSError)
"""What a failing read raises: DuckDB its own errors, until its rows come through Arrow, which knows others."""

_NO_ROOM = tuple(os.strerror(number) for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM))
"""What the system says, and DuckDB after it, where there is no file handle left, or no memory."""

_NOT_WRITTEN = (
    "Could not write file",
    "Failed to create directory",
    os.strerror(errno.ENOSPC),
    os.strerror(errno.EDQUOT),
    "/duckdb_temp_",
)
"""What DuckDB says of a file that it cannot write, and the system of a full disk, or of one user's part of it; at last the name of
whatever DuckDB writes for itself, which somebody may have deleted."""

_BROKEN = ("IO Error", "magic bytes", "Parquet file", "Corrupted file", "corrupted")
"""What DuckDB says of a data file that cannot be opened, or that was cut or damaged. Through Arrow the text alone comes."""


def is_unreadable(error: BaseException) -> bool:
    """Whether a file could not be read, or is not what was written. One that cannot be written says nothing of the lake.

    The statements are the service's own: an error of DuckDB's base class, which its reader of Parquet raises, is the file's.
    """
    if is_disk_full(error):
        return False
    named = isinstance(error, FAILURES) and any(text in str(error) for text in _BROKEN)
    return named or isinstance(error, duckdb.IOException) or type(error) is duckdb.Error


def is_disk_full(error: BaseException) -> bool:
    """Whether nothing could be written where it has to be: of queries that is the folder for temporary files."""
    return isinstance(error, FAILURES) and any(text in str(error) for text in _NOT_WRITTEN)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the query needed more memory and disk than it may have, or than there is of disk."""
    through_arrow = isinstance(error, FAILURES) and "Out of Memory Error" in str(error)
    return isinstance(error, duckdb.OutOfMemoryException) or through_arrow or is_disk_full(error)


def is_out_of_room(error: BaseException) -> bool:
    """Whether there was no file handle left, or no memory: that says nothing of the file that was read."""
    return is_out_of_memory(error) or any(text in str(error) for text in _NO_ROOM)


def tell(error: BaseException, memory: int, spill: int) -> None:
    """Return on what is no failure of DuckDB.

    Args:
        error: what was raised.
        memory: bytes that all queries together may take.
        spill: bytes of disk likewise.

    Raises:
        OutOfMemory: the error says so.
        LakeUnreadable: the error says so.
    """
    if is_out_of_memory(error):
        raise OutOfMemory(memory, spill, is_disk_full(error)) from error
    if is_unreadable(error):
        raise LakeUnreadable from error
