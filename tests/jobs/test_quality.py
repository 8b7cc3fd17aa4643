"""Data-quality limits: what is found, what only warns, ages of late data."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import pyarrow as pa
import pytest

from jobs.config import Config
from jobs.datafiles import write_partitions
from jobs.decoding.records import Account
from jobs.lake import Lake, rows_of
from jobs.purchases import Purchases
from jobs.quality import by_age, check_quality
from jobs.schemas import COVERAGE, CTR_DAY
from tests.rows import at

DAY = date(2016, 2, 8)
TODAY = date(2016, 2, 9)


class Place:
    """A lake with coverage and daily counts."""

    def __init__(self, root):
        self.lake = Lake(str(root))
        self.lake.create()

    def cover(self, *rows):
        names = ("date", "platform", "views", "purchases")
        self.lake.overwrite(COVERAGE, rows_of(COVERAGE, [dict(zip(names, row, strict=True)) for row in rows]), 1)

    def count(self, *rows):
        names = ("date", "platform", "product", "time", "views", "purchases")
        full = [
            (DAY, "iOS", product, at("2016-02-08 00:00:00"), views, purchases) for product, views, purchases in rows
        ]
        table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in full], schema=CTR_DAY.schema)
        self.lake.commit(CTR_DAY, 1, write_partitions(self.lake.root, CTR_DAY, table, ["product"]))

    def check(self, account=None, touched=((DAY, "iOS"),), today=TODAY, purchases=None, failed=(), **settings):
        config = Config(events="-", lake="-", purchases_url="jdbc:sqlite:-", **settings)
        findings = check_quality(self.lake, account or Account(), set(touched), config, today, purchases, failed)
        return {finding.limit: finding.text for finding in findings}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_nothing_touched_and_nothing_read_is_fine(place):
    assert place.check(touched=()) == {}


@pytest.mark.parametrize(
    ("account", "passed"),
    [
        (Account(records=100, quarantined_records=5), False),
        (Account(records=100, quarantined_records=6), True),
        (Account(records=100, views=94, quarantined_events=6, ignored=10_000), True),
        (Account(records=100, views=95, quarantined_events=5), False),
    ],
)
def test_the_share_of_records_or_product_events_counts(place, account, passed):
    assert ("quarantined" in place.check(account, touched=())) == passed


def test_files_that_could_not_be_read_are_found_whatever_their_number(place):
    assert place.check(touched=(), failed=["iOS/a.gz (cut)"])["failed_files"].endswith("next run: 1: iOS/a.gz (cut)")
    assert place.check(touched=(), failed=list("abcdefg"))["failed_files"].endswith(": 7: a, b, c, d, e and 2 more")


def bought(held, added=0, removed=0, **counts):
    """What a run found in a database, of which the lake held so many purchases."""
    kinds = {"items": 0, "purchases": 0, "excluded": 0, "without_order": 0, "quarantined": 0, "other_devices": {}}
    return Purchases(
        counts={**kinds, **counts, "held": held},
        added=Counter({(DAY, "iOS"): added}),
        removed=Counter({(DAY, "iOS"): removed}),
    )


@pytest.mark.parametrize(
    ("held", "added", "removed", "passed"),
    [(1000, 0, 201, True), (1000, 0, 200, False), (1000, 1000, 1000, True), (100, 0, 100, False), (0, 50, 0, False)],
)
def test_purchases_that_the_database_no_longer_gives_count_whatever_comes_instead(place, held, added, removed, passed):
    assert ("purchases_lost" in place.check(touched=(), purchases=bought(held, added, removed))) == passed


def test_lost_purchases_are_told_with_what_became_of_them(place):
    found = place.check(
        touched=(),
        purchases=bought(
            1000, removed=1000, items=1000, quarantined=700, without_order=600, other_devices={"TV": 200}, excluded=100
        ),
    )["purchases_lost"]
    assert found == (
        "1,000 of 1,000 purchases are no longer in the database on their day, more than purchases_lost_limit = 20%: of 1,000 "
        "order items 0 are purchases, 700 are quarantined (600 without order), 200 of other devices, 100 excluded; is "
        "CTR_PURCHASES_URL the right database?"
    )
    assert "purchases_lost" not in place.check(touched=(), purchases=bought(1000, removed=1000), purchases_lost_limit=1)


@pytest.mark.parametrize(("quarantined", "passed"), [(5, False), (6, True)])
def test_the_share_of_order_items_that_cannot_be_used_counts(place, quarantined, passed):
    found = place.check(touched=(), purchases=bought(0, items=100, quarantined=quarantined))
    assert ("items_quarantined" in found) == passed


def test_few_views_against_the_same_weekday_before_are_found(place):
    place.cover((DAY - timedelta(days=7), "iOS", 100, 0), (DAY, "iOS", 49, 0))
    assert place.check()["few_views"].endswith("iOS 2016-02-08 has 49 after 100 a week before")
    assert place.check(views_limit=0.4) == {}
    assert place.check(today=DAY) == {}  # the day is not over


def test_a_first_week_has_nothing_to_compare_with(place):
    place.cover((DAY, "iOS", 1, 0))
    assert place.check() == {}


def test_a_platform_whose_files_do_not_come_is_found_also_when_nothing_is_new(place):
    day = timedelta(days=1)
    place.cover((DAY, "iOS", 5, 0), (DAY - 3 * day, "Android", 5, 0), (DAY - 2 * day, "MobileWeb", 5, 0))
    (text,) = place.check(touched=()).values()
    assert text == (
        "do files not come? (behind_days = 2): Android has views until 2016-02-05, the lake has data until 2016-02-08"
    )
    assert place.check(touched=(), behind_days=3) == {}
    assert place.check(touched=(), behind_days=0) == {}
    assert place.check(touched=(), retired_platforms="Android") == {}


def test_purchases_tell_that_files_of_every_platform_do_not_come(place):
    day = timedelta(days=1)
    place.cover((DAY - 3 * day, "iOS", 5, 1), (DAY, "iOS", 0, 1))
    assert "iOS has views until 2016-02-05" in place.check(touched=())["platform_behind"]


def test_neither_old_data_nor_a_day_in_the_future_nor_a_platform_without_any_view_is_behind(place):
    place.cover((DAY, "iOS", 5, 0), (date(2040, 1, 1), "Android", 5, 0), (DAY - timedelta(days=9), "MobileWeb", 0, 1))
    assert place.check(touched=()) == {}
    place.cover((date(2009, 1, 1), "iOS", 5, 1), (date(2009, 1, 2), "Android", 5, 0))
    assert place.check(touched=()) == {}


def test_purchases_without_a_view_are_found_only_between_days_with_views(place):
    place.cover((DAY - timedelta(days=1), "iOS", 5, 0), (DAY, "iOS", 0, 3), (DAY + timedelta(days=1), "iOS", 5, 0))
    assert "iOS 2016-02-08" in place.check()["purchases_without_views"]
    place.cover((DAY - timedelta(days=1), "iOS", 5, 0), (DAY, "iOS", 0, 3))
    assert place.check() == {}


def test_a_ctr_above_1_is_found_and_no_views_at_all_is_none(place):
    place.cover((DAY, "iOS", 5, 5))
    place.count(("a", 1, 2), ("b", 0, 2), ("c", 2, 2))
    assert place.check() == {"ctr_above_1": "products with a CTR above 1 on a day: 1, on iOS 2016-02-08"}


def test_ages_of_days_at_the_day_of_the_run():
    days = [
        (TODAY + timedelta(days=9), 1),
        (TODAY, 2),
        (TODAY - timedelta(days=7), 4),
        (TODAY - timedelta(days=500), 8),
    ]
    assert by_age(days, TODAY) == {"0-1 days": 3, "2-7 days": 4, "over a year": 8}
