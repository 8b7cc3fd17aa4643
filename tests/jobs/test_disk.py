"""A full disk and a lost data file are known by their texts: from a worker, from Delta, or as the cause of something else."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.config import Config
from jobs.disk import disk_failure

FROM_A_WORKER = """An exception was thrown from the Python worker:
Traceback (most recent call last):
OSError: [Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"""


@pytest.fixture
def config(tmp_path):
    return Config(events="/nowhere", lake=str(tmp_path), purchases_url="jdbc:sqlite:/nowhere", orders_timezone="UTC")


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError(122, "Disk quota exceeded"),
        OSError("Generic LocalFileSystem error: Unable to copy data to file: No space left on device (os error 28)"),
        RuntimeError(FROM_A_WORKER),
    ],
)
def test_a_full_disk_is_known_by_its_text(error, config):
    outer = ValueError("cannot write")
    outer.__cause__ = error
    for raised in (error, outer):
        assert str(disk_failure(raised, config)).startswith("a disk is full: now ")


def test_it_says_what_is_free_where_a_job_writes(config, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path / "gone"))
    text = str(disk_failure(OSError(28, "No space left on device"), config))
    assert f"{tmp_path} (the lake) has " in text
    assert (
        f"{tmp_path}/gone (Spark's own files) has an unknown number of bytes (No such file or directory) free" in text
    )
    assert "docs/operations.md" in text


@pytest.mark.parametrize("content", [None, b"", b"no Parquet", b"PAR1 cut PAR1"])
def test_a_data_file_that_is_gone_or_damaged_is_named(content, config, tmp_path):
    file = tmp_path / "views" / "date=2016-02-02" / "one.parquet"
    file.parent.mkdir(parents=True)
    if content is not None:
        file.write_bytes(content)
    with pytest.raises((OSError, pa.ArrowException)) as raised:
        pq.read_table(file)
    assert f"gone or damaged: {file}; " in str(disk_failure(raised.value, config))


@pytest.mark.parametrize(
    "error",
    [
        OSError(13, "Permission denied"),
        ValueError("space"),
        FileNotFoundError(2, "No such file or directory", "a.json"),
    ],
)
def test_other_errors_are_not_explained(error, config):
    assert disk_failure(error, config) is None
