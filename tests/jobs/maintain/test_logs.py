"""Delta logs: checkpoints, versions that can be read, and files that go once nobody needs them."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from deltalake.exceptions import DeltaError

from jobs.lake import CHECKPOINT_COMMITS, rows_of
from jobs.maintain.logs import (
    clean_logs,
    expired_logs,
    has_version,
    tables_to_checkpoint,
    write_checkpoint,
)
from jobs.schemas import COVERAGE, FILES
from tests.jobs.lakes import make_lake, said

pytestmark = pytest.mark.slow

NOW = datetime.now(timezone.utc)


@pytest.fixture
def lake(tmp_path, monkeypatch):
    """The ledger has ten commits and a checkpoint at the fifth, none by a commit; everything is forty days old."""
    monkeypatch.setattr("jobs.lake.CHECKPOINT_COMMITS", 100)
    lake = make_lake(tmp_path)
    for number in range(1, CHECKPOINT_COMMITS + 1):
        lake.append(FILES, rows_of(FILES, [said(str(number))]), number)
        if number == 5:
            write_checkpoint(lake, FILES)
    age(lake, days=40)
    return lake


def folder(lake):
    return Path(lake.uri(FILES)) / "_delta_log"


def names(lake):
    return {file.name for file in folder(lake).iterdir()}


def age(lake, days):
    then = time.time() - days * 86_400
    for file in folder(lake).iterdir():
        os.utime(file, (then, then))


def cleaned(lake, oldest):
    """Names of the log files that the clean-up deletes."""
    before = names(lake)
    clean_logs(lake, FILES, oldest)
    return before - names(lake)


def test_a_commit_writes_a_checkpoint_once_every_so_many(tmp_path):
    lake = make_lake(tmp_path)
    for number in range(1, 2 * CHECKPOINT_COMMITS + 2):
        lake.append(FILES, rows_of(FILES, [said(str(number))]), number)
        assert tables_to_checkpoint(lake) == []
    written = [name for name in names(lake) if name.endswith(".checkpoint.parquet")]
    assert len(written) == 2


def test_a_table_whose_commits_write_few_checkpoints_gets_one_once_every_so_many(lake):
    assert tables_to_checkpoint(lake) == []
    for number in range(5):
        lake.append(FILES, rows_of(FILES, [said(str(number))]), number)
    assert tables_to_checkpoint(lake) == [FILES]
    write_checkpoint(lake, FILES)
    assert tables_to_checkpoint(lake) == []


@pytest.mark.parametrize(("oldest", "gone"), [(4, 0), (5, 5), (9, 5), (10, 5)])
def test_logs_go_that_no_version_from_the_oldest_on_is_read_from(lake, oldest, gone):
    expected = {file.name for file in expired_logs(lake, FILES, oldest, NOW)}
    assert cleaned(lake, oldest) == expected
    assert len(expected) == gone
    for version in range(oldest, 11):
        assert lake.read(FILES, version=version).num_rows == version
    assert expired_logs(lake, COVERAGE, 0, NOW) == []


def test_logs_of_the_last_thirty_days_stay(lake):
    age(lake, days=29)
    assert expired_logs(lake, FILES, 10, NOW) == []
    assert cleaned(lake, 10) == set()


def test_a_look_ahead_counts_the_checkpoint_that_is_still_to_come(lake):
    expected = {file.name for file in expired_logs(lake, FILES, 10, NOW, after_checkpoint=True)}
    write_checkpoint(lake, FILES)
    assert cleaned(lake, 10) == expected
    assert len(expected) == 11


def test_a_version_is_there_as_long_as_its_log_can_be_read(lake):
    write_checkpoint(lake, FILES)
    for version in (2, 7):
        (folder(lake) / f"{version:020}.json").unlink()
    there = [version for version in range(12) if has_version(lake, FILES, version)]
    assert there == [0, 1, 5, 6, 10]
    for version in range(12):
        if version in there:
            assert lake.open(FILES, version).version() == version
        else:
            with pytest.raises(DeltaError):
                lake.open(FILES, version).version()
