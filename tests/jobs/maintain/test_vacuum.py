"""Cleaning up: what is deleted, what never is, and what can still be read afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from jobs.errors import JobError
from jobs.maintain.kept import find_kept
from jobs.maintain.vacuum import delete, find_garbage
from jobs.schemas import COVERAGE
from tests.jobs.lakes import copy_lake, lake_of_nights, make_config, rows

pytestmark = pytest.mark.slow

LATER = datetime.now(timezone.utc) + timedelta(days=30)


@pytest.fixture(scope="module")
def twelve_nights(tmp_path_factory):
    return lake_of_nights(tmp_path_factory.mktemp("vacuum") / "lake", 12)


@pytest.fixture
def lake(twelve_nights, tmp_path):
    return copy_lake(twelve_nights, tmp_path / "lake")


def collect(lake, now=LATER, **settings):
    config = make_config(lake, **settings)
    return find_garbage(lake, find_kept(lake, config, now), config, now)


def tree(path, pattern="*"):
    return sorted(str(file.relative_to(path)) for file in path.rglob(pattern) if file.is_file())


def test_data_files_that_only_older_publications_name_are_garbage(lake):
    garbage = collect(lake, keep_publications=10)
    assert {file.path.parts[-2] for file in garbage} == {"platform=iOS", "coverage"}
    assert len([file for file in garbage if file.path.parent.name == "coverage"]) == 2
    assert all(file.size == file.path.stat().st_size for file in garbage)


def test_files_of_dead_runs_are_garbage_after_the_grace_and_not_before(lake, tmp_path):
    folder = tmp_path / "lake" / "views" / "date=2016-02-01" / "platform=iOS"
    for name in ("dead.parquet", "part-0.parquet#1"):
        (folder / name).write_bytes(b"half")
    now = datetime.now(timezone.utc)
    assert collect(lake, now + timedelta(hours=23)) == []
    orphans = {file.path.name for file in collect(lake, now + timedelta(hours=25))}
    assert {"dead.parquet", "part-0.parquet#1"} <= orphans


def test_other_files_logs_and_hidden_folders_are_never_garbage(lake, tmp_path):
    root = tmp_path / "lake"
    for name in ("README.txt", "_delta_log/x.parquet", "_other/y.parquet", ".trash/z.parquet"):
        (root / "views" / name).parent.mkdir(exist_ok=True)
        (root / "views" / name).write_bytes(b"")
    assert all(file.path.name not in "x.parquet y.parquet z.parquet README.txt" for file in collect(lake))


def test_deleting_leaves_every_kept_version_readable_and_no_empty_folder(lake, tmp_path):
    before = {version: rows(lake, COVERAGE, version) for version in range(3, 13)}
    alone = tmp_path / "lake" / "views" / "date=2001-01-01" / "platform=iOS"
    alone.mkdir(parents=True)
    (alone / "dead.parquet").write_bytes(b"")
    logs = tree(tmp_path / "lake", "_delta_log/*")
    garbage = collect(lake, keep_publications=10)
    delete(lake, garbage)
    delete(lake, garbage)
    assert not alone.parent.exists()
    assert {version: rows(lake, COVERAGE, version) for version in before} == before
    with pytest.raises(FileNotFoundError):
        rows(lake, COVERAGE, 2)
    assert tree(tmp_path / "lake", "_delta_log/*") == logs
    assert collect(lake, keep_publications=10) == []


def test_a_file_that_cannot_be_deleted_is_one_clear_error(lake, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("not yours")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with pytest.raises(JobError, match="cannot clean up the lake: not yours; check who owns the files"):
        delete(lake, collect(lake))
