"""jobs/sample: the files as a user finds them, against a plain recount that shares no code with the generator."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import math
import re
import statistics
from bisect import bisect_left
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from jobs import sample

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
PLATFORMS = {"ios": "iOS", "iphone": "iOS", "android": "Android", "mobileweb": "MobileWeb", "mobile_web": "MobileWeb"}
BROKEN_RECORDS = {"cut", "not_json", "not_an_object", "bad_utf8", "events_not_a_list"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default sample."""
    out = tmp_path_factory.mktemp("default") / "sample"
    assert sample.main(["--out", str(out)]) == 0
    return out


def truth(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "truth.json").read_text(encoding="utf-8"))


def event_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "events").rglob("*") if path.is_file())


def content(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if path.suffix == ".gz" else raw


def records(path: Path) -> list[bytes | dict[str, Any]]:
    """Records of a file; one that is no message stays as it is."""
    raw = content(path)
    if raw.startswith(b"["):
        found = json.loads(raw)
    else:
        found = []
        for line in raw.removesuffix(b"\n").split(b"\n"):
            try:
                found.append(json.loads(line.decode("utf-8")))
            except ValueError:
                found.append(line)
    return [one if is_message(one) else one if isinstance(one, bytes) else json.dumps(one).encode() for one in found]


def is_message(record: Any) -> bool:
    return isinstance(record, dict) and isinstance(record.get("events"), list)


def messages(path: Path) -> list[dict[str, Any]]:
    return [record for record in records(path) if isinstance(record, dict)]


def product_events(message: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    return [
        (position, event["data"])
        for position, event in enumerate(message["events"])
        if event["event_type"] == "custom_event" and event["data"].get("event_name") == "product"
    ]


def view(data: dict[str, Any]) -> tuple[int, str] | None:
    """Time and product of a product event that can be used."""
    try:
        time = math.floor(float(data["timestamp_unixtime_ms"]))
        product = data["custom_attributes"]["codeColor"]
    except (KeyError, TypeError, ValueError):
        return None
    return (time, product) if time > 10**12 and isinstance(product, str) and product else None


def day(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, timezone.utc).date().isoformat()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def purchases(folder: Path) -> list[tuple[str, str, datetime]]:
    """Platform, product and time of each order item from a platform."""
    orders = {row["id"]: row for row in rows(folder / "orders.csv")}
    found = []
    for item in rows(folder / "order_items.csv"):
        order = orders[item["order_id"]]
        platform = PLATFORMS.get((order.get("device") or order["device_type"]).lower())
        if platform:
            found.append((platform, item["code_color"], datetime.fromisoformat(order["order_date"])))
    return found


def all_views(folder: Path) -> list[tuple[str, int, str, tuple[str, str, int] | None]]:
    """Platform, time, product and identity of each copy of each view; a copied file counts once."""
    found, seen = [], set()
    for path in event_files(folder):
        platform = path.relative_to(folder / "events").parts[0]
        digest = platform, hashlib.sha256(path.read_bytes()).digest()
        if digest in seen:
            continue
        seen.add(digest)
        for message in messages(path):
            for position, data in product_events(message):
                one = view(data)
                if one:
                    known = "message_id" in message
                    found.append((platform, *one, (platform, message["message_id"], position) if known else None))
    return found


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_the_same_parameters_give_the_same_bytes_whatever_the_number_of_workers(made: Path, tmp_path: Path) -> None:
    assert sample.main(["--out", str(tmp_path / "two"), "--workers", "2"]) == 0
    assert digests(tmp_path / "two") == digests(made)


def test_another_seed_gives_another_sample(made: Path, tmp_path: Path) -> None:
    assert sample.main(["--out", str(tmp_path / "other"), "--seed", "2"]) == 0
    other, mine = digests(tmp_path / "other"), digests(made)
    assert other.keys() == mine.keys()
    assert not set(other.values()) & set(mine.values())


@pytest.mark.parametrize("options", ["", "--layout array --gzip --days 2 --seed 3", "--clean --layout lines --days 1"])
def test_truth_equals_a_recount_of_the_files(tmp_path: Path, options: str) -> None:
    folder = tmp_path / "sample"
    assert sample.main(["--out", str(folder), *options.split()]) == 0
    told = truth(folder)
    views = all_views(folder)
    once = {identity: (platform, time, product) for platform, time, product, identity in views if identity}
    counted = [*once.values(), *(one[:3] for one in views if one[3] is None)]
    cells: dict[tuple[str, str, str], list[int]] = {}
    for platform, time, product in counted:
        cells.setdefault((day(time), platform, product), [0, 0])[0] += 1
    bought = purchases(folder)
    for platform, product, when in bought:
        cells.setdefault((when.date().isoformat(), platform, product), [0, 0])[1] += 1
    assert cells == {
        (date, platform, product): pair
        for date, platforms in told["cells"].items()
        for platform, products in platforms.items()
        for product, pair in products.items()
    }
    assert told["views_once"] == len(counted)
    assert told["duplicate_views"] == len(views) - len(counted)
    assert told["views"] == len(views)
    assert told["purchases"] == len(bought)
    assert told["ctr"] == round(len(bought) / len(counted), 4)


def test_truth_accounts_for_every_file_record_and_event(made: Path) -> None:
    told = truth(made)
    unique = {path.read_bytes(): path for path in event_files(made)}
    found = [record for path in unique.values() for record in records(path)]
    decoded = [record for record in found if isinstance(record, dict)]
    events = [event for message in decoded for event in message["events"]]
    products = [data for message in decoded for _, data in product_events(message)]
    assert told["files"] == len(event_files(made))
    assert told["copied_files"] == len(event_files(made)) - len(unique) > 0
    assert told["bytes"] == sum(path.stat().st_size for path in event_files(made))
    assert told["unpacked_bytes"] == sum(len(content(path)) for path in unique.values())
    assert told["records"] == len(found)
    assert told["messages"] == len(decoded)
    assert told["blank_lines"] == found.count(b"") > 0
    assert sum(told["broken_records"].values()) == sum(isinstance(one, bytes) and one != b"" for one in found)
    assert told["events"] == len(events)
    assert told["ignored_events"] == len(events) - len(products)
    assert sum(told["broken_events"].values()) == sum(view(data) is None for data in products)
    assert told["late_messages"] == sum(len(messages(path)) for path in unique.values() if "late" in path.name)
    ids = [message["message_id"] for message in decoded if "message_id" in message]
    assert told["duplicate_messages"] == len(ids) - len(set(ids)) > 0
    orders, items = rows(made / "orders.csv"), rows(made / "order_items.csv")
    assert (told["orders"], told["order_items"]) == (len(orders), len(items))
    assert told["order_statuses"] == Counter(row["status"] for row in orders)
    assert told["other_devices"] == {"Desktop": len(items) - len(purchases(made))}


@pytest.mark.parametrize("seed", range(5))
def test_ctr_is_plausible(tmp_path: Path, seed: int) -> None:
    assert sample.main(["--out", str(tmp_path / "sample"), "--seed", str(seed)]) == 0
    assert 0.01 <= truth(tmp_path / "sample")["ctr"] <= 0.05


def test_every_kind_of_broken_record_and_event_is_there(made: Path) -> None:
    told = truth(made)
    assert told["broken_records"].keys() == BROKEN_RECORDS
    assert all(told["broken_records"].values())
    assert len(told["broken_events"]) == 7
    assert all(told["broken_events"].values())
    found = [one for path in event_files(made) for one in records(path) if isinstance(one, bytes)]
    assert any(one.startswith(b'{"events":[') and one.count(b"product") for one in found)
    assert any(one.startswith(b"<html>") for one in found)
    assert any(b"\xff" in one for one in found)
    assert b"42" in found


def test_a_clean_sample_has_nothing_broken_repeated_late_or_copied(tmp_path: Path) -> None:
    assert sample.main(["--out", str(tmp_path / "sample"), "--clean"]) == 0
    told = truth(tmp_path / "sample")
    assert not sum(told["broken_records"].values()) + sum(told["broken_events"].values())
    assert not told["duplicate_messages"] + told["late_messages"] + told["copied_files"] + told["blank_lines"]
    assert all(isinstance(one, dict) for path in event_files(tmp_path / "sample") for one in records(path))


def test_messages_have_the_structure_of_the_case(made: Path) -> None:
    keys = {"events", "mpid", "timestamp_unixtime_ms", "batch_id", "message_type", "schema_version"}
    event_keys = {"custom_event_type", "event_name", "timestamp_unixtime_ms", "event_id", "session_id"}
    for path in event_files(made):
        for message in messages(path):
            assert message.keys() - {"message_id"} == keys
            assert all(event.keys() == {"data", "event_type"} for event in message["events"])
            for _, data in product_events(message):
                if view(data):
                    assert data.keys() == event_keys | {"custom_attributes"}
                    assert data["custom_attributes"].keys() == {"actualPrice", "base", "codeColor"}
                    assert re.fullmatch(r"\d{8}_\d{3}", data["custom_attributes"]["codeColor"])
                    assert isinstance(data["event_id"], int)


def test_other_events_stand_among_the_views(made: Path) -> None:
    found = [message for path in event_files(made) for message in messages(path)]
    assert Counter(len(message["events"]) for message in found).keys() == {1, 2, 3, 4, 5, 6}
    kinds = {(event["event_type"], event["data"].get("event_name")) for one in found for event in one["events"]}
    assert kinds >= {
        ("session_start", None),
        ("screen_view", None),
        ("screen_view", "product"),
        ("custom_event", "addToCart"),
        ("custom_event", "product"),
    }


def test_times_are_whole_fractional_or_text(made: Path) -> None:
    forms = Counter(
        type(data["timestamp_unixtime_ms"])
        for path in event_files(made)
        for message in messages(path)
        for _, data in product_events(message)
        if view(data)
    )
    assert forms[int] > forms[float] > forms[str] > 100


def test_message_ids_are_missing_on_a_few_and_other_ids_repeat(made: Path) -> None:
    found = [message for path in event_files(made) for message in messages(path)]
    ids = [message["message_id"] for message in found if "message_id" in message]
    assert all(UUID.fullmatch(one) for one in ids)
    assert 0.001 < 1 - len(ids) / len(found) < 0.03
    assert len({event["data"]["event_id"] for message in found for event in message["events"]}) < 1000


def test_the_default_sample_shows_every_layout_in_folders_of_platform_and_day(made: Path) -> None:
    layouts = {(path.suffix == ".gz", content(path).startswith(b"[\n  {\n")) for path in event_files(made)}
    assert layouts == {(False, False), (True, False), (False, True)}
    folders = {path.parent.relative_to(made / "events").as_posix() for path in event_files(made)}
    days = ("2016-02-01", "2016-02-02", "2016-02-03")
    assert folders == {f"{platform}/{date}" for platform in ("iOS", "Android", "MobileWeb") for date in days}
    assert sum(path.stat().st_size for path in event_files(made)) < 12e6


def test_late_files_hold_an_earlier_day_and_messages_come_again_in_another_file(made: Path) -> None:
    late = [path for path in event_files(made) if "late" in path.name]
    assert len(late) == 6
    for path in late:
        times = [view(data) for message in messages(path) for _, data in product_events(message)]
        assert all(day(one[0]) < path.parent.name for one in times if one)
    homes: dict[str, set[Path]] = {}
    for path in event_files(made):
        for message in messages(path):
            homes.setdefault(message.get("message_id", ""), set()).add(path.parent / path.name.replace(" (1)", ""))
    repeated = [paths for identity, paths in homes.items() if identity and len(paths) > 1]
    assert len(repeated) > 50
    assert any(len({path.parent for path in paths}) > 1 for paths in repeated)


def test_views_have_a_day_and_a_night_and_a_long_tail(made: Path) -> None:
    views = all_views(made)
    hours = Counter(time // 3_600_000 % 24 for _, time, _, _ in views)
    assert hours[20] + hours[21] > 5 * (hours[3] + hours[4])
    popularity = sorted(Counter(product for _, _, product, _ in views).values(), reverse=True)
    assert popularity[0] > 10 * statistics.median(popularity)
    assert len(popularity) > 250


def test_purchases_follow_a_view_of_the_product_on_the_platform_by_minutes(made: Path) -> None:
    times: dict[tuple[str, str], list[float]] = {}
    for platform, time, product, _ in sorted(all_views(made), key=lambda one: one[1]):
        times.setdefault((platform, product), []).append(time / 1000)
    for platform, product, when in purchases(made):
        moment = when.replace(tzinfo=timezone.utc).timestamp()
        viewed = times[platform, product]
        before = bisect_left(viewed, moment)
        assert before > 0
        assert moment - viewed[before - 1] <= 1800


@pytest.mark.parametrize(
    ("spelling", "names"), [("status", ("status", "device")), ("order_status", ("order_status", "device_type"))]
)
def test_the_csv_files_have_the_columns_of_the_real_tables(
    tmp_path: Path, spelling: str, names: tuple[str, str]
) -> None:
    assert sample.main(["--out", str(tmp_path / "sample"), "--columns", spelling, "--days", "1"]) == 0
    orders, items = rows(tmp_path / "sample" / "orders.csv"), rows(tmp_path / "sample" / "order_items.csv")
    assert list(orders[0]) == [
        *("id", "user_id", "order_date", "order_subtotal", "order_discount", "order_total", names[0], "payment_type"),
        *("shipping_cost", "shipping_service", "address_city", "address_state", "utm_source_medium", names[1]),
    ]
    assert list(items[0]) == ["id", "order_id", "sku", "quantity", "code_color"]


def test_orders_vary_as_real_ones_do(made: Path) -> None:
    orders, items = rows(made / "orders.csv"), rows(made / "order_items.csv")
    assert len({row["status"] for row in orders}) >= 4
    assert 0.1 < sum(row["device"] == "Desktop" for row in orders) / len(orders) < 0.4
    assert {"iOS", "Android", "MobileWeb"} < {row["device"] for row in orders}
    assert {row["quantity"] for row in items} == {"1", "2"}
    assert Counter(Counter(row["order_id"] for row in items).values()).keys() >= {1, 2, 3}
    for table in (orders, items):
        ids = [int(row["id"]) for row in table]
        assert len(ids) == len(set(ids))
        assert 0 < sum(one > 2**32 for one in ids) < len(ids) / 20


def test_bytes_and_file_bytes_set_the_size_of_a_day_and_of_a_file(tmp_path: Path) -> None:
    out = tmp_path / "sample"
    assert sample.main(["--out", str(out), "--days", "2", "--bytes", "6m", "--file-bytes", "300k"]) == 0
    assert truth(out)["unpacked_bytes"] == pytest.approx(2 * 6 * 2**20, rel=0.05)
    whole = [path for path in event_files(out) if "late" not in path.name]
    assert statistics.mean(path.stat().st_size for path in whole) == pytest.approx(300 * 2**10, rel=0.15)
    assert all(path.suffix == ".json" and not path.read_bytes().startswith(b"[") for path in whole)


def test_a_sample_that_is_there_is_kept_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sample"
    assert sample.main(["--out", str(out), "--days", "1"]) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    capsys.readouterr()
    assert sample.main(["--out", str(out), "--days", "1", "--workers", "3"]) == 0
    assert "is there already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_another_sample_is_replaced_only_by_force_and_foreign_files_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sample"
    assert sample.main(["--out", str(out), "--days", "2"]) == 0
    (out / "purchases.db").write_text("mine")
    before = digests(out)
    assert sample.main(["--out", str(out), "--days", "1"]) == 2
    assert "sample of other parameters" in capsys.readouterr().err
    assert digests(out) == before
    assert sample.main(["--out", str(out), "--days", "1", "--force"]) == 0
    assert len({path.parent.name for path in event_files(out)}) == 1
    assert (out / "purchases.db").read_text() == "mine"


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_files_that_are_no_sample_are_never_replaced(
    tmp_path: Path, force: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "orders.csv").write_text("mine")
    assert sample.main(["--out", str(tmp_path), *force]) == 2
    assert "no finished sample" in capsys.readouterr().err
    assert digests(tmp_path).keys() == {"orders.csv"}


def test_a_failed_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample, "write_file", full)
    assert sample.main(["--out", str(tmp_path / "sample")]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".sample.partial-4194999" / "events").mkdir(parents=True)
    assert sample.main(["--out", str(tmp_path / "sample"), "--days", "1", "--messages", "100"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--days", "0"], "wanted a whole number above 0"),
        (["--seed", "-1"], "wanted a whole number, 0 or above"),
        (["--start", "yesterday"], "wanted a day such as 2016-02-01"),
        (["--start", "1999-12-31"], "wanted days in 2002-01-01..2099-12-30"),
        (["--start", "2099-12-30", "--days", "2"], "wanted days in"),
        (["--bytes", "much"], "wanted a size above 0"),
        (["--bytes", "1m", "--messages", "5"], "give one of them"),
    ],
)
def test_wrong_usage_is_one_clear_line_and_exit_code_2(
    tmp_path: Path, options: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = sample.main(["--out", str(tmp_path / "sample"), *options])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "sample").exists()
