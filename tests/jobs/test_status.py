"""Status: coverage, watermarks and missing days of each platform."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from jobs.lake import Lake, rows_of
from jobs.publish import publish
from jobs.schemas import COVERAGE
from jobs.status import lake_status
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
