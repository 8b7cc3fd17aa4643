"""Small literal cases that pin the contract of design.md, section 1, on the oracle itself."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import rows
from tests.oracle import Oracle, ratio

DAY_MS = 1_451_779_200_000
"""2016-01-03 00:00:00 UTC."""
HOUR_MS = 3_600_000
NOON = DAY_MS + 12 * HOUR_MS
DAY = ("2016-01-03 00:00:00", "2016-01-04 00:00:00")

Load = Callable[..., Oracle]
BIG_ID = 3_000_000_000


def event(time: Any = NOON, product: Any = "p_1", **data: Any) -> dict[str, Any]:
    return rows.event(product, time, **data)


def message(*events: Any, message_id: Any = None) -> dict[str, Any]:
    return rows.message(*events, message_id=message_id)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Writes files below an events root, and orders with their items, and loads an oracle of them."""

    def build(
        files: dict[str, bytes] | None = None,
        orders: str = "id,order_date,status,device\n",
        items: str = "id,order_id,code_color\n",
        **options: Any,
    ) -> Oracle:
        root = tmp_path / "events"
        root.mkdir()
        for name, content in (files or {}).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        (tmp_path / "orders.csv").write_text(orders, encoding="utf-8")
        (tmp_path / "order_items.csv").write_text(items, encoding="utf-8")
        return Oracle.load(root, tmp_path / "orders.csv", tmp_path / "order_items.csv", **options)

    return build


def counted(oracle: Oracle) -> list[tuple[str, str]]:
    return [(view.platform, view.product) for view in oracle.views]


# Buckets


def test_buckets_are_anchored_at_the_start(load: Load) -> None:
    times = [NOON - 1, NOON + 115 * 60_000 - 1, NOON + 115 * 60_000, NOON + 175 * 60_000 - 1, NOON + 175 * 60_000]
    oracle = load({"iOS/a.json": rows.lines(*(message(event(time)) for time in times))})
    answer = oracle.ctr("2016-01-03 13:55:00", "2016-01-04 13:55:00", 60, detail=True)
    assert [(row["timestamp"], row["views"]) for row in answer] == [
        ("2016-01-03 13:55:00", 2),
        ("2016-01-03 14:55:00", 1),
    ]


def test_the_last_bucket_is_cut_at_the_end_and_the_end_is_not_in_it(load: Load) -> None:
    oracle = load({"iOS/a.json": rows.lines(message(event(NOON + 29_999)), message(event(NOON + 30_000)))})
    answer = oracle.ctr("2016-01-03 11:00:00", "2016-01-03 12:00:30", 45, detail=True)
    assert answer == [
        {
            "timestamp": "2016-01-03 11:45:00",
            "platform": "iOS",
            "product": "p_1",
            "CTR": "0.0000",
            "views": 1,
            "purchases": 0,
            "bucketEnd": "2016-01-03 12:00:30",
        }
    ]


def test_the_start_is_in_the_range_to_the_second(load: Load) -> None:
    oracle = load({"iOS/a.json": rows.lines(message(event(NOON + 6_999)), message(event(NOON + 7_000)))})
    assert [row["timestamp"] for row in oracle.ctr("2016-01-03 12:00:07", DAY[1], 7)] == ["2016-01-03 12:00:07"]
    assert oracle.ctr("2016-01-03 12:00:08", DAY[1], 7) == []


def test_rows_are_ordered_by_timestamp_platform_product_and_empty_ones_do_not_exist(load: Load) -> None:
    oracle = load(
        {
            "ios/a.json": rows.lines(message(event(NOON, "b"), event(NOON, "a"), event(NOON - HOUR_MS, "z"))),
            "ANDROID/a.json": rows.lines(message(event(NOON, "c"))),
            "MobileWeb/a.json": rows.lines(message(event(NOON, "B"))),
        }
    )
    answer = oracle.ctr(*DAY, 60)
    assert [(row["timestamp"][11:13], row["platform"], row["product"]) for row in answer] == [
        ("11", "iOS", "z"),
        ("12", "Android", "c"),
        ("12", "MobileWeb", "B"),
        ("12", "iOS", "a"),
        ("12", "iOS", "b"),
    ]


def test_filters_take_the_named_products_and_platforms_only(load: Load) -> None:
    oracle = load(
        {
            "iOS/a.json": rows.lines(message(event(product="a"), event(product="b"))),
            "Android/a.json": rows.lines(message(event(product="a"))),
        }
    )
    assert len(oracle.ctr(*DAY, 60)) == 3
    assert [row["platform"] for row in oracle.ctr(*DAY, 60, products=["a"])] == ["Android", "iOS"]
    assert [row["product"] for row in oracle.ctr(*DAY, 60, platforms=["iOS"])] == ["a", "b"]
    assert oracle.ctr(*DAY, 60, products=["unknown"]) == []


