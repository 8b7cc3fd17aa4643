"""A run that finds nothing new reads no event file and commits nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import SampleLake
from tests.path.product import Outcome, job, publications, versions

pytestmark = [pytest.mark.path, pytest.mark.spark, pytest.mark.slow]


def files_below(root: str | Path) -> list[Path]:
    return [path for path in sorted(Path(root).rglob("*")) if path.is_file()]


def forget_reads(path: Path) -> None:
    """Sets the time of the last read far before the last change, so that the file system notes the next read."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_mtime_ns - 10**15, stat.st_mtime_ns))


def was_read(path: Path) -> bool:
    stat = path.stat()
    return stat.st_atime_ns != stat.st_mtime_ns - 10**15


@pytest.fixture(scope="module")
def tables_before(sample_lake: SampleLake) -> dict[str, int]:
    return versions(sample_lake.lake)


@pytest.fixture(scope="module")
def data_before(sample_lake: SampleLake) -> list[tuple[Path, int]]:
    return [(path, path.stat().st_mtime_ns) for path in files_below(sample_lake.lake) if "_delta_log" in path.parts]


@pytest.fixture(scope="module")
def second_run(sample_lake: SampleLake, tables_before: dict[str, int], data_before: list[tuple[Path, int]]) -> Outcome:
    for path in files_below(sample_lake.events):
        forget_reads(path)
    return job("daily", env=sample_lake.env)


def test_it_ends_well(second_run: Outcome) -> None:
    assert second_run.code == 0, second_run.text
    assert " WARN " not in second_run.text, second_run.text


def test_it_commits_nothing(
    sample_lake: SampleLake,
    second_run: Outcome,
    tables_before: dict[str, int],
    data_before: list[tuple[Path, int]],
) -> None:
    assert tables_before["publications"] >= 0
    assert versions(sample_lake.lake) == tables_before
    after = [(path, path.stat().st_mtime_ns) for path in files_below(sample_lake.lake) if "_delta_log" in path.parts]
    assert after == data_before
    assert len(publications(sample_lake.lake)) == 1


def test_it_reads_no_event_file(sample_lake: SampleLake, second_run: Outcome, tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.write_text("x")
    forget_reads(probe)
    probe.read_text()
    if not was_read(probe):
        pytest.skip("this file system does not note when a file is read (noatime)")
    assert [path for path in files_below(sample_lake.events) if was_read(path)] == []
