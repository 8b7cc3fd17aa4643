from __future__ import annotations

import functools
import json
import shlex
import subprocess
import sys
from collections import defaultdict
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import pytest

from serving.explorer import WEB
from serving.keys import make_key, write_keys
from serving.request.times import TimeFault, parse_time, restore_plus
from tests.serving import oracle
from tests.serving.conftest import eventually, running
from tests.serving.lake import UTC, Lake, at, view
from tests.web.shop import NAMES, publish, rows

pytestmark = pytest.mark.browser

WEEK = "/?startTimestamp=2016-02-01 00:00:00&endTimestamp=2016-02-09 00:00:00&aggregation=1440"
HOURS = "/?startTimestamp=2016-02-02 00:00:00&endTimestamp=2016-02-03 00:00:00&aggregation=60"


def expected(start, end, aggregation, products=(), platforms=(), zone="UTC"):
    return oracle.answer(*rows(), at(start), at(end), aggregation, products, platforms, zone, detail=True)


def table(page):
    """The rows of the table as (timestamp, platform, product, CTR, views, purchases), all pages of it."""
    while page.locator("#earlier").is_visible() and page.locator("#earlier").is_enabled():
        page.locator("#earlier").click()
    found = []
    while True:
        found += page.locator("#table tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        )
        if not page.locator("#later").is_visible() or page.locator("#later").is_disabled():
            return [tuple(cells[:-1]) for cells in found]
        page.locator("#later").click()


def settled(page):
    """Wait until nothing is being read any more."""
    eventually(lambda: page.locator("#results").get_attribute("aria-busy") == "false")


def drawn(page, pane):
    return page.evaluate(f"document.querySelector('#{pane}').plot.data.map(column => [...column])")


def totals(page):
    return page.locator("#totals strong").all_text_contents()


def sums(answer):
    """Views and purchases by timestamp."""
    counts = defaultdict(lambda: [0, 0])
    for row in answer:
        counts[row[0]][0] += int(row[4])
        counts[row[0]][1] += int(row[5])
    return counts


def share(views, purchases):
    text = oracle.ctr_text(views, purchases)
    return None if text == "null" else float(text)


def test_the_page_opens_with_the_last_week_of_the_data(shop, visit):
    page = visit(shop).open()
    assert dict(parse_qsl(urlsplit(page.url).query)) == {
        "startTimestamp": "2016-02-02 00:00:00",
        "endTimestamp": "2016-02-09 00:00:00",
        "aggregation": "1440",
    }
    answer = expected("2016-02-02 00:00:00", "2016-02-09 00:00:00", 1440)
    views, purchases = (sum(int(row[place]) for row in answer) for place in (4, 5))
    assert totals(page) == [oracle.ctr_text(views, purchases), str(views), str(purchases), "7"]
    assert "Publication 1, made 9 Feb 2016 03:12 (UTC)" in page.locator("#published").text_content()


@pytest.mark.parametrize(
    ("start", "end", "aggregation"),
    [
        ("2016-02-02 00:00:00", "2016-02-03 00:00:00", 60),
        ("2016-02-01 00:00:00", "2016-02-09 00:00:00", 1440),
        ("2016-02-05 13:55:07", "2016-02-06 13:55:00", 45),
    ],
)
def test_table_chart_and_totals_are_those_of_the_oracle_and_the_api(shop, visit, start, end, aggregation):
    page = visit(shop).open(f"/?startTimestamp={start}&endTimestamp={end}&aggregation={aggregation}")
    answer = expected(start, end, aggregation)
    assert table(page) == [row[:6] for row in answer]
    api = shop.get(page.locator("#request").text_content()).json()
    assert [(row["timestamp"], row["product"], str(row["views"])) for row in api] == [
        (row[0], row[2], row[4]) for row in answer
    ]
    counts = sums(answer)
    edges = oracle.bucket_edges(at(start), at(end), aggregation, "UTC")[:-1]
    by_bucket = [counts.get(f"{edge:%Y-%m-%d %H:%M:%S}") for edge in edges]
    assert None in by_bucket
    middles, shares = drawn(page, "ctr-pane")
    assert shares == [share(*count) if count else None for count in by_bucket]
    assert all(edge.timestamp() < middle for edge, middle in zip(edges, middles, strict=True))
    missing = [f"{edge:%Y-%m-%d}" == "2016-02-04" for edge in edges]
    nothing = [None if gone else 0 for gone in missing]
    _, views, purchases = drawn(page, "counts-pane")
    assert views == [count[0] if count else none for count, none in zip(by_bucket, nothing, strict=True)]
    assert purchases == [count[1] if count else none for count, none in zip(by_bucket, nothing, strict=True)]
    total = [sum(count[place] for count in counts.values()) for place in (0, 1)]
    assert totals(page) == [oracle.ctr_text(*total), *map(str, total), str(len(edges))]


def test_a_line_for_each_platform_and_for_each_product(shop, visit):
    watched = visit(shop)
    for split, place, names in (("platform", 1, ["Android", "MobileWeb", "iOS"]), ("product", 2, NAMES)):
        page = watched.open(f"{WEEK}&split={split}")
        answer = expected("2016-02-01 00:00:00", "2016-02-09 00:00:00", 1440)
        labels = page.evaluate("document.querySelector('#ctr-pane').plot.series.slice(1).map(one => one.label)")
        assert sorted(labels) == sorted(names)
        for label, shares in zip(labels, drawn(page, "ctr-pane")[1:], strict=True):
            counts = sums(row for row in answer if row[place] == label)
            days = [f"2016-02-{day:02} 00:00:00" for day in range(1, 9)]
            assert shares == [share(*counts[day]) if day in counts else None for day in days]


def answered_with(counts):
    """Gives an answer of one row a day of February, from the first on, with these views and purchases."""
    return lambda route: route.fulfill(
        headers={"x-data-version": "1"},
        json=[
            {
                "timestamp": f"2016-02-{day:02} 00:00:00",
                "platform": "iOS",
                "product": NAMES[0],
                "CTR": bought / seen,
                "views": seen,
                "purchases": bought,
                "status": "final",
            }
            for day, (seen, bought) in enumerate(counts, 1)
        ],
    )


def axis(page, pane, number):
    """Where an axis has its ticks, and what it writes there."""
    one = f"document.querySelector('#{pane}').plot.axes[{number}]"
    return page.evaluate(f"[{one}._splits, {one}._values]")


def test_each_label_of_the_axis_of_ctr_is_the_number_at_its_tick(shop, visit):
    watched = visit(shop)
    for views, bought, digits in ((1000, 12, 4), (1000, 26, 3), (10_000, 2, 5), (10_000, 12, 5), (4, 5, 3)):
        watched.page.route("**/v1/ctr?*", answered_with([(views, bought), (views, 1)]))
        ticks, labels = axis(watched.open(WEEK), "ctr-pane", 1)
        assert [float(label) for label in labels] == pytest.approx(ticks, abs=1e-9)
        assert {len(label.partition(".")[2]) for label in labels} == {digits}
        watched.page.unroute("**/v1/ctr?*")


def test_a_step_of_days_has_labels_of_days_alone(shop, visit):
    watched = visit(shop, viewport={"width": 1600, "height": 900})
    for days in (1, 2, 6, 8):
        page = watched.open(WEEK.replace("02-01", f"02-{9 - days:02}"))
        ticks, labels = axis(page, "ctr-pane", 0)
        assert ticks
        assert labels == [f"{datetime.fromtimestamp(tick, UTC).day} Feb" for tick in ticks]
    page = watched.open(WEEK.replace("09 00:00:00", "01 18:00:00"))
    assert axis(page, "ctr-pane", 0)[1][0] == "00:00\n1 Feb"  # less than a day has hours, and room for two lines


def test_missing_days_and_freshness_stand_in_plain_words(shop, visit):
    page = visit(shop).open(WEEK)
    notes = page.locator("#notes").text_content()
    assert "Views of 4 Feb 2016 (UTC) are missing from Android, MobileWeb and iOS: shaded in the chart." in notes
    assert "missing: 4 Feb 2016" in page.locator("#freshness").text_content()
    for facts in shop.get("/v1/status").json()["platforms"]:
        section = page.locator("#freshness section", has_text=facts["platform"]).text_content()
        assert facts["watermarks"]["views"][11:19].removesuffix(":00") in section
        assert facts["watermarks"]["purchases"][11:19].removesuffix(":00") in section


def test_where_the_data_do_not_reach_is_no_zero(shop, visit):
    watched = visit(shop)
    page = watched.open("/?startTimestamp=2016-01-29 00:00:00&endTimestamp=2016-02-14 00:00:00&aggregation=1440")
    views = drawn(page, "counts-pane")[1]
    assert [count is None for count in views] == [day < 1 or day == 4 or day > 8 for day in range(-2, 14)]
    notes = page.locator("#notes").text_content()
    assert "The data of Android, MobileWeb and iOS begin on 1 Feb 2016 (UTC), within this range." in notes
    watermark = shop.get("/v1/status").json()["platforms"][0]["watermarks"]["views"][11:19]
    assert f"The data of Android end at 8 Feb 2016 {watermark}, within this range." in notes
    assert page.locator("#legend").text_content() == "no data"
    page.locator("#chart").press("End")
    assert page.locator("#readout").text_content() == "13 Feb 2016 00:00: no data"
    page = watched.open(HOURS)
    assert drawn(page, "counts-pane")[1][1] == 0
    assert not page.locator("#notes, #legend").locator("visible=true").count()


def test_days_that_platforms_miss_together_are_told_together(shop, visit):
    page = visit(shop).open(WEEK)
    told = page.evaluate(
        """async () => {
            const { notesOf } = await import("/web/words.js");
            const of = (platform, missingDays) => ({ platform, missingDays, watermarks: {}, firstDay: "2016-02-01" });
            const platforms = [of("Android", ["2016-02-03", "2016-02-04"]), of("iOS", ["2016-02-03", "2016-02-04", "2016-02-06"])];
            const [start, end] = [Date.parse("2016-02-01"), Date.parse("2016-02-09")];
            return notesOf({ platforms }, { platforms: [], timezone: "UTC" }, start, end, { starts: [start] });
        }"""
    )
    assert told == [
        "Views of 3 Feb 2016 to 4 Feb 2016 (UTC) are missing from Android and iOS: shaded in the chart.",
        "Views of 6 Feb 2016 (UTC) are missing from iOS: shaded in the chart.",
    ]


def test_each_change_is_an_address_that_links_and_the_back_button_bring_back(shop, visit):
    watched = visit(shop)
    page = watched.open(WEEK)
    before = totals(page)
    page.locator("#platforms").get_by_label("Android").uncheck()
    page.locator("#platforms").get_by_label("MobileWeb").uncheck()
    page.locator("#step").select_option("360")
    eventually(lambda: totals(page)[3] == "32")
    settled(page)
    chosen = totals(page)
    assert "platform=iOS" in page.url
    assert "aggregation=360" in page.url
    address = urlsplit(page.url)
    for _ in range(3):
        page.go_back()
    eventually(lambda: totals(page) == before)
    assert page.locator("#step").input_value() == "1440"
    assert page.locator("#platforms input:checked").count() == 3
    again = visit(shop).open(f"{address.path}?{address.query}")
    assert totals(again) == chosen
    assert again.locator("#platforms input:checked").count() == 1


def test_the_whole_page_works_by_keyboard(shop, visit):
    watched = visit(shop)
    page = watched.open(WEEK)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.wait_for_url("**#results")
    page.wait_for_timeout(200)
    assert len([url for url in watched.asked if "/v1/ctr" in url]) == 1
    page.locator(".skip").focus()
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", seen[-1]
        if seen[-1] == "search":
            break
    assert {"Last day", "30 days", "from", "to", "zone", "step"} <= set(seen)
    page.keyboard.type("20004")
    page.locator("#found [role=option]").wait_for()
    page.keyboard.press("ArrowDown")
    assert page.locator("[aria-selected=true]").text_content() == "20004987_495"
    page.keyboard.press("Enter")
    page.wait_for_url("**product=20004987_495**")
    assert page.locator("#chosen li").count() == 1
    page.keyboard.press("Backspace")
    eventually(lambda: "product" not in page.url)
    settled(page)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "chart":
            break
    page.keyboard.press("End")
    counts = sums(expected("2016-02-01 00:00:00", "2016-02-09 00:00:00", 1440))["2016-02-08 00:00:00"]
    told = page.locator("#readout").text_content()
    assert told.startswith(f"8 Feb 2016 00:00: CTR {oracle.ctr_text(*counts)}, {counts[0]} views, {counts[1]} purchase")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#readout").text_content().startswith("7 Feb 2016 00:00")


def test_several_products_can_be_found_chosen_and_taken_back_also_odd_ones(shop, visit):
    page = visit(shop).open(WEEK)
    for name, typed in ((NAMES[3], "<b>"), (NAMES[4], "ÉTÉ")):
        page.locator("#search").fill(typed)
        page.locator("#found").get_by_role("option", name=name).click()
        page.locator("#chosen").get_by_text(name).wait_for()
    chosen = expected("2016-02-01 00:00:00", "2016-02-09 00:00:00", 1440, NAMES[3:])
    eventually(lambda: table(page) == [row[:6] for row in chosen])
    page.get_by_role("button", name=f"Remove {NAMES[4]}").click()
    eventually(lambda: page.locator("#chosen li").count() == 1)
    page.locator("#search").fill("no such thing")
    page.get_by_text("No product contains “no such thing”.").wait_for()


@pytest.fixture
def many(tmp_path, serve):
    """The service over products whose names contain one another."""
    lake = Lake(tmp_path / "lake")
    lake.publish([view("2016-02-01 10:00:00", name) for name in ("0012", "12", "q0123", "q01234", "xq0123")])
    return serve(lake)


def held_up(page, search):
    """Types a text and waits until it is searched for; gives the request, whose answer waits for ``continue_``."""
    held = []
    page.route(f"**/v1/products?search={search}&*", lambda route: held.append(route))
    page.locator("#search").focus()
    page.keyboard.type(search)
    eventually(lambda: page.evaluate("1") and held)
    return held[0]


@pytest.mark.parametrize(
    ("typed", "chosen"), [("q0123", "q0123"), ("q0", "q0123"), ("12", "12"), ("xq", "xq0123"), ("Q01234", "q01234")]
)
def test_enter_right_after_typing_chooses_from_what_was_typed_and_not_from_the_list_before(many, visit, typed, chosen):
    page = visit(many).open(WEEK)
    page.locator("#search").focus()
    page.locator("#found [role=option]").first.wait_for()
    page.keyboard.type(typed)
    page.keyboard.press("Enter")
    page.locator("#chosen li").wait_for()
    assert page.locator("#chosen li").evaluate("chip => chip.firstChild.textContent") == chosen
    page.wait_for_url(f"**product={chosen}**")
    assert page.locator("#search").input_value() == ""
    assert not page.locator("#found").is_visible()


def test_a_product_that_is_named_in_full_is_chosen_before_the_first_of_the_list(many, visit):
    page = visit(many).open(WEEK)
    page.locator("#search").fill("q01234")
    page.locator("#found [role=option]").wait_for()
    page.locator("#search").fill("12")
    eventually(lambda: page.locator("#found [role=option]").count() == 5)
    page.keyboard.press("Enter")
    page.wait_for_url("**product=12**")


def test_no_product_is_chosen_that_the_address_has_no_room_for(tmp_path, serve, visit):
    lake = Lake(tmp_path / "lake")
    lake.publish([view("2016-02-01 10:00:00", name) for name in ("a" * 100, "b" * 100)])
    page = visit(serve(lake, url_bytes=430)).open(WEEK)
    for name in "ab":
        page.locator("#search").fill(name)
        page.keyboard.press("Enter")
        eventually(lambda: page.locator("#search").input_value() == "")
    page.get_by_text("The address of a view has no room for one more product").wait_for()
    assert page.locator("#chosen li").count() == 1
    assert page.reload().status == 200


def test_enter_while_the_products_are_looked_for_waits_for_them(many, visit):
    page = visit(many).open(WEEK)
    request = held_up(page, "q0123")
    page.keyboard.press("Enter")
    assert page.locator("#chosen li").count() == 0
    request.continue_()
    page.wait_for_url("**product=q0123**")


@pytest.mark.parametrize(("key", "found"), [("Escape", 0), ("4", 1), ("Tab", 0)])
def test_who_goes_on_after_enter_before_the_answer_chooses_nothing(many, visit, key, found):
    page = visit(many).open(WEEK)
    request = held_up(page, "q0123")
    page.keyboard.press("Enter")
    page.keyboard.press(key)
    request.continue_()
    page.wait_for_timeout(500)
    eventually(lambda: page.locator("#found [role=option]").count() == found)
    assert page.locator("#chosen li").count() == 0


def test_enter_on_what_no_product_contains_chooses_nothing(many, visit):
    page = visit(many).open(WEEK)
    page.locator("#search").fill("nothing")
    page.keyboard.press("Enter")
    page.get_by_text("No product contains “nothing”.").wait_for()
    assert page.locator("#chosen li").count() == 0


def test_enter_in_the_empty_field_sends_the_form_and_chooses_nothing(many, visit):
    page = visit(many).open(WEEK)
    for typed in ("", " "):
        page.locator("#search").fill(typed)
        page.locator("#found [role=option]").first.wait_for()
        with page.expect_response("**/v1/ctr?*"):
            page.keyboard.press("Enter")
        assert not page.locator("#found").is_visible()
        assert page.locator("#products-said").text_content() == "All products"
        settled(page)
    assert page.locator("#chosen li").count() == 0
    assert "product=" not in page.url


def test_a_product_that_the_arrows_point_at_is_chosen_from_the_empty_field(many, visit):
    page = visit(many).open(WEEK)
    page.locator("#search").focus()
    page.locator("#found [role=option]").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**product=0012**")


def test_a_choice_is_announced_also_when_its_answer_is_there(many, visit):
    page = visit(many).open(WEEK)
    page.locator("#search").fill("q01234")
    page.locator("#found [role=option]").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url("**product=q01234**")
    settled(page)
    assert page.locator("#products-said").text_content() == "q01234 chosen"
    page.get_by_role("button", name="Remove q01234").click()
    eventually(lambda: page.locator("#products-said").text_content() == "All products")


def test_the_chart_that_the_keyboard_reaches_has_a_name(shop, visit):
    page = visit(shop).open(WEEK)
    assert page.get_by_role("group", name="Chart of CTR, views and purchases").get_attribute("id") == "chart"


def test_a_preset_and_a_time_zone_follow_the_watermark(shop, visit):
    page = visit(shop).open(WEEK)
    page.get_by_role("button", name="Last day").click()
    page.wait_for_url("**aggregation=60**")
    page.locator("#zone").fill("America/Sao_Paulo")
    page.locator("#zone").press("Enter")
    page.wait_for_url("**timezone=America/Sao_Paulo")
    page.get_by_role("button", name="Last day").click()
    eventually(lambda: "02-08%2000" in page.url)
    asked = dict(parse_qsl(urlsplit(page.url).query))
    assert (asked["startTimestamp"], asked["endTimestamp"]) == ("2016-02-08 00:00:00", "2016-02-09 00:00:00")
    start, end = "2016-02-08 02:00:00", "2016-02-09 02:00:00"
    eventually(lambda: table(page) == [row[:6] for row in expected(start, end, 60, zone="America/Sao_Paulo")])


@pytest.mark.parametrize(
    ("zone", "start", "end"),
    [
        ("America/Sao_Paulo", "2016-02-20 12:00:00", "2016-02-22 00:00:00"),
        ("America/Sao_Paulo", "2016-10-15 12:00:00", "2016-10-17 00:00:00"),
        ("Europe/Berlin", "2016-10-29 12:00:00", "2016-10-31 00:00:00"),
        ("Europe/Berlin", "2016-03-26 12:00:00", "2016-03-28 00:00:00"),
        ("Australia/Lord_Howe", "2016-04-02 00:00:00", "2016-04-04 00:00:00"),
        ("Asia/Kolkata", "2016-04-02 00:00:00", "2016-04-04 00:00:00"),
        ("Pacific/Apia", "2011-12-29 12:00:00", "2012-01-02 00:00:00"),
    ],
)
def test_where_clocks_change_each_count_stands_in_its_own_hour(tmp_path, serve, visit, zone, start, end):
    first, last = (at(text).replace(tzinfo=ZoneInfo(zone)) for text in (start, end))
    edges = oracle.bucket_edges(first.astimezone(oracle.UTC), last.astimezone(oracle.UTC), 60, zone)[:-1]
    times = [edge + timedelta(minutes=7) for edge in edges]
    views = [view(f"{time:%Y-%m-%d %H:%M:%S}") for number, time in enumerate(times) for _ in range(number + 1)]
    lake = Lake(tmp_path / "lake")
    lake.publish(views, published_at="2017-01-01 00:00:00")
    watched = visit(serve(lake))
    page = watched.open(f"/?startTimestamp={start}&endTimestamp={end}&aggregation=60&timezone={zone}")
    middles, counts, _ = drawn(page, "counts-pane")
    assert counts == list(range(1, len(edges) + 1))
    assert middles[0] == edges[0].timestamp() + 1800
    page = watched.open(f"/?startTimestamp={start}&endTimestamp={end}&aggregation=1440&timezone={zone}")
    days = oracle.bucket_edges(edges[0], last.astimezone(oracle.UTC), 1440, zone)[:-1]
    _, counts, _ = drawn(page, "counts-pane")
    assert len(counts) == len(days)
    assert sum(counts) == len(views)


@pytest.fixture
def put_back(tmp_path, serve):
    """A service whose only views lie where clocks are put back: some in the second of both hours, few in the first."""
    lake = Lake(tmp_path / "lake")
    berlin = [view("2016-10-30 01:10:00", "b"), view("2016-10-30 01:40:00", "a"), view("2016-10-30 01:50:00", "a")]
    brazil = [view("2016-02-21 01:10:00", "z"), view("2016-02-21 02:10:00", "z"), view("2016-02-21 02:20:00", "☀")]
    lake.publish([*berlin, *brazil], published_at="2016-12-01 00:00:00")
    return serve(lake)


@pytest.mark.parametrize(
    ("zone", "start", "end", "step", "counts", "times"),
    [
        ("Europe/Berlin", "2016-10-30 00:00:00", "2016-10-30 05:00:00", 60, [0, 0, 0, 3, 0, 0], ["02:00"] * 2),
        ("Europe/Berlin", "2016-10-30 02:00:00", "2016-10-30 03:00:00", 30, [0, 0, 1, 2], ["02:00", "02:30"]),
        ("America/Sao_Paulo", "2016-02-20 22:00:00", "2016-02-21 01:00:00", 60, [0, 1, 2, 0], ["23:00"] * 3),
        ("America/Sao_Paulo", "2016-02-20 00:00:00", "2016-02-22 00:00:00", 1440, [3, 0], ["00:00"] * 2),
    ],
)
def test_rows_of_the_second_of_two_hours_of_one_name_stand_there(
    put_back, visit, zone, start, end, step, counts, times
):
    page = visit(put_back).open(f"/?startTimestamp={start}&endTimestamp={end}&aggregation={step}&timezone={zone}")
    assert [count or 0 for count in drawn(page, "counts-pane")[1]] == counts
    assert [row[0][11:16] for row in table(page)] == times
    request = dict(parse_qsl(urlsplit(page.locator("#request").text_content()).query))
    assert (request["startTimestamp"], request["timezone"]) == (start, zone)


REFUSED = (
    ("2016-03-27 02:30:00", "2016-03-28 00:00:00", "does not exist in Europe/Berlin"),
    ("2016-02-01 24:00:00", "2016-02-03 00:00:00", "there is no such day, time or offset"),
    ("2016-02-01 00:00:00.0", "2016-02-03 00:00:00", "with a fraction of a second"),
    ("1999-01-01 00:00:00", "2016-02-03 00:00:00", "must lie between 2000-01-01 and 2100-01-01"),
    ("2016-02-01 00:00:00", "2016-02-02 00:00:00&timezone=europe/berlin", "europe/berlin"),
)


def test_what_the_service_refuses_of_a_zone_is_refused_by_the_page(shop, visit):
    watched = visit(shop)
    for start, end, told in REFUSED:
        zone = "" if "timezone" in end else "&timezone=Europe/Berlin"
        address = f"/?startTimestamp={start}&endTimestamp={end}&aggregation=60{zone}"
        page = watched.open(address, wait="#problem:visible")
        assert told in page.locator("#problem").text_content()


def test_a_refusal_of_a_zone_names_its_own_times(tmp_path, serve, visit):
    lake = Lake(tmp_path / "lake")
    publish(lake)
    address = f"{WEEK.replace('1440', '60')}&timezone=Asia/Kolkata"
    page = visit(serve(lake, range_days=2)).open(address, wait="#problem:visible")
    page.get_by_role("button", name="End at 2016-02-03 00:00:00").wait_for()


OFFSETS = ("", "Z", " z", "+01", " 01", "+0130", "-01:30", " 01:00", "+24", "+0160", "+1", "  +01")
TIMES = (
    "2016-02-01 23:59:59",
    "2016-02-01T00:00",
    "2016-02-01",
    "2016-02-30T00:00:00",
    "2016-02-01T24:00",
    "2016-02-01T00:00:60",
    "2016-03-27T02:30:00",
    "2016-10-30T02:30:00",
    "2000-01-01T00:00:00",
    "2100-01-01T00:00:00",
    "0050-01-01T00:00:00",
    "x",
)


def test_the_times_of_an_address_are_read_as_the_service_reads_them(shop, visit):
    page = visit(shop).open(WEEK)
    texts = [time + offset for time in TIMES for offset in OFFSETS]
    for zone in ("UTC", "Europe/Berlin"):
        found = page.evaluate(
            """async ([texts, zone]) => {
                const { parseTime } = await import("/web/time.js");
                const { viewOf } = await import("/web/view.js");
                return texts.map((text) => {
                    const { start } = viewOf(new URLSearchParams({ startTimestamp: text, endTimestamp: "" }));
                    return parseTime(start, zone);
                });
            }""",
            [texts, zone],
        )
        assert dict(zip(texts, found, strict=True)) == {text: instant(text, zone) for text in texts}


def instant(text, zone):
    """Milliseconds, as the service understands a time of a query string."""
    try:
        return parse_time(restore_plus(text), ZoneInfo(zone)) * 1000
    except TimeFault:
        return None


def test_the_fields_show_the_times_of_any_address(shop, visit):
    watched = visit(shop)
    page = watched.open("/?startTimestamp=2016-02-02T02:00:00+03&endTimestamp=2016-02-03T00:00:00Z&aggregation=60")
    fields = lambda: [page.locator(name).input_value()[:16] for name in ("#from", "#to")]  # noqa: E731
    assert fields() == ["2016-02-01T23:00", "2016-02-03T00:00"]
    assert page.locator("#view-said").text_content() == "2016-02-01 to 2016-02-03"
    assert totals(page)[3] == "25"
    page.locator("#split").select_option("platform")
    page.wait_for_url("**startTimestamp=2016-02-02%2002:00:00%2B03&**")
    watched.open("/?startTimestamp=2016-02-02&endTimestamp=2016-02-3x", wait="#problem:visible")
    assert fields() == ["2016-02-02T00:00", ""]
    page.locator("#to").fill("2016-02-03T00:00")
    page.get_by_role("button", name="Show", exact=True).click()
    page.locator("#totals").wait_for()


def test_a_step_that_is_longer_than_all_dates_is_one_bucket(shop, visit):
    page = visit(shop).open(WEEK.replace("1440", "14400000000000&timezone=Europe/Berlin"))
    assert totals(page)[3] == "1"


def test_the_request_is_shown_as_address_curl_and_python_that_work(shop, visit):
    product = NAMES[3].replace('"', "%22")
    page = visit(shop).open(f"{HOURS}&product={product}&platform=iOS&timezone=Europe/Berlin")
    text = page.locator("#request")
    url = text.text_content()
    answer = shop.get(url).json()
    assert {row["product"] for row in answer} == {NAMES[3]}
    page.get_by_label("curl").check()
    assert shlex.split(text.text_content()) == ["curl", url]
    page.get_by_label("Python").check()
    assert ", timeout=60)" in text.text_content(), "a large answer may take longer than httpx waits by itself"
    code = text.text_content() + "\nimport json; print(json.dumps(rows))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == answer


def test_the_request_and_the_link_can_be_copied(shop, visit):
    watched = visit(shop, permissions=["clipboard-read", "clipboard-write"])
    page = watched.open(WEEK)
    page.get_by_role("button", name="Copy", exact=True).click()
    page.get_by_text("Copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#request").text_content()
    page.get_by_role("button", name="Copy link").click()
    eventually(lambda: page.evaluate("navigator.clipboard.readText()") == page.url)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    request = page.locator("#request").text_content()
    for button, text in (("Copy link", page.url), ("Copy", request)):
        page.get_by_role("button", name=button, exact=button == "Copy").click()
        page.get_by_text("Marked: press Ctrl+C.").wait_for()
        eventually(lambda text=text: page.evaluate("getSelection().toString()") == text)


@pytest.mark.parametrize("name", ["CSV", "JSON", "NDJSON", "Arrow", "Parquet"])
def test_a_download_is_the_answer_of_the_api(shop, visit, name):
    page = visit(shop).open(WEEK)
    with page.expect_download() as waiting:
        page.get_by_role("link", name=f"Download {name}", exact=True).click()
    link = page.locator(f"[data-format={name.lower()}]").get_attribute("href")
    assert waiting.value.path().read_bytes() == shop.get(link).content
    assert waiting.value.suggested_filename == f"ctr.{name.lower()}"


def test_a_refused_request_is_told_with_every_fault(shop, visit):
    page = visit(shop).open(
        "/?startTimestamp=2016-02-09 00:00:00&endTimestamp=2016-02-01 00:00:00&aggregation=0&platform=Symbian",
        wait="#problem:visible",
    )
    told = page.locator("#problem").text_content()
    assert "Invalid request" in told
    assert "endTimestamp: the end is not after the start; swap them, or move the end" in told
    assert "aggregation" in told
    assert "write one of Android, MobileWeb, iOS" in told
    assert not page.locator("#chart-card, #table-card, #totals").locator("visible=true").count()


def test_too_fine_a_step_is_not_asked_for_and_a_coarser_one_is_offered(shop, visit):
    watched = visit(shop)
    page = watched.open(WEEK.replace("1440", "1"), wait="#problem:visible")
    told = page.locator("#problem").text_content()
    assert "11,520 buckets" in told
    assert "A download takes more, up to the limits of the service." in told
    assert not [url for url in watched.asked if "/v1/ctr" in url]
    assert page.get_by_role("link", name="Download CSV").is_visible()
    page.get_by_role("button", name="Use steps of 5 minutes").click()
    page.locator("#totals").wait_for()
    assert "aggregation=5" in page.url
    assert page.evaluate("document.activeElement.id") == "results"


def test_a_limit_of_the_service_is_told_and_the_nearest_request_is_one_click_away(tmp_path, serve, visit):
    lake = Lake(tmp_path / "lake")
    publish(lake)
    page = visit(serve(lake, range_days=2, buckets=10)).open(WEEK.replace("1440", "60"), wait="#problem:visible")
    told = page.locator("#problem").text_content()
    assert "the limit is 2 days (setting range_days); endTimestamp=2016-02-03 00:00:00 would pass" in told
    assert "the limit is 10 (setting buckets)" in told
    page.get_by_role("button", name="Use steps of").click()
    page.locator("#totals").wait_for()
    assert "endTimestamp=2016-02-03%2000:00:00" in page.url


def test_a_new_publication_is_announced_and_one_click_away(tmp_path, serve, visit):
    lake = Lake(tmp_path / "lake")
    publish(lake)
    client = serve(lake)
    watched = visit(client)
    watched.page.clock.install()
    page = watched.open(WEEK)
    before = totals(page)
    views, purchases = rows()
    lake.publish([*views, view("2016-02-08 10:00:00")], purchases, published_at="2016-02-10 03:12:00")
    eventually(lambda: client.get("/v1/status").json()["dataVersion"] == 2)
    page.clock.fast_forward(61_000)
    page.get_by_text("Publication 2 is there.").wait_for()
    assert totals(page) == before
    page.get_by_role("button", name="Show it").click()
    eventually(lambda: totals(page)[1] == str(len(views) + 1))
    assert "Publication 2" in page.locator("#published").text_content()
    assert not page.locator("#news").is_visible()


@pytest.fixture
def grown(tmp_path, serve):
    """A service that serves publication 2, and the answers that a worker gave that still had publication 1: status, rows."""
    lake = Lake(tmp_path / "lake")
    publish(lake)
    client = serve(lake)
    path = WEEK.replace("/?", "/v1/ctr?") + "&detail=true"
    before = client.get("/v1/status"), client.get(path)
    views, purchases = rows()
    lake.publish([*views, view("2016-02-08 10:00:00")], purchases, published_at="2016-02-10 03:12:00")
    eventually(lambda: client.get("/v1/status").json()["dataVersion"] == 2)
    return client, *before, str(len(views) + 1)


def behind(watched, pattern, answer, times):
    """Gives the answer of the worker that is behind to so many requests; the list of those that were asked."""
    asked = []

    def handle(route):
        asked.append(route.request.url)
        if len(asked) > times:
            route.continue_()
        else:
            route.fulfill(body=answer.content, headers={"x-data-version": "1", "content-type": "application/json"})

    watched.page.route(pattern, handle)
    return asked


@pytest.mark.parametrize(("pattern", "which", "times"), [("**/v1/status", 1, 4), ("**/v1/ctr?*", 2, 2)])
def test_of_a_status_and_rows_what_is_of_an_older_publication_is_asked_for_again(grown, visit, pattern, which, times):
    client, count = grown[0], grown[3]
    watched = visit(client)
    asked = behind(watched, pattern, grown[which], times)
    page = watched.open(WEEK)
    assert len(asked) == times + 1
    assert "Publication 2, made 10 Feb 2016" in page.locator("#published").text_content()
    assert totals(page)[1] == count


def test_an_older_publication_is_shown_as_such_until_the_newest_is_wanted(grown, visit):
    client, _, rows_before, count = grown
    watched = visit(client)
    page = watched.open(f"{WEEK}&asOf=1")
    assert totals(page)[1] == str(sum(row["views"] for row in rows_before.json()))
    assert len([url for url in watched.asked if "/v1/ctr" in url]) == 1
    assert "Publication 1 is shown, as the address asks; the newest is 2." in page.locator("#news").text_content()
    page.locator("#split").select_option("platform")
    page.wait_for_url("**&asOf=1&split=platform")
    assert "asOf=1" in page.locator("#request").text_content()
    settled(page)
    page.get_by_role("button", name="Show it").click()
    eventually(lambda: totals(page)[1] == count)
    assert "asOf" not in page.url
    assert not page.locator("#news").is_visible()
    page = watched.open(f"{WEEK}&asOf=7", wait="#problem:visible")
    page.get_by_role("button", name="Show the newest publication").click()
    page.locator("#totals").wait_for()


def test_rows_and_a_status_that_never_agree_are_told_apart(grown, visit):
    client, status, _, count = grown
    watched = visit(client)
    behind(watched, "**/v1/status", status, times=100)
    page = watched.open(WEEK)
    assert totals(page)[1] == count
    told = page.locator("#published").text_content()
    assert (
        "The counts are of publication 2; how far the data reach, and what is missing, are told of publication 1,"
        in told
    )


def test_a_service_with_keys_asks_for_one_and_keeps_it_for_the_tab(tmp_path, serve, visit):
    lake = Lake(tmp_path / "lake")
    publish(lake)
    secret, key = make_key("analyst", ("read",), ("iOS",), None)
    write_keys(tmp_path / "keys.json", (key,))
    watched = visit(serve(lake, api_keys_file=str(tmp_path / "keys.json")))
    page = watched.open(WEEK, wait="#key-panel:visible")
    assert "This address wants a key" in page.locator("#problem").text_content()
    for odd in ("ключ", f"{secret}\u200b"):
        page.get_by_label("API key").fill(odd)
        page.keyboard.press("Enter")
        page.get_by_text("A key has only letters, digits and signs of ASCII").wait_for()
        assert page.evaluate("sessionStorage.length") == 0
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    page.get_by_text("The key is not known, or was revoked.").wait_for()
    page.get_by_label("API key").fill(secret)
    page.keyboard.press("Enter")
    page.locator("#totals").wait_for()
    answer = expected("2016-02-01 00:00:00", "2016-02-09 00:00:00", 1440, platforms=["iOS"])
    assert table(page) == [row[:6] for row in answer]
    assert page.locator("#platforms").text_content().split() == ["iOS"]
    assert not page.locator("#key-panel").is_visible()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download CSV").click()
    assert waiting.value.path().read_bytes().startswith(b"timestamp,platform,product,CTR")
    page.get_by_label("curl").check()
    assert "Authorization: Bearer $CTR_KEY" in page.locator("#request").text_content()
    assert secret not in page.content() + page.url
    page.reload()
    page.locator("#totals").wait_for()


def test_a_key_that_is_known_but_may_not_read_can_be_changed(tmp_path, serve, visit):
    lake = Lake(tmp_path / "lake")
    publish(lake)
    (metrics, one), (secret, other) = (make_key(name, (name,), (), None) for name in ("metrics", "read"))
    write_keys(tmp_path / "keys.json", (one, other))
    page = visit(serve(lake, api_keys_file=str(tmp_path / "keys.json"))).open(WEEK, wait="#key-panel:visible")
    page.get_by_label("API key").fill(metrics)
    page.keyboard.press("Enter")
    page.get_by_text("the scopes metrics").wait_for()
    page.get_by_label("API key").fill(secret)
    page.keyboard.press("Enter")
    page.locator("#totals").wait_for()


def test_a_key_can_be_changed_after_too_many_wrong_ones(tmp_path, serve, visit):
    lake = Lake(tmp_path / "lake")
    publish(lake)
    secret, key = make_key("analyst", ("read",), (), None)
    write_keys(tmp_path / "keys.json", (key,))
    settings = {"api_keys_file": str(tmp_path / "keys.json"), "key_guesses": 2}
    page = visit(serve(lake, **settings)).open(WEEK, wait="#key-panel:visible")
    for _ in range(3):
        page.get_by_label("API key").fill("wrong")
        with page.expect_response("**/v1/platforms") as response:
            page.keyboard.press("Enter")
    assert response.value.status == 429
    page.get_by_text("It can be asked again in").wait_for()
    page.get_by_label("API key").fill(secret)


def held_once(page, pattern):
    """Lets the first request of a pattern wait for good."""
    held = []
    page.route(pattern, lambda route: route.fallback() if held else held.append(route))
    return held


def test_try_again_asks_for_what_the_address_says_by_then(shop, visit):
    watched = visit(shop)
    page = watched.page
    page.route("**/v1/ctr?*", lambda route: route.fulfill(status=503, json={"title": "Busy"}))
    watched.open(WEEK, wait="#problem:visible")
    page.unroute("**/v1/ctr?*")
    button = page.get_by_role("button", name="Try again").element_handle()
    held = held_once(page, "**/v1/ctr?*")
    page.get_by_role("button", name="Last day").click()
    eventually(lambda: page.evaluate("1") and held)
    assert not button.is_visible()
    button.evaluate("button => button.onclick()")
    page.locator("#totals").wait_for()
    assert totals(page)[3] == "24"
    assert "aggregation=60" in page.url
    assert page.locator("#step").input_value() == "60"


def test_the_form_works_while_nothing_could_be_loaded_yet_and_a_slow_load_says_so(shop, visit):
    watched = visit(shop)
    page = watched.page
    page.route("**/v1/status", lambda route: route.abort())
    watched.open(WEEK, wait="#problem:visible")
    page.unroute("**/v1/status")
    held = held_once(page, "**/v1/platforms")
    page.get_by_role("button", name="Show", exact=True).click()
    eventually(lambda: page.evaluate("1") and held)
    assert page.get_by_text("Loading …").is_visible()
    assert not page.locator("#problem").is_visible()
    page.get_by_role("button", name="7 days").click()
    page.locator("#totals").wait_for()
    assert not page.get_by_text("Loading …").is_visible()


def test_a_mistyped_zone_leaves_the_presets_alive(shop, visit):
    page = visit(shop).open(WEEK)
    page.locator("#zone").fill("Berlin")
    page.locator("#zone").press("Enter")
    page.locator("#problem").wait_for()
    page.get_by_role("button", name="7 days").click()
    page.locator("#totals").wait_for()
    assert page.locator("#zone").input_value() == "UTC"


def test_a_platform_of_an_address_may_be_written_in_any_case(shop, visit):
    watched = visit(shop)
    page = watched.open(f"{WEEK}&platform=ios&platform=IOS")
    assert page.locator("#platforms input:checked").evaluate_all("boxes => boxes.map(box => box.value)") == ["iOS"]
    assert page.url.endswith("&platform=iOS")
    assert drawn(page, "counts-pane")[1][3] is None
    assert "from iOS: shaded" in page.locator("#notes").text_content()


def test_a_page_of_the_table_begins_at_its_top_and_keeps_the_focus(shop, visit):
    page = visit(shop).open(WEEK.replace("1440", "60"))
    page.locator(".scroll").evaluate("box => { box.scrollTop = 1e6; }")
    page.locator("#later").focus()
    while "of" in page.locator("#page-said").text_content():
        page.keyboard.press("Enter")
        assert page.locator(".scroll").evaluate("box => box.scrollTop") == 0
        if page.locator("#later").get_attribute("aria-disabled") == "true":
            break
    last = page.locator("#page-said").text_content()
    page.keyboard.press("Enter")
    assert page.locator("#page-said").text_content() == last
    assert page.evaluate("document.activeElement.id") == "later"


def test_a_range_without_data_is_understandable_and_leads_back(shop, visit):
    page = visit(shop).open(
        "/?startTimestamp=2017-02-01 00:00:00&endTimestamp=2017-02-09 00:00:00&aggregation=1440",
        wait="#problem:visible",
    )
    assert "There is no view and no purchase from 2017-02-01" in page.locator("#problem").text_content()
    page.get_by_role("button", name="Show the newest 7 days").click()
    page.locator("#totals").wait_for()


def test_a_lake_without_a_publication_and_one_without_rows(tmp_path, serve, visit):
    lake = Lake(tmp_path / "lake")
    client = serve(lake)
    page = visit(client).open("/", wait="#problem:visible")
    assert "No data to serve" in page.locator("#problem").text_content()
    lake.publish()
    eventually(lambda: client.get("/health/ready").status_code == 200)
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("There are no data yet").wait_for()
    publish(lake)
    eventually(lambda: client.get("/v1/status").json()["dataVersion"] == 2)
    page.get_by_role("button", name="Look again").click()
    page.locator("#totals").wait_for()


def test_a_refusal_is_told_whoever_writes_it(shop, visit):
    page = visit(shop).open(WEEK)
    cases = [
        (429, '{"title":"Too many requests","detail":"Wait."}', "1", "Too many requests", ["asked again in 1 second."]),
        (503, "<html>", "Sun, 01 Jan 2012 12:00:00 GMT", "answered 503", ["asked again in 1 second."]),
        (503, "<html>", "later", "answered 503", []),
        (502, "null", "120", "answered 502", ["asked again in 120 seconds."]),
        (502, '{"errors":"x","title":null}', None, "answered 502", []),
        (
            422,
            '{"errors":[{"detail":"d"},null,{"parameter":"p","detail":"e","hint":"h"}]}',
            None,
            "422",
            ["d", "p: e; h"],
        ),
    ]
    told = page.evaluate(
        """async (cases) => {
            const { ask } = await import("/web/api.js");
            const told = [];
            for (const [status, body, wait] of cases) {
                window.fetch = async () => new Response(body, { status, headers: wait === null ? {} : { "Retry-After": wait } });
                await ask("/").catch((problem) => told.push([problem.title, problem.hints]));
            }
            return told;
        }""",
        [case[:3] for case in cases],
    )
    for (title, hints), (_, _, _, words, ends) in zip(told, cases, strict=True):
        assert title.endswith(words)
        assert [hint.endswith(end) for hint, end in zip(hints, ends, strict=True)] == [True] * len(ends)


def test_an_answer_that_is_cut_is_not_shown_as_a_whole_one(shop, visit):
    watched = visit(shop)
    for body in ('[{"timestamp":"2016-02-01 00:00:00","platform":"iOS"', "", "[]x"):
        watched.page.route("**/v1/ctr?*", functools.partial(answer_with, body))
        page = watched.open(WEEK, wait="#problem:visible")
        assert "The service does not answer" in page.locator("#problem").text_content()
        assert not page.locator("#totals").is_visible()
        page.unroute("**/v1/ctr?*")


def answer_with(body, route):
    route.fulfill(content_type="application/json", body=body)


def test_buckets_of_another_time_than_the_browser_knows_are_not_drawn_somewhere(shop, visit):
    watched = visit(shop)
    row = shop.get(WEEK.replace("/?", "/v1/ctr?") + "&detail=true").json()[0]
    watched.page.route("**/v1/ctr?*", lambda route: route.fulfill(json=[{**row, "timestamp": "2016-02-01 01:00:00"}]))
    page = watched.open(WEEK, wait="#problem:visible")
    assert "It has no bucket at 2016-02-01 01:00:00" in page.locator("#problem").text_content()


def test_a_server_that_is_gone_is_understandable(tmp_path, visit):
    from serving.main import create_app
    from serving.settings import Settings

    lake = Lake(tmp_path / "lake")
    publish(lake)
    with running(create_app(Settings(lake=str(lake.path), replica=False))) as client:
        page = visit(client).open(WEEK)
    page.get_by_role("button", name="Last day").click()
    page.get_by_text("The service does not answer").wait_for()
    assert page.get_by_role("button", name="Try again").is_visible()
    assert not page.locator("#totals").is_visible()


def test_a_phone_needs_no_scrolling_sideways(shop, visit):
    watched = visit(shop, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    for address in (f"{WEEK}&split=product", HOURS, WEEK.replace("1440", "1"), WEEK.replace("09 00", "01 00")):
        page = watched.open(address, wait="#request-card:visible")
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, address
    page = watched.open(WEEK)
    assert not page.locator("#from").is_visible()
    page.get_by_text("Change what is shown").tap()
    page.get_by_role("button", name="Last day").tap()
    page.wait_for_url("**aggregation=60**")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("width", [1280, 375])
def test_the_chart_stands_still_and_its_legend_tells_of_the_bucket_under_the_pointer(shop, visit, width):
    page = visit(shop, viewport={"width": width, "height": 900}).open(f"{WEEK}&split=product")
    page.locator("#ctr-pane").scroll_into_view_if_needed()
    legend = lambda: page.locator("#legend .share").all_text_contents()  # noqa: E731
    box, whole = page.locator("#ctr-pane .u-over").bounding_box(), legend()
    values = drawn(page, "ctr-pane")[1:]
    sums_of = [oracle.ctr_text(*map(sum, zip(*sums(rows).values(), strict=True))) for rows in by_product(page)]
    assert whole == sums_of
    for place in (1, 3, 5):
        page.mouse.move(box["x"] + box["width"] * (place + 0.5) / 8, box["y"] + 40)
        eventually(lambda place=place: page.locator("#readout").text_content().startswith(f"{place + 1} Feb 2016"))
        assert page.locator("#ctr-pane .u-over").bounding_box() == box
        assert legend() == ["–" if line[place] is None else f"{line[place]:.4f}" for line in values]
    page.mouse.move(2, 2)
    eventually(lambda: legend() == whole)
    assert page.locator("#readout").text_content() == ""


def by_product(page):
    """The rows of the week by product, in the order of the legend."""
    answer = expected("2016-02-01 00:00:00", "2016-02-09 00:00:00", 1440)
    return [[row for row in answer if row[2] == name] for name in page.locator("#legend bdi").all_text_contents()]


def test_text_of_twice_the_size_overlaps_nothing(shop, visit):
    watched = visit(shop)
    for width in (1280, 640, 375):
        watched.page.set_viewport_size({"width": width, "height": 900})
        page = watched.open(f"{WEEK}&split=platform")
        before = page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)")
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        page.wait_for_timeout(200)
        assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") == 2 * before
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).map(box => box.textContent)"
        assert page.locator("#totals > div, #freshness > section, .heading").evaluate_all(wide) == []
        lines = "all => all.map(one => one.getBoundingClientRect().height / parseFloat(getComputedStyle(one).fontSize))"
        assert max(page.locator("#totals strong").evaluate_all(lines)) < 2