def test_times_are_read_and_written_in_the_zone_of_the_request(load: Load) -> None:
    oracle = load({"iOS/a.json": rows.lines(message(event(NOON)))})
    answer = oracle.ctr("2016-01-03 09:55:00", "2016-01-03 11:00:00", 10, timezone="America/Sao_Paulo", detail=True)
    assert [(row["timestamp"], row["bucketEnd"]) for row in answer] == [("2016-01-03 09:55:00", "2016-01-03 10:05:00")]
    offset = oracle.ctr("2016-01-03T14:55:00+03:00", "2016-01-03T13:00:00+00:00", 10)
    assert [row["timestamp"] for row in offset] == ["2016-01-03 11:55:00"]


def test_whole_days_are_calendar_days_of_the_zone_and_shorter_steps_elapsed_minutes(load: Load) -> None:
    # Clocks in Berlin went forward on 2016-03-27: that day has 23 hours.
    oracle = load({"iOS/a.json": rows.lines(message(event(1_459_029_600_000)))})  # 2016-03-26 22:00 UTC = 23:00 local
    oracle.views.extend(
        fact._replace(time=fact.time.replace(day=27)) for fact in list(oracle.views)
    )  # 28th, 00:00 local
    march = ("2016-03-26 00:00:00", "2016-03-29 00:00:00")
    days = oracle.ctr(*march, 1440, timezone="Europe/Berlin")
    assert [row["timestamp"] for row in days] == ["2016-03-26 00:00:00", "2016-03-28 00:00:00"]
    halves = oracle.ctr(*march, 720, timezone="Europe/Berlin")
    assert [row["timestamp"] for row in halves] == ["2016-03-26 12:00:00", "2016-03-27 13:00:00"]


# CTR


@pytest.mark.parametrize(
    ("purchases", "views", "text"),
    [
        (1, 20_000, "0.0001"),
        (1, 20_001, "0.0000"),
        (3, 20_000, "0.0002"),
        (3, 200, "0.0150"),
        (1, 3, "0.3333"),
        (2, 3, "0.6667"),
        (1, 32, "0.0313"),
        (7, 2, "3.5000"),
        (12, 1, "12.0000"),
        (19_999, 20_000, "1.0000"),
        (0, 5, "0.0000"),
        (5, 0, None),
    ],
)
def test_a_ratio_is_rounded_half_up_to_exactly_four_digits(purchases: int, views: int, text: str | None) -> None:
    assert ratio(purchases, views) == text


@given(purchases=st.integers(0, 10**15), views=st.integers(1, 10**15))
def test_a_ratio_is_the_upper_of_the_nearest_four_digit_numbers(purchases: int, views: int) -> None:
    text = ratio(purchases, views)
    assert text is not None
    assert len(text.split(".")[1]) == 4
    below = Fraction(purchases, views) - Fraction(text)
    assert -Fraction(1, 20_000) <= below < Fraction(1, 20_000)


def test_purchases_without_views_have_no_ratio_and_more_purchases_than_views_one_above_1(load: Load) -> None:
    orders = "id,order_date,status,device\n1,2016-01-03 12:00:00,x,iPhone\n"
    items = "id,order_id,code_color\n1,1,seen\n2,1,seen\n3,1,seen\n4,1,unseen\n"
    oracle = load({"iOS/a.json": rows.lines(message(event(product="seen"), event(product="seen")))}, orders, items)
    assert [(row["product"], row["CTR"]) for row in oracle.ctr(*DAY, 60)] == [("seen", "1.5000"), ("unseen", None)]


# Views


@pytest.mark.parametrize(
    ("time", "ms"),
    [
        (NOON, 0),
        (NOON + 0.9556, 0),
        (NOON + 7.0, 7),
        (str(NOON + 5), 5),
        (f"{NOON + 5}.99", 5),
        (f" {NOON} ", 0),
    ],
)
def test_a_time_may_be_fractional_or_a_numeric_text_and_is_floored(load: Load, time: Any, ms: int) -> None:
    (view,) = load({"iOS/a.json": rows.lines(message(event(time)))}).views
    assert round(view.time.timestamp() * 1000) == NOON + ms


@pytest.mark.parametrize(
    "time", [None, True, [], {}, "", "x", "1e12", "0x10", "NaN", 946_684_799_999, 4_102_444_800_000]
)
def test_an_event_without_a_usable_time_costs_itself_alone(load: Load, time: Any) -> None:
    oracle = load({"iOS/a.json": rows.lines(message(event(product="a"), event(time, "bad"), event(product="b")))})
    assert counted(oracle) == [("iOS", "a"), ("iOS", "b")]


