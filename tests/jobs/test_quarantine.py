"""The quarantine's rows: which are asked for, files without some of them, counts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs.quarantine import Asked, Count, count_rows, files_with, rewrite, row_groups
from jobs.schemas import QUARANTINE
from tests.jobs.lakes import TODAY, add, make_lake, reject

YESTERDAY = TODAY - timedelta(days=1)


@pytest.fixture
def lake(tmp_path):
    return make_lake(tmp_path / "lake")


def test_rows_are_asked_for_by_source_reason_day_and_path(lake):
    rejects = [
        reject(b"1", source="events"),
        reject(b"2", source="purchases"),
        reject(b"3", source="events", reason="too_long"),
    ]
    add(lake, QUARANTINE, rejects)
    [held] = lake.files(QUARANTINE)
    [(first, rows)] = row_groups(lake, held, ["source", "reason", "raw"])
    assert first == 0
    for asked, wanted in (
        (Asked(), [b"1", b"3"]),
        (Asked(("too_long",)), [b"3"]),
        (Asked(("not_utf8", "stray_text")), [b"1"]),
    ):
        assert rows["raw"].filter(asked.mask(rows)).to_pylist() == wanted
    assert [Asked(first=TODAY).takes_day(day) for day in (YESTERDAY, TODAY)] == [False, True]
    assert [Asked(last=YESTERDAY).takes_day(day) for day in (YESTERDAY, TODAY)] == [True, False]
    assert [Asked(path="iOS/*").takes_path(path) for path in ("iOS/a/b", "Android/a")] == [True, False]
    assert Asked().takes_path("any")


def test_a_rewritten_file_lacks_the_rows_that_are_gone_and_names_others_anew(lake):
    add(lake, QUARANTINE, [reject(b"%d" % number, detail=f"d{number}") for number in range(5)])
    [held] = lake.files(QUARANTINE)
    adds = rewrite(lake, held, {0, 3}, {1: ("too_deep", "new")})
    lake.commit(QUARANTINE, 2, adds, [held])
    found = [(row["raw"], row["reason"], row["detail"]) for row in lake.read(QUARANTINE).to_pylist()]
    assert found == [(b"1", "too_deep", "new"), (b"2", "stray_text", "d2"), (b"4", "stray_text", "d4")]
    assert [(file.rows, file.date, file.platform) for file in adds] == [(3, TODAY, "iOS")]


def test_numbers_of_rows_run_on_over_row_groups(lake, monkeypatch):
    monkeypatch.setattr("jobs.datafiles.ROW_GROUP", 2)
    add(lake, QUARANTINE, [reject(b"%d" % number) for number in range(5)])
    [held] = lake.files(QUARANTINE)
    assert [first for first, _ in row_groups(lake, held, ["raw"])] == [0, 2, 4]
    lake.commit(QUARANTINE, 2, rewrite(lake, held, {3, 4}, {2: ("too_deep", "")}), [held])
    found = [(row["raw"], row["reason"]) for row in lake.read(QUARANTINE).to_pylist()]
    assert found == [(b"0", "stray_text"), (b"1", "stray_text"), (b"2", "too_deep")]


def test_a_file_all_of_whose_rows_are_gone_is_not_written(lake):
    add(lake, QUARANTINE, [reject(b"1"), reject(b"2")])
    [held] = lake.files(QUARANTINE)
    assert rewrite(lake, held, {0, 1}, {}) == []


def test_counts_add_up_over_files_of_a_version(lake):
    old = reject(b"", YESTERDAY, source="purchases", reason="product_missing")
    for number in (1, 2):
        add(lake, QUARANTINE, [reject(b"%d" % number, source="events", file_id="f"), old])
    version = lake.open(QUARANTINE).version()
    add(lake, QUARANTINE, [reject(b"later", source="events", file_id="g")])
    assert sorted(count_rows(lake, version), key=lambda count: count.day) == [
        Count(YESTERDAY, "purchases", "product_missing", None, 2),
        Count(TODAY, "events", "stray_text", "f", 2),
    ]
    assert sum(count.rows for count in count_rows(lake)) == 5
    assert {file.date for file in files_with(lake, "purchases")} == {YESTERDAY}
