"""Files of every layout, most of them damaged, and orders around changes of the clock: what is published equals the oracle."""

from __future__ import annotations

import gzip
import json
import random
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.oracle import Oracle
from tests.path.product import ORDER_ITEMS, ORDERS, Outcome, job, load_csv, published
from tests.rows import NOON, event, message

pytestmark = [pytest.mark.path, pytest.mark.spark, pytest.mark.slow]

FILES = 400
ORDER_COUNT = 300
BIG_ID = 3_000_000_000
DEVICES = (
    "iOS",
    "IPHONE",
    "ipad",
    "Android",
    "ANDROID",
    "MobileWeb",
    "mobile_web",
    "Mobile Web",
    "mobile-web",
    "Desktop",
    "",
)
PLATFORMS = ("Android", "MobileWeb", "iOS")
TIMES: tuple[Any, ...] = (
    NOON,
    str(NOON + 5),
    f"{NOON}.75",
    f" {NOON} ",
    None,
    True,
    "x",
    "",
    [],
    1,
    4_102_444_800_000,
    1e300,
    -5,
    "1e12",
)
PRODUCTS: tuple[Any, ...] = ("a", "b", "20001829_048", "é", 'x"y', "\u2028", None, 5, "", " ", [])
OTHERS: tuple[Any, ...] = (
    None,
    5,
    "x",
    [],
    {},
    {"event_type": "custom_event"},
    {"event_type": "screen_view", "data": event()["data"]},
)

Layout = Callable[[list[Any], bool], str]


def pretty(documents: list[Any], ascii_only: bool) -> str:
    return json.dumps(documents, indent=2, ensure_ascii=ascii_only)


def joined(separator: str, indent: int | None = None) -> Layout:
    def layout(documents: list[Any], ascii_only: bool) -> str:
        return separator.join(json.dumps(each, indent=indent, ensure_ascii=ascii_only) for each in documents)

    return layout


def compact(documents: list[Any], ascii_only: bool) -> str:
    return json.dumps(documents, separators=(",", ":"), ensure_ascii=ascii_only)


def element_a_line(documents: list[Any], ascii_only: bool) -> str:
    return "[\n" + joined(",\n")(documents, ascii_only) + "\n]\n"


LAYOUTS: tuple[Layout, ...] = (
    joined("\n"),
    joined("\r\n"),
    joined(""),
    joined("\n", indent=4),
    pretty,
    compact,
    element_a_line,
)


def random_event(chance: random.Random) -> Any:
    if chance.random() < 0.1:
        return chance.choice(OTHERS)
    sound = chance.random() < 0.7
    time = NOON + chance.random() * 2e8 if sound else chance.choice(TIMES)
    return event(chance.choice(PRODUCTS[:4] if sound else PRODUCTS), time, chance.choice(["product"] * 9 + ["login"]))


def random_message(chance: random.Random) -> dict[str, Any]:
    """Message ids are few, so that messages of several files are copies of each other."""
    made = message(message_id=chance.choice([None, "", 5, 1.5, *(f"m{n}" for n in range(900))]))
    made["events"] = [random_event(chance) for _ in range(chance.randint(0, 3))]
    if chance.random() < 0.05:
        made["events"] = chance.choice([None, 5, {}, "x"])
    if chance.random() < 0.03:
        made["message_id"] = chance.choice([[], {}, True])
    return made


def damaged(content: bytes, chance: random.Random) -> bytes:
    """One fault of any kind at any place; a third stays whole."""
    at = chance.randrange(len(content))
    rest = content[at:]
    noise = bytes([chance.choice(b'{}[]",:\\\n\x00\xffx5')])
    faults = [
        rest,
        rest,
        rest,
        rest[1:],
        noise + rest[1:],
        noise + rest,
        b"",
        chance.choice([b"garbage", b"\n\n", b"null", b"NaN", b"{}"]) + rest,
        rest[chance.randrange(60) :],
    ]
    return content[:at] + chance.choice(faults)