@pytest.mark.parametrize("time", [946_684_800_000, 4_102_444_799_999])
def test_the_first_and_the_last_usable_time_count(load: Load, time: int) -> None:
    assert len(load({"iOS/a.json": rows.lines(message(event(time)))}).views) == 1


@pytest.mark.parametrize("product", [None, 5, True, [], {}, "", "  "])
def test_an_event_without_a_usable_product_costs_itself_alone(load: Load, product: Any) -> None:
    oracle = load({"iOS/a.json": rows.lines(message(event(product=product), event(product="b")))})
    assert counted(oracle) == [("iOS", "b")]


@pytest.mark.parametrize(
    "other",
    [
        {"event_type": "screen_view", "data": {"event_name": "product", "timestamp_unixtime_ms": NOON}},
        event(event_name="login"),
        {"data": event()["data"]},
        {"event_type": "custom_event", "data": None},
        None,
        5,
        [],
    ],
)
def test_other_events_are_no_views(load: Load, other: Any) -> None:
    assert counted(load({"iOS/a.json": rows.lines(message(other, event(product="b")))})) == [("iOS", "b")]


def test_a_message_delivered_twice_counts_once_and_the_smallest_copy_counts(load: Load) -> None:
    late, early = (message(event(time, f"p_{time}"), message_id="m") for time in (NOON + 1, NOON))
    oracle = load(
        {"iOS/a.json": rows.lines(late), "iOS/b.json": rows.lines(early), "iOS/c.json": rows.lines(late, late)}
    )
    assert counted(oracle) == [("iOS", f"p_{NOON}")]


def test_other_positions_platforms_days_and_message_ids_are_other_views(load: Load) -> None:
    oracle = load(
        {
            "iOS/a.json": rows.lines(message(event(), event(), message_id="m"), message(event(), message_id="n")),
            "iOS/b.json": rows.lines(message(event(NOON + 24 * HOUR_MS), message_id="m")),
            "Android/a.json": rows.lines(message(event(), message_id="m")),
        }
    )
    assert len(oracle.views) == 5


@pytest.mark.parametrize("message_id", [None, ""])
def test_messages_without_an_id_all_count(load: Load, message_id: str | None) -> None:
    same = message(event(), message_id=message_id)
    assert len(load({"iOS/a.json": rows.lines(same, same), "iOS/b.json": rows.lines(same)}).views) == 3


def test_a_copy_of_a_file_under_another_name_adds_nothing_on_the_same_platform(load: Load) -> None:
    content = rows.lines(message(event()), message(event()))
    oracle = load({"iOS/x.json": content, "iOS/old/x (1).json": content, "MobileWeb/x.json": content})
    assert counted(oracle) == [("MobileWeb", "p_1")] * 2 + [("iOS", "p_1")] * 2


def test_folders_that_are_no_platform_and_files_outside_folders_are_passed_over(load: Load) -> None:
    content = rows.lines(message(event()))
    assert counted(load({"Windows/a.json": content, "a.json": content, "mobileWEB/x/y/a": content})) == [
        ("MobileWeb", "p_1")
    ]


# Layouts

THREE = [message(event(product=product), message_id=product) for product in "abc"]


def _pretty(indent: int | None) -> list[str]:
    return [json.dumps(each, indent=indent) for each in THREE]


LAYOUTS = {
    "lines": "\n".join(_pretty(None)),
    "lines with CRLF and blank ones": "\r\n\r\n".join(_pretty(None)) + "\r\n",
    "compact array": json.dumps(THREE, separators=(",", ":")),
    "array with an element a line": "[\n" + ",\n".join(_pretty(None)) + "\n]\n",
    "pretty array": json.dumps(THREE, indent=2),
    "pretty array with tabs": json.dumps(THREE, indent="\t"),
    "pretty objects": "\n".join(_pretty(4)),
    "objects on one line": "".join(_pretty(None)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("wrap", [bytes, gzip.compress, b"\xef\xbb\xbf".__add__])
def test_every_layout_gives_the_same_views(load: Load, layout: str, wrap: Callable[[bytes], bytes]) -> None:
    assert counted(load({"iOS/a.json": wrap(LAYOUTS[layout].encode())})) == [("iOS", p) for p in "abc"]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_single_object_is_one_message(load: Load, indent: int | None) -> None:
    assert len(load({"iOS/a.json": json.dumps(THREE[0], indent=indent).encode()}).views) == 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("broken", ['"b', "NaN", "", '"\x01"', '"b"}', '"b" "c"', "{"])
def test_a_broken_element_costs_that_element(load: Load, layout: str, broken: str) -> None:
    text = LAYOUTS[layout].replace('"b"', broken, 1)
    assert counted(load({"iOS/a.json": text.encode()})) == [("iOS", "a"), ("iOS", "c")]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bytes_that_are_no_utf8_cost_their_element(load: Load, layout: str) -> None:
    content = LAYOUTS[layout].encode().replace(b'"b"', b'"b\xff"')
    assert counted(load({"iOS/a.json": content})) == [("iOS", "a"), ("iOS", "c")]


@pytest.mark.parametrize("other", ["null", "5", '"x"', "[]", "garbage", "{}", '{"events": 5}', '{"events": null}'])
def test_records_that_are_no_messages_cost_themselves(load: Load, other: str) -> None:
    first, *rest = _pretty(None)
    oracle = load(
        {
            "iOS/a.json": "\n".join([first, other, *rest]).encode(),
            "Android/a.json": ("[" + ",\n".join([first, other, *rest]) + "]").encode(),
        }
    )
    assert counted(oracle) == [(platform, product) for platform in ("Android", "iOS") for product in "abc"]


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"no json at all", b"[", b"[]", gzip.compress(b"{}" * 99, mtime=0)[:-9]]
)
def test_files_without_messages_and_cut_gzip_add_nothing(load: Load, content: bytes) -> None:
    assert counted(load({"iOS/a.json": content, "iOS/b.json": rows.lines(THREE[0])})) == [("iOS", "a")]


