from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from serving.state.publications import Publication
from serving.state.snapshot import CoverageRow, PlatformFacts, Snapshot, platform_facts
from tests.serving.conftest import patient
from tests.serving.lake import at

PUBLISHED = at("2016-01-10 12:00:00")


def row(day: int, platform: str = "iOS", views: int = 1, view: str | None = None, purchase: str | None = None):
    def micro(text: str | None) -> int | None:
        return None if text is None else round(at(text).timestamp() * 1_000_000)

    return CoverageRow(date(2016, 1, day), platform, views, micro(view), micro(purchase))


def test_the_watermark_of_each_source_is_its_newest_time_and_the_older_holds_for_both():
    facts = platform_facts(
        [
            row(1, view="2016-01-01 10:00:00", purchase="2016-01-01 23:00:00"),
            row(2, view="2016-01-02 10:00:00"),
        ],
        PUBLISHED,
    )["iOS"]
    assert facts.views_watermark == at("2016-01-02 10:00:00")
    assert facts.purchases_watermark == at("2016-01-01 23:00:00")
    assert facts.watermark == at("2016-01-01 23:00:00")


def test_a_time_after_the_publication_moves_nothing_and_one_at_its_instant_counts():
    facts = platform_facts(
        [
            row(10, view="2016-01-10 12:00:00", purchase="2016-01-10 11:59:59"),
            row(11, view="2016-01-11 00:00:00", purchase="2016-01-11 00:00:00"),
        ],
        PUBLISHED,
    )["iOS"]
    assert facts.views_watermark == at("2016-01-10 12:00:00")
    assert facts.purchases_watermark == at("2016-01-10 11:59:59")
    assert facts.last_day == date(2016, 1, 10)
    assert facts.missing_days == ()


def test_a_day_without_views_between_two_with_views_is_missing():
    facts = platform_facts([row(1), row(2), row(4, views=0, purchase="2016-01-04 10:00:00"), row(6)], PUBLISHED)["iOS"]
    assert facts.missing_days == (date(2016, 1, 3), date(2016, 1, 4), date(2016, 1, 5))
    assert (facts.first_day, facts.last_day, facts.days) == (date(2016, 1, 1), date(2016, 1, 6), 3)


def test_platforms_are_told_apart_and_come_in_order():
    facts = platform_facts([row(3, "iOS"), row(1, "Android"), row(2, "Android")], PUBLISHED)
    assert list(facts) == ["Android", "iOS"]
    assert facts["Android"].days == 2


def test_a_platform_whose_last_view_went_has_no_day():
    facts = platform_facts([row(1, views=0)], PUBLISHED)["iOS"]
    assert facts == PlatformFacts("iOS")


@patient
@given(st.sets(st.integers(0, 400), min_size=1))
def test_days_and_missing_days_fill_the_span_without_overlap(numbers):
    first = date(2015, 1, 1)
    days = {first + timedelta(days=number) for number in numbers}
    rows = [CoverageRow(day, "iOS", 1, None, None) for day in days]
    facts = platform_facts(rows, datetime(2017, 1, 1, tzinfo=timezone.utc))["iOS"]
    assert facts.first_day == min(days)
    assert facts.last_day == max(days)
    span = {min(days) + timedelta(days=number) for number in range((max(days) - min(days)).days + 1)}
    assert set(facts.missing_days) == span - days
    assert facts.days + len(facts.missing_days) == len(span)


def test_the_watermark_of_several_platforms_is_the_oldest_and_unknown_while_one_is():
    old, new = at("2016-01-01 00:00:00"), at("2016-01-02 00:00:00")
    facts = {
        "Android": PlatformFacts("Android", old, new),
        "MobileWeb": PlatformFacts("MobileWeb", new, None),
        "iOS": PlatformFacts("iOS", new, new),
    }
    snapshot = Snapshot(Publication("id", 1, PUBLISHED, {}, "daily", {}), {}, facts)
    assert snapshot.watermark(["iOS"]) == new
    assert snapshot.watermark(["iOS", "Android"]) == old
    assert snapshot.watermark(["iOS", "MobileWeb"]) is None
    assert snapshot.watermark([]) is None