def random_file(chance: random.Random) -> bytes:
    documents = [random_message(chance) for _ in range(chance.randint(1, 8))]
    text = chance.choice(LAYOUTS)(documents, chance.random() < 0.5)
    content = damaged(text.encode(), chance)
    return chance.choice([content, content, gzip.compress(content), b"\xef\xbb\xbf" + content])


def random_orders(chance: random.Random) -> tuple[str, str]:
    """Two CSV texts: orders in the days when the clocks of Sao Paulo change, with all kinds of devices and statuses."""
    orders, items = [ORDERS], [ORDER_ITEMS]
    for number in range(ORDER_COUNT):
        hours = chance.randrange(-30 * 60, 30 * 60) / 60
        local = chance.choice([datetime(2016, 2, 21), datetime(2016, 10, 16)]) + timedelta(hours=hours)
        status, device = chance.choice(["Delivered", "CANCELED", "returned"]), chance.choice(DEVICES)
        orders.append(f"{BIG_ID + number},7,{local:%Y-%m-%d %H:%M:%S},{status},{device}\n")
        for _ in range(chance.randint(0, 3)):
            items.append(f"{len(items)},{BIG_ID + number},s,2,{chance.choice(['a', 'b', 'never seen'])}\n")
    return "".join(orders), "".join(items)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    chance = random.Random(2016)
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        for number in range(FILES):
            name = f"{chance.choice(PLATFORMS)}/{number:03}"
            if number % 5 == 0:
                archive.writestr(name, random_file(chance))
                continue
            (folder / "events" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "events" / name).write_bytes(random_file(chance))
    (folder / "more.zip").rename(folder / "events" / "more.zip")
    (folder / "url").write_text(load_csv(*random_orders(chance), folder))
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Outcome:
    env = {
        "CTR_EVENTS": str(folder / "events"),
        "CTR_LAKE": str(folder / "lake"),
        "CTR_PURCHASES_URL": (folder / "url").read_text(),
        "CTR_ORDERS_TIMEZONE": "America/Sao_Paulo",
        "CTR_EXCLUDED_STATUSES": '["canceled", "Returned"]',
    }
    return job("daily", env=env)


def test_the_run_publishes_and_says_that_the_quality_limit_was_passed(run: Outcome) -> None:
    assert run.code == 3, run.text
    run.check_no_stack_trace()


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Oracle:
    csvs = folder / "orders.csv", folder / "order_items.csv"
    return Oracle.load(folder / "events", *csvs, "America/Sao_Paulo", ["canceled", "returned"])


def test_the_rollup_equals_the_oracle(folder: Path, run: Outcome, oracle: Oracle) -> None:
    assert len(oracle.views) > 500
    wanted = oracle.ctr("2000-01-01", "2100-01-01", 1440, detail=True)
    rows = sorted(published(folder / "lake", "ctr_day"), key=lambda row: (row["date"], row["platform"], row["product"]))
    assert [
        (f"{row['date']} 00:00:00", row["platform"], row["product"], row["views"], row["purchases"]) for row in rows
    ] == [(row["timestamp"], row["platform"], row["product"], row["views"], row["purchases"]) for row in wanted]


def test_every_purchase_has_the_time_that_its_zone_says(folder: Path, run: Outcome, oracle: Oracle) -> None:
    assert len(oracle.purchases) > 100
    rows = published(folder / "lake", "purchases")
    assert sorted((row["time"], row["platform"], row["product"]) for row in rows) == oracle.purchases


def test_every_record_and_every_event_is_in_the_account(folder: Path, run: Outcome) -> None:
    loaded = [file for file in published(folder / "lake", "files") if file["state"] == "loaded"]
    assert len(loaded) == FILES
    for file in loaded:
        assert file["records"] == file["decoded"] + file["quarantined_records"] + file["blank"], file["path"]
        assert file["events"] == file["views"] + file["ignored"] + file["quarantined_events"], file["path"]
    rejects = published(folder / "lake", "quarantine")
    assert len(rejects) == sum(file["quarantined_records"] + file["quarantined_events"] for file in loaded)
    assert len({reject["reason"] for reject in rejects}) >= 8
