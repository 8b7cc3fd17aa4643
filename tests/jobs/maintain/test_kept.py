"""Which publications are kept, and which data files they need."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from deltalake.exceptions import DeltaError

from jobs.maintain.kept import all_publications, files_of, find_kept, kept_publications
from jobs.schemas import COVERAGE, CTR_DAY, PUBLICATIONS, PUBLISHED
from tests.jobs.lakes import copy_lake, lake_of_nights, make_config, make_lake

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)


def publications(*ages):
    """Publications of these ages in days, newest first."""
    rows = [{"publication": n, "published_at": NOW - timedelta(days=age)} for n, age in enumerate(reversed(ages), 1)]
    return rows[::-1]


@pytest.mark.parametrize(
    ("ages", "days", "newest", "kept"),
    [
        ([], 7, 10, 0),
        ([0, 1, 2], 7, 1, 3),
        ([0, 1, 8, 9, 10], 7, 1, 3),  # the one of 8 days ago was the newest until yesterday
        ([30, 31, 32], 7, 1, 1),
        ([30, 31, 32], 7, 2, 2),
        ([0, 0, 0, 40], 7, 10, 4),
        ([0, 0, 0], 0, 1, 1),
    ],
)
def test_publications_that_readers_may_have_seen_within_the_days_are_kept_and_the_newest(
    tmp_path, ages, days, newest, kept
):
    config = make_config(make_lake(tmp_path), keep_days=days, keep_publications=newest)
    rows = publications(*ages)
    # At the very moment of a publication, that one is the newest.
    now = NOW + timedelta(microseconds=1)
    assert kept_publications(rows, config, now) == rows[:kept]


@pytest.fixture(scope="module")
def four_nights(tmp_path_factory):
    return lake_of_nights(tmp_path_factory.mktemp("kept") / "lake", 4)


@pytest.fixture
def lake(four_nights, tmp_path):
    return copy_lake(four_nights, tmp_path / "lake")


def test_kept_files_are_those_of_the_versions_that_kept_publications_name(lake):
    now = datetime.now(timezone.utc) + timedelta(days=30)
    kept = find_kept(lake, make_config(lake, keep_publications=2), now)
    assert kept.publications == [3, 4]
    rows = all_publications(lake)[:2]
    for table in PUBLISHED:
        versions = {row[f"{table.name}_version"] for row in rows}
        assert kept.files[table.name] == set().union(*(files_of(lake, table, version) for version in versions))
        assert kept.oldest[table.name] == min(versions)
    assert len(kept.files[COVERAGE.name]) == 2


def test_versions_that_readers_of_the_publications_table_may_have_open_are_kept(lake):
    soon, late = (datetime.now(timezone.utc) + timedelta(hours=hours) for hours in (1, 48))
    lake.overwrite(PUBLICATIONS, lake.read(PUBLICATIONS), 5)
    config = make_config(lake)
    assert find_kept(lake, config, soon).oldest[PUBLICATIONS.name] == 0
    assert len(find_kept(lake, config, soon).files[PUBLICATIONS.name]) == 5
    assert len(find_kept(lake, config, late).files[PUBLICATIONS.name]) == 1


def test_a_publication_whose_log_is_gone_is_told_and_the_others_are_kept(lake, tmp_path):
    lake.open(CTR_DAY).create_checkpoint()
    for version in (0, 1, 2):
        (tmp_path / "lake" / "ctr_day" / "_delta_log" / f"{version:020}.json").unlink()
    kept = find_kept(lake, make_config(lake), datetime.now(timezone.utc))
    assert (kept.lost, kept.publications) == ([1, 2, 3], [4])


def test_a_log_that_cannot_be_read_stops_everything(lake, tmp_path):
    log = tmp_path / "lake" / "ctr_day" / "_delta_log"
    (log / f"{2:020}.json").write_text("{broken")
    with pytest.raises(DeltaError):
        find_kept(lake, make_config(lake), datetime.now(timezone.utc))
