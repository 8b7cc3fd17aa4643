from __future__ import annotations

import duckdb
import pytest

from serving.errors import LakeUnreadable, OutOfMemory
from serving.query.failures import tell
from serving.state.database import open_database

MUCH = "SELECT x, md5(x::VARCHAR) AS text FROM range(2_000_000) AS t(x) ORDER BY text"
"""Does not fit into the memory of ``crowded``."""


@pytest.fixture
def crowded(tmp_path):
    """A database with little memory, and its folder for what does not fit."""
    spill = tmp_path / "spill"
    spill.mkdir()
    with open_database(1, 40 << 20, str(spill), [str(tmp_path)], 10 << 30) as database:
        yield database, spill


def rows(database):
    for _ in database.execute(MUCH).to_arrow_reader(10_000):
        pass


def test_a_full_disk_for_temporary_files_is_told_as_that_and_not_as_a_lake_that_cannot_be_read(crowded, no_long_files):
    with pytest.raises(Exception, match="Could not write file") as caught:
        rows(crowded[0])
    with pytest.raises(OutOfMemory, match=r"40 MiB of memory.* the disk for temporary files could not be written"):
        tell(caught.value, 40 << 20, 10 << 30)


def test_a_folder_for_temporary_files_that_cannot_be_made_again_is_told_likewise(crowded):
    database, spill = crowded
    spill.rmdir()
    spill.write_text("no folder")
    with pytest.raises(duckdb.IOException) as caught:
        rows(database)
    with pytest.raises(OutOfMemory, match="the disk for temporary files could not be written"):
        tell(caught.value, 40 << 20, 10 << 30)


def test_a_temporary_file_that_somebody_deleted_is_told_likewise(crowded):
    database, spill = crowded
    reader = database.execute(MUCH).to_arrow_reader(10_000)
    reader.read_next_batch()
    for file in spill.iterdir():
        file.unlink()
    with pytest.raises(Exception, match="duckdb_temp_") as caught:
        for _ in reader:
            pass
    with pytest.raises(OutOfMemory, match="the disk for temporary files could not be written"):
        tell(caught.value, 40 << 20, 10 << 30)


def test_a_file_that_is_gone_is_told_as_a_lake_that_cannot_be_read(crowded, tmp_path):
    with pytest.raises(duckdb.IOException) as caught:
        crowded[0].execute(f"FROM read_parquet('{tmp_path}/date=2016-01-01/gone.parquet')")
    with pytest.raises(LakeUnreadable):
        tell(caught.value, 40 << 20, 10 << 30)
