"""Compaction: which files are merged, and which statements of the ledger stay."""

from __future__ import annotations

from datetime import date, datetime, timezone

import pytest

from jobs.datafiles import DataFile
from jobs.errors import JobError
from jobs.lake import rows_of
from jobs.maintain import merge
from jobs.maintain.compact import (
    CONTROL_FILES,
    compact_publications,
    cut,
    describe,
    find_ledger,
    plan_rewrites,
    write,
)
from jobs.publish import publish
from jobs.schemas import FILES, PUBLICATIONS, VIEWS
from tests.jobs.lakes import add, make_lake, rows, said, view

SMALL = 1000


def file(name, size=10, day=1, platform="iOS", rows=5):
    return DataFile(name, size, rows, date(2016, 2, day), platform)


def names(rewrites):
    return [[file.path for file in rewrite.files] for rewrite in rewrites]


def test_partitions_with_several_small_files_are_rewritten_newest_first():
    files = [file("a"), file("b"), file("c", day=2), file("d", day=2), file("e", day=3), file("f", platform="Android")]
    assert names(plan_rewrites(VIEWS, files, SMALL)) == [["c", "d"], ["a", "b"]]


def test_large_files_stay_as_they_are():
    files = [file("a", SMALL), file("b", SMALL - 1), file("c", SMALL - 1), file("d", SMALL, 2), file("e", 1, 2)]
    assert names(plan_rewrites(VIEWS, files, SMALL)) == [["b", "c"]]


def test_more_files_than_a_merge_can_hold_are_merged_in_groups(monkeypatch):
    monkeypatch.setattr("jobs.maintain.compact.HELD_BYTES", 3 * merge.held_bytes(file("a")))
    files = [file(f"{n}") for n in range(8)]
    assert [len(group) for group in names(plan_rewrites(VIEWS, files, SMALL))] == [3, 3, 2]


def test_a_publication_takes_work_up_to_its_bytes_and_at_least_one_rewrite():
    rewrites = plan_rewrites(VIEWS, [file(f"{n}", day=1 + n // 2) for n in range(6)], SMALL)
    assert [len(part) for part in cut(rewrites, 40)] == [2, 1]
    assert [len(part) for part in cut(rewrites, 1)] == [1, 2]
    assert [len(part) for part in cut(rewrites, 60)] == [3, 0]
    assert cut([], 1) == ([], [])


def test_merged_files_are_written_but_not_committed(tmp_path):
    lake = make_lake(tmp_path)
    for second in range(3):
        add(lake, VIEWS, [view(second=second), view(platform="Android", second=second)])
    before, steps = lake.versions(), []
    swap = write(lake, plan_rewrites(VIEWS, lake.files(VIEWS), SMALL << 10), lambda: steps.append(1))["views"]
    assert (len(swap.adds), len(swap.removes), len(steps)) == (2, 6, 2)
    assert {path.path for path in swap.removes} == {path.path for path in lake.files(VIEWS)}
    assert lake.versions() == before
    facts = describe(swap)
    assert (facts["partitions"], facts["files_before"], facts["files_after"]) == (2, 6, 2)


def test_a_data_file_that_is_gone_is_one_clear_error(tmp_path):
    lake = make_lake(tmp_path)
    for second in range(2):
        [gone] = add(lake, VIEWS, [view(second=second)])
    (tmp_path / "views" / gone.path).unlink()
    with pytest.raises(JobError, match=r"cannot compact the lake .*; nothing was changed"):
        write(lake, plan_rewrites(VIEWS, lake.files(VIEWS), SMALL << 10), lambda: None)


def test_a_ledger_is_rewritten_when_it_has_superseded_statements_or_many_files(tmp_path):
    lake = make_lake(tmp_path)
    lake.append(FILES, rows_of(FILES, [said("a"), said("b")]), 1)
    assert find_ledger(lake) is None
    lake.append(FILES, rows_of(FILES, [said("a", minute=1)]), 1)
    ledger, superseded = find_ledger(lake)
    assert (ledger.num_rows, superseded) == (2, 1)
    assert find_ledger(lake, version=1) is None
    other = make_lake(tmp_path / "other")
    for number in range(CONTROL_FILES + 1):
        other.append(FILES, rows_of(FILES, [said(str(number))]), 1)
    assert find_ledger(other)[1] == 0


def test_publications_in_many_files_become_one_file_with_the_same_rows(tmp_path):
    lake = make_lake(tmp_path)
    for number in range(1, CONTROL_FILES + 1):
        publish(lake, number, "daily", {"started_at": datetime.now(timezone.utc)})
    assert compact_publications(lake, 9) == 0
    publish(lake, CONTROL_FILES + 1, "daily", {})
    before = rows(lake, PUBLICATIONS)
    assert compact_publications(lake, 9, dry_run=True) == CONTROL_FILES + 1
    assert len(lake.open(PUBLICATIONS).file_uris()) == CONTROL_FILES + 1
    assert compact_publications(lake, 9) == CONTROL_FILES + 1
    assert len(lake.open(PUBLICATIONS).file_uris()) == 1
    assert rows(lake, PUBLICATIONS) == before
