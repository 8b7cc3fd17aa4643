"""A full disk is known by its text: from a worker, from Delta, or as the cause of something else."""

from __future__ import annotations

import pytest

from jobs.config import Config
from jobs.disk import disk_full_text, is_disk_full

FROM_A_WORKER = """An exception was thrown from the Python worker:
Traceback (most recent call last):
OSError: [Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"""


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError(122, "Disk quota exceeded"),
        OSError("Generic LocalFileSystem error: Unable to copy data to file: No space left on device (os error 28)"),
        RuntimeError(FROM_A_WORKER),
    ],
)
def test_a_full_disk_is_known_by_its_text(error):
    assert is_disk_full(error)
    outer = ValueError("cannot write")
    outer.__cause__ = error
    assert is_disk_full(outer)


@pytest.mark.parametrize("error", [OSError(13, "Permission denied"), ValueError("space"), None])
def test_other_errors_are_not(error):
    assert not is_disk_full(error)


def test_the_text_says_what_is_free_where_a_job_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path / "gone"))
    config = Config(
        events=str(tmp_path), lake=str(tmp_path), purchases_url=f"jdbc:sqlite:{tmp_path}/shop.db", orders_timezone="UTC"
    )
    text = disk_full_text(config)
    assert f"{tmp_path} (the lake) has " in text
    assert (
        f"{tmp_path}/gone (Spark's own files) has an unknown number of bytes (No such file or directory) free" in text
    )
    assert "docs/operations.md" in text
