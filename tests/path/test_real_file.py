"""The real file, from a folder to the answer of the service: the figures of facts.md."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import REAL_FILE
from tests.oracle import Oracle
from tests.path.product import ORDER_ITEMS, ORDERS, answer, job, load_csv, publications, published, service, stated

TOP = {"20001829_048": 204, "20005748_001": 202, "20001829_002": 164}
SOLD = "20001829_048"

pytestmark = [
    pytest.mark.path,
    pytest.mark.spark,
    pytest.mark.slow,
    pytest.mark.skipif(
        not REAL_FILE.exists(), reason="the real file ../shared/data/productEvent_20160201.json.gz is not here"
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds ``events``, ``lake`` and the CSV files of three purchases, loaded by one nightly run."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "events" / "MobileWeb").mkdir(parents=True)
    shutil.copy(REAL_FILE, folder / "events" / "MobileWeb")
    orders = ORDERS + "1,7,2016-02-01 13:56:00,approved,Mobile Web\n2,7,2016-02-01 13:56:00,approved,Desktop\n"
    items = ORDER_ITEMS + "".join(f"{n},{n // 4 + 1},s,1,{SOLD}\n" for n in range(1, 6))
    env = {
        "CTR_EVENTS": str(folder / "events"),
        "CTR_LAKE": str(folder / "lake"),
        "CTR_PURCHASES_URL": load_csv(orders, items, folder),
    }
    done = job("daily", env=env)
    assert done.code == 0, done.text
    return folder


@pytest.fixture(scope="module")
def lake(folder: Path) -> Path:
    return folder / "lake"


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with service(folder / "lake", folder / "service.log") as client:
        yield client


def ask(client: httpx.Client, start: str, end: str, aggregation: int, **options: Any) -> list[dict[str, Any]]:
    request: dict[str, Any] = {
        "startTimestamp": start,
        "endTimestamp": end,
        "aggregation": aggregation,
        "detail": "true",
    }
    return answer(client.get("/v1/ctr", params=request | options))


def test_every_message_is_one_view_and_none_is_quarantined(lake: Path) -> None:
    assert len(published(lake, "views")) == 47_633
    assert len({view["product"] for view in published(lake, "views")}) == 4_051
    assert published(lake, "quarantine") == []


def test_the_ledger_accounts_for_every_record(lake: Path) -> None:
    file = stated(lake, f"MobileWeb/{REAL_FILE.name}")
    account = {name: file[name] for name in ("records", "decoded", "quarantined_records", "blank", "events", "views")}
    assert account == {
        "records": 47_633,
        "decoded": 47_633,
        "quarantined_records": 0,
        "blank": 0,
        "events": 47_633,
        "views": 47_633,
    }
    assert (file["ignored"], file["quarantined_events"], file["platform"]) == (0, 0, "MobileWeb")


@pytest.mark.parametrize("table", ["ctr_minute", "ctr_hour", "ctr_day"])
def test_every_rollup_counts_every_view(lake: Path, table: str) -> None:
    rows = published(lake, table)
    assert sum(row["views"] for row in rows) == 47_633
    assert len({row["product"] for row in rows}) == 4_051


def test_one_run_makes_one_publication(lake: Path) -> None:
    assert [row["publication"] for row in publications(lake)] == [1]


def test_the_service_answers_the_day(client: httpx.Client) -> None:
    rows = ask(client, "2016-02-01 00:00:00", "2016-02-02 00:00:00", 1440)
    assert len(rows) == 4_051
    assert dict(Counter({row["product"]: row["views"] for row in rows}).most_common(3)) == TOP
    assert next((row["purchases"], row["CTR"]) for row in rows if row["product"] == SOLD) == (3, "0.0147")


@pytest.mark.parametrize(
    ("start", "end", "aggregation"),
    [
        ("2016-02-01 00:00:00", "2016-02-02 00:00:00", 60),
        ("2016-01-31 13:55:00", "2016-02-02 13:55:00", 60),
        ("2016-01-31 00:00:30", "2016-02-02 00:00:30", 7),
    ],
)
def test_other_anchorings_give_the_same_sums(client: httpx.Client, start: str, end: str, aggregation: int) -> None:
    rows = ask(client, start, end, aggregation)
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row["product"]] += row["views"]
    assert sums.total() == 47_633
    assert dict(sums.most_common(3)) == TOP


@pytest.mark.parametrize(("start", "aggregation"), [("2016-02-01 13:55:00", 60), ("2016-02-01 00:00:30", 7)])
def test_a_range_that_cuts_the_day_equals_the_oracle(
    folder: Path, client: httpx.Client, start: str, aggregation: int
) -> None:
    oracle = Oracle.load(folder / "events", folder / "orders.csv", folder / "order_items.csv")
    request = start, "2016-02-01 22:22:22", aggregation
    expected = oracle.ctr(*request, detail=True)
    rows = ask(client, *request)
    assert expected
    assert [{name: value for name, value in row.items() if name != "status"} for row in rows] == expected
