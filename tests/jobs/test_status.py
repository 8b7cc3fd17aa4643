"""Status: coverage, watermarks and missing days of each platform."""

from __future__ import annotations

import io
from datetime import date, timedelta

import pyarrow as pa
import pytest
from rich.console import Console

from jobs.inventory import lake_status
from jobs.lake import Lake, rows_of
from jobs.publish import publish
from jobs.schemas import COVERAGE, FILES, PUBLISHED, QUARANTINE, VIEWS
from jobs.status import show_status
from tests.jobs.lakes import TODAY, add, make_lake, reject, said, view
from tests.rows import at


def covered(day, platform="iOS", views=1, last_view=None, purchases=0, last_purchase=None):
    return {
        "date": date(2016, 2, day) if isinstance(day, int) else day,
        "platform": platform,
        "views": views,
        "purchases": purchases,
        "last_view": last_view,
        "last_purchase": last_purchase,
    }


@pytest.fixture
def status(tmp_path):
    lake = Lake(str(tmp_path))
    lake.create()

    def publish_rows(*rows):
        lake.overwrite(COVERAGE, rows_of(COVERAGE, list(rows)), 1)
        publish(lake, 1, "daily", {})
        return lake_status(str(tmp_path))["platforms"]

    return publish_rows


def test_days_without_views_between_the_first_and_the_last_are_missing(status):
    platforms = status(covered(1), covered(4), covered(2, views=0, purchases=3), covered(9, platform="Android"))
    assert platforms["iOS"]["missing_days"] == ["2016-02-02", "2016-02-03"]
    assert (platforms["iOS"]["first_day"], platforms["iOS"]["last_day"]) == ("2016-02-01", "2016-02-04")
    assert (platforms["iOS"]["views"], platforms["iOS"]["purchases"]) == (2, 3)
    assert platforms["Android"]["missing_days"] == []


def test_a_clock_in_the_future_moves_neither_watermark_nor_days(status):
    future = covered(date(2040, 1, 1), last_view=at("2040-01-01 00:00:00"), last_purchase=at("2040-01-01 00:00:00"))
    now = covered(1, last_view=at("2016-02-01 10:00:00"), last_purchase=at("2016-02-01 09:00:00"))
    platforms = status(now, future)
    assert platforms["iOS"]["views_watermark"] == "2016-02-01T10:00:00+00:00"
    assert platforms["iOS"]["purchases_watermark"] == "2016-02-01T09:00:00+00:00"
    assert platforms["iOS"]["last_day"] == "2016-02-01"


def test_a_platform_that_has_no_view_has_no_day_and_no_watermark(status):
    [row] = status(covered(1, views=0, purchases=1, last_purchase=at("2016-02-01 09:00:00"))).values()
    assert (row["first_day"], row["views_watermark"], row["missing_days"]) == (None, None, [])


def test_the_newest_publication_decides_not_the_newest_version(tmp_path, status):
    status(covered(1))
    lake = Lake(str(tmp_path))
    lake.overwrite(COVERAGE, pa.Table.from_pylist([], schema=COVERAGE.schema), 2)
    assert lake_status(str(tmp_path))["platforms"]["iOS"]["views"] == 1


def printed(status):
    text = io.StringIO()
    show_status(status, Console(file=text, width=160))
    return text.getvalue()