def test_long_and_odd_names_leave_room_for_the_numbers(tmp_path, serve, visit):
    long, turned = "x" * 400, "\u202eabc"
    lake = Lake(tmp_path / "lake")
    names = (long, turned, NAMES[0])
    lake.publish([view("2016-02-01 10:00:00", name, "MobileWeb") for name in names], published_at="2016-02-03 00:00:00")
    watched = visit(serve(lake), viewport={"width": 375, "height": 800})
    page = watched.open(f"{HOURS.replace('02-02', '02-01')}&split=product")
    for place in ("#legend", "#table tbody"):
        found = page.locator(f"{place} bdi").evaluate_all("all => all.map(one => [one.textContent, one.title])")
        assert sorted(found) == sorted([name, name] for name in names)
        assert (
            page.locator(f"{place} bdi").filter(has_text=NAMES[0]).evaluate("one => one.scrollWidth <= one.clientWidth")
        )
    cells = page.get_by_role("columnheader", name="CTR"), page.locator(".scroll")
    edges = [box["x"] + box["width"] for box in (cell.bounding_box() for cell in cells)]
    assert edges[0] <= edges[1]


def contrast(page, one, other):
    """The contrast of two colours of the style sheet, as WCAG 2 counts it."""
    lights = []
    for name in (one, other):
        text = page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
        parts = [int(text[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        lights.append(0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)
    return max(lights) / min(lights)


def test_fields_and_bars_stand_out_from_their_ground(shop, visit):
    page = visit(shop).open(WEEK)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for id in ("from", "zone", "step", "search"):
            line = f"getComputedStyle(document.getElementById('{id}')).borderTopColor"
            probe = "document.body.style.color = 'var(--field)', getComputedStyle(document.body).color"
            assert page.evaluate(line) == page.evaluate(probe)
        assert min(contrast(page, "field", ground) for ground in ("page", "card")) >= 3
        assert contrast(page, "bars", "card") >= 2


def test_forced_colours_leave_the_keys_of_the_chart_and_the_choice_of_a_list(shop, visit):
    page = visit(shop, forced_colors="active").open(f"{WEEK}&split=platform")
    colour = "all => all.map(one => getComputedStyle(one).backgroundColor)"
    swatches = page.locator(".swatch, .key-bar, .key-line").evaluate_all(colour)
    assert len(set(swatches)) == len(swatches) == 6
    page.locator("#search").focus()
    page.locator("#found [role=option]").first.wait_for()
    page.keyboard.press("ArrowDown")
    chosen, *others = page.locator("#found [role=option]").evaluate_all(colour)
    assert chosen not in others


def test_light_and_dark_follow_the_system_also_while_it_changes(shop, visit):
    watched = visit(shop)
    page = watched.open(WEEK)
    stroke = "document.querySelector('#ctr-pane').plot.series[1]._stroke"
    light = page.evaluate(f"[getComputedStyle(document.body).backgroundColor, {stroke}]")
    page.emulate_media(color_scheme="dark")
    eventually(lambda: page.evaluate(stroke) != light[1])
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light[0]


def test_the_policy_stops_what_is_not_of_the_page(shop, visit):
    watched = visit(shop)
    page = watched.open(WEEK)
    page.evaluate(
        "window.seen = []; addEventListener('securitypolicyviolation', event => seen.push(event.effectiveDirective));"
        "const script = document.createElement('script'); script.textContent = 'window.ran = true';"
        "document.body.append(script)"
    )
    eventually(lambda: page.evaluate("seen") == ["script-src-elem"])
    assert page.evaluate("window.ran") is None
    assert len(watched.complaints) == 1
    watched.complaints.clear()


def test_rates_are_rounded_as_the_oracle_rounds_them(shop, visit):
    page = visit(shop).open(WEEK)
    counts = [
        (views, purchases) for views in (*range(0, 400, 7), 20_000, 3_999_999_999) for purchases in range(0, 40, 3)
    ]
    found = page.evaluate(
        "async counts => { const { ctr } = await import('/web/tally.js'); return counts.map(pair => ctr(...pair)); }",
        counts,
    )
    assert found == [share(*pair) for pair in counts]


def test_a_long_answer_is_read_in_pieces_and_can_be_given_up(shop, visit):
    page = visit(shop).open(WEEK)
    path = urlsplit(page.locator("#request").text_content())
    read = """async ([path, most]) => {
        const { readRows } = await import('/web/api.js');
        const rows = [];
        await readRows(path, undefined, (some) => { rows.push(...some); return rows.length < most; });
        return rows;
    }"""
    address = f"{path.path}?{path.query}".replace("1440", "60")
    answer = shop.get(address).json()
    assert len(answer) > 300
    assert page.evaluate(read, [address, 10**9]) == answer
    assert 0 < len(page.evaluate(read, [address, 1])) <= len(answer)


def test_the_page_is_made_of_the_files_that_were_loaded(shop, visit):
    watched = visit(shop)
    watched.open(WEEK)
    loaded = {urlsplit(url).path for url in watched.asked}
    modules = {f"/web/{path.name}" for path in WEB.glob("*.js")}
    assert modules <= loaded
    assert all(path.startswith(("/web/", "/v1/")) or path == "/" for path in loaded)
