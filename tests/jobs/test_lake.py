"""The tables of a lake: what commits leave in the log."""

from __future__ import annotations

import os
import time
from pathlib import Path

from jobs.lake import CHECKPOINT_COMMITS, Lake, rows_of
from jobs.publish import publish, recover
from jobs.schemas import COVERAGE, FILES
from tests.jobs.lakes import make_lake, rows, said


def test_a_commit_never_drops_the_log_of_the_newest_publication_however_old(tmp_path):
    lake = make_lake(tmp_path)
    for number in range(1, 2 * CHECKPOINT_COMMITS - 1):  # Delta cleans up behind the checkpoint of a version
        lake.append(FILES, rows_of(FILES, [said(str(number))]), number)
    publish(lake, 1, "daily", {})
    published = rows(lake, FILES)
    then = time.time() - 40 * 86_400
    for file in (Path(lake.uri(FILES)) / "_delta_log").iterdir():
        os.utime(file, (then, then))
    for number in range(2 * CHECKPOINT_COMMITS - 1, 2 * CHECKPOINT_COMMITS + 2):
        lake.append(FILES, rows_of(FILES, [said("of a run that died")]), number)
    lake.overwrite(COVERAGE, rows_of(COVERAGE, []), 2 * CHECKPOINT_COMMITS + 1)
    assert recover(lake) == ["coverage", "files"]
    assert rows(lake, FILES) == published


def test_a_lake_whose_path_has_spaces_is_read(tmp_path):
    lake = make_lake(tmp_path / "it's a 'lake' é #1")
    for number in (1, 2):
        lake.append(FILES, rows_of(FILES, [said(str(number))]), number)
        publish(lake, number, "daily", {})
    assert rows(lake, FILES).total() == 2
    assert recover(lake) == []


def test_a_control_table_that_every_run_adds_to_stays_in_few_files_and_loses_no_row(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.lake.MOST_FILES", 5)
    lake = make_lake(tmp_path)
    expected, most = [], 0
    for number in range(1, 15):
        lake.append(FILES, rows_of(FILES, [said(str(number))]), number)
        expected.append(str(number))
        version = lake.open(FILES).version()
        most = max(most, len(lake.open(FILES).file_uris()))
    assert sorted(lake.read(FILES)["path"].to_pylist()) == sorted(expected)
    assert version == 14, "one commit each"
    assert most == 5
    lake.take_back(FILES, 5)
    assert sorted(lake.read(FILES)["path"].to_pylist()) == sorted(expected[:5])


def test_a_table_that_is_kept_open_shows_what_was_committed_since_by_it_and_by_others(tmp_path):
    other = make_lake(tmp_path)
    lake = Lake(other.root, opened={})
    assert rows(lake, FILES).total() == 0
    for number, writer in enumerate((lake, other, lake, other), 1):
        writer.append(FILES, rows_of(FILES, [said(str(number))]), number)
        assert rows(lake, FILES) == rows(other, FILES)
        assert lake.versions() == other.versions()
    assert other.take_back(FILES, 1)
    assert rows(lake, FILES) == rows(other, FILES)
    assert rows(lake, FILES).total() == 1
    assert not lake.take_back(FILES, 1), "it knows that this was done"
    lake.open(FILES, 3)
    assert lake.open(FILES).version() == other.open(FILES).version(), "an older version is not kept as the newest"