def test_the_quarantine_is_counted_by_reason_day_and_newest_files_as_it_was_published(tmp_path):
    lake = make_lake(tmp_path / "lake")
    files = [said(f"f{number:02}") for number in range(12)]
    lake.append(FILES, rows_of(FILES, files), 1)
    old = TODAY - timedelta(days=1)
    item = reject(b"secret", source="purchases", reason="product_missing")
    broken = [reject(b"secret", old, source="events", file_id=file["file_id"]) for file in files]
    add(lake, QUARANTINE, [item, *broken, reject(b"secret", source="events", file_id="f05", reason="too_long")])
    publish(lake, 1, "daily", {})
    add(lake, QUARANTINE, [reject(b"not published", source="events")])
    status = lake_status(lake.root)
    found = status["quarantine"]
    assert found["rows"] == 14
    assert found["reasons"] == [
        {"source": "events", "reason": "stray_text", "rows": 12},
        {"source": "events", "reason": "too_long", "rows": 1},
        {"source": "purchases", "reason": "product_missing", "rows": 1},
    ]
    assert found["days"] == {TODAY.isoformat(): 2, old.isoformat(): 12}
    assert found["files"] == 12
    assert found["newest_files"][0] == {"path": "f05", "day": TODAY.isoformat(), "rows": 2}
    assert [file["path"] for file in found["newest_files"][1:]] == [f"f{n:02}" for n in (0, 1, 2, 3, 4, 6, 7, 8, 9)]
    shown = printed(status)
    assert "quarantine: 14 rows" in shown
    assert f"by day of the run: {TODAY} 2, {old} 12\n" in shown
    assert f"  2 of {TODAY} from f05\n" in shown
    assert "and from 2 more files" in shown
    assert "secret" not in shown


def test_the_last_runs_are_listed_and_a_later_job_does_not_hide_what_the_load_said(tmp_path):
    lake = make_lake(tmp_path)
    publish(lake, 1, "daily", {"seconds": 61.25, "warnings": ["few views", "copies"]})
    for number, job in enumerate(("maintain", "publish", "replay", "maintain", "replay"), start=2):
        publish(lake, number, job, {"seconds": number, "warnings": [f"said by {number}"]})
    status = lake_status(str(tmp_path))
    assert [(run["publication"], run["job"], run["seconds"]) for run in status["runs"]] == [
        (6, "replay", 6), (5, "maintain", 5), (4, "replay", 4), (3, "publish", 3), (2, "maintain", 2)
    ]  # fmt: skip
    assert (status["last_load"]["publication"], status["last_load"]["warnings"]) == (1, ["few views", "copies"])
    shown = printed(status)
    assert [line for line in shown.splitlines() if "warning of" in line] == [
        "warning of publication 1, daily: few views",
        "warning of publication 1, daily: copies",
        "warning of publication 6, replay: said by 6",
    ]


def test_a_day_is_told_by_source_and_platform_and_one_behind_the_publication_apart(tmp_path, status):
    status(covered(1), covered(2, "Android", views=0, purchases=7), covered(date(2040, 1, 1)))
    found = lake_status(str(tmp_path))
    assert list(found["days"].items()) == [
        ("2040-01-01", {"views": {"iOS": 1}}),
        ("2016-02-02", {"purchases": {"Android": 7}}),
        ("2016-02-01", {"views": {"iOS": 1}}),
    ]
    shown = printed(found)
    assert "days after the publication, of clocks that go wrong: 1: 2040-01-01\n" in shown
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in shown.splitlines()
        if line.startswith("│ 2016-02-0")
    ]
    assert rows == [["2016-02-02", "-", "7"], ["2016-02-01", "1", "-"]]


def test_tables_have_rows_files_and_bytes_of_the_published_version(tmp_path):
    lake = make_lake(tmp_path)
    written = add(lake, VIEWS, [view(), view("q"), view(platform="Android")])
    publish(lake, 1, "daily", {})
    add(lake, VIEWS, [view("not published")])
    sizes = lake_status(str(tmp_path))["tables"]
    assert sizes["views"] == {"rows": 3, "files": 2, "bytes": sum(file.size for file in written)}
    assert sizes["purchases"] == {"rows": 0, "files": 0, "bytes": 0}
    assert set(sizes) == {table.name for table in PUBLISHED}


def test_an_empty_quarantine_is_one_line(status, tmp_path):
    status(covered(1))
    assert "quarantine: empty\n" in printed(lake_status(str(tmp_path)))