def test_a_zip_stands_for_the_folders_in_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "events.zip", "w") as archive:
        archive.writestr("Android/2016/a.json.gz", gzip.compress(rows.lines(THREE[0])))
        archive.writestr("iOS/b.json", json.dumps(THREE, indent=1))
    assert counted(Oracle.load(tmp_path / "events.zip", None, None)) == [
        ("Android", "a"),
        *(("iOS", product) for product in "abc"),
    ]


# Purchases


def test_one_item_is_one_purchase_whatever_its_quantity_and_both_spellings_are_read(load: Load) -> None:
    orders = f"id,order_date,order_status,device_type,x\n{BIG_ID},2016-01-03 12:34:56,approved,iPad,1\n"
    items = f"id,order_id,sku,quantity,code_color\n1,{BIG_ID},s,2,a\n2,{BIG_ID},s,1,b\n3,99,s,1,c\n4,{BIG_ID},s,1,\n"
    purchases = load(orders=orders, items=items).purchases
    assert [(fact.platform, fact.product, f"{fact.time:%FT%T%z}") for fact in purchases] == [
        ("iOS", "a", "2016-01-03T12:34:56+0000"),
        ("iOS", "b", "2016-01-03T12:34:56+0000"),
    ]


@pytest.mark.parametrize(
    ("device", "platform"),
    [
        ("iOS", "iOS"),
        ("IPHONE", "iOS"),
        ("iPad", "iOS"),
        ("android", "Android"),
        ("Mobile Web", "MobileWeb"),
        ("MOBILE_WEB", "MobileWeb"),
        ("mobile-web", "MobileWeb"),
        ("MobileWeb", "MobileWeb"),
        ("Desktop", None),
        ("", None),
    ],
)
def test_a_device_is_a_platform_by_its_aliases(load: Load, device: str, platform: str | None) -> None:
    orders = f"id,order_date,status,device\n1,2016-01-03 12:00:00,x,{device}\n"
    oracle = load(orders=orders, items="id,order_id,code_color\n1,1,a\n")
    assert [fact.platform for fact in oracle.purchases] == ([platform] if platform else [])


def test_all_statuses_count_but_the_excluded_ones(load: Load) -> None:
    orders = "id,order_date,status,device\n" + "".join(
        f"{n},2016-01-03 12:00:00,{status},ios\n" for n, status in enumerate(["approved", "Canceled", "new"])
    )
    items = "id,order_id,code_color\n" + "".join(f"{n},{n},p_{n}\n" for n in range(3))
    assert [fact.product for fact in load(orders=orders, items=items, excluded_statuses=["canceled"]).purchases] == [
        "p_0",
        "p_2",
    ]


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2016-01-03 12:00:00", "2016-01-03 14:00:00"),  # summer time, UTC-2
        ("2016-07-03 12:00:00", "2016-07-03 15:00:00"),  # UTC-3
        ("2016-02-20 23:30:00", "2016-02-21 01:30:00"),  # exists twice: the first
        ("2016-10-16 00:30:00", "2016-10-16 03:30:00"),  # does not exist: as if the clock had not changed
    ],
)
def test_an_order_date_is_read_in_the_zone_of_the_orders(load: Load, local: str, utc: str) -> None:
    orders = f"id,order_date,status,device\n1,{local},x,ios\n"
    items = "id,order_id,code_color\n1,1,a\n"
    (purchase,) = load(orders=orders, items=items, orders_timezone="America/Sao_Paulo").purchases
    assert f"{purchase.time:%F %T}" == utc
