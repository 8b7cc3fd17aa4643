"""Bad input from outside: one clear line that says what to do, the right exit code, nothing half-published."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.path.product import (
    ORDER_ITEMS,
    ORDERS,
    Outcome,
    answer,
    job,
    load_csv,
    publications,
    published,
    python,
    service,
    stated,
    versions,
)
from tests.rows import event, lines, message

pytestmark = [pytest.mark.path, pytest.mark.slow]
spark = pytest.mark.spark

DAY = {"startTimestamp": "2016-02-01 00:00:00", "endTimestamp": "2016-02-02 00:00:00", "aggregation": "1440"}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of a small place: one good file, an empty one, a folder that is no platform, two purchases."""
    folder = tmp_path_factory.mktemp("small")
    for name, content in {
        "iOS/good.json": lines(message(event("p_1"), event("p_2"))),
        "iOS/empty.json": b"",
        "Windows Phone/other.json": lines(message(event("p_3"))),
    }.items():
        (folder / "events" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "events" / name).write_bytes(content)
    orders = ORDERS + "1,7,2016-02-01 12:30:00,approved,iPhone\n"
    items = ORDER_ITEMS + "1,1,s,1,p_1\n2,1,s,1,p_4\n"
    return {
        "CTR_EVENTS": str(folder / "events"),
        "CTR_LAKE": str(folder / "lake"),
        "CTR_PURCHASES_URL": load_csv(orders, items, folder),
    }


@pytest.fixture(scope="module")
def first_run(env: dict[str, str]) -> Outcome:
    return job("daily", env=env)


Fails = Callable[..., Outcome]


@pytest.fixture
def fails(env: dict[str, str], first_run: Outcome) -> Iterator[Fails]:
    """Runs the nightly job with changed settings on the loaded lake; at the end what is published must be as before."""
    assert first_run.code == 0, first_run.text
    before = publications(env["CTR_LAKE"])

    def run(**changes: str) -> Outcome:
        done = job("daily", env=env | changes)
        assert done.code == 1, done.text
        assert done.text.startswith("error: ")
        assert len(done.text.splitlines()) == 1, done.text
        return done

    yield run
    assert publications(env["CTR_LAKE"]) == before
    assert versions(env["CTR_LAKE"])["ctr_day"] == before[-1]["ctr_day_version"]


# Event files


@spark
def test_a_folder_that_is_no_platform_is_reported_and_the_rest_is_loaded(
    env: dict[str, str], first_run: Outcome
) -> None:
    assert first_run.code == 0, first_run.text
    assert "Windows Phone" in first_run.text
    first_run.check_no_stack_trace()
    lake = env["CTR_LAKE"]
    assert sorted(view["product"] for view in published(lake, "views")) == ["p_1", "p_2"]
    assert stated(lake, "Windows Phone/other.json")["platform"] is None
    assert "Windows Phone" in json.dumps(json.loads(publications(lake)[-1]["report"])["warnings"])


@spark
def test_an_empty_file_is_in_the_ledger_with_no_record_and_is_no_fault(env: dict[str, str], first_run: Outcome) -> None:
    assert first_run.code == 0, first_run.text
    rows = [file for file in published(env["CTR_LAKE"], "files") if file["path"] == "iOS/empty.json"]
    stated = sorted(rows, key=lambda row: row["recorded_at"])
    assert (stated[-1]["records"], stated[-1]["quarantined_records"]) == (0, 0)
    assert published(env["CTR_LAKE"], "quarantine") == []


@spark
def test_the_service_answers_from_such_a_lake(env: dict[str, str], first_run: Outcome, tmp_path: Path) -> None:
    with service(env["CTR_LAKE"], tmp_path / "log") as client:
        rows = answer(client.get("/v1/ctr", params=DAY))
    assert [(row["product"], row["CTR"]) for row in rows] == [("p_1", "1.0000"), ("p_2", "0.0000"), ("p_4", None)]


@spark
def test_a_missing_events_folder_is_named_with_its_setting(fails: Fails, tmp_path: Path) -> None:
    fails(CTR_EVENTS=str(tmp_path / "nowhere")).line(str(tmp_path / "nowhere"), "CTR_EVENTS")


@spark
def test_a_missing_events_folder_publishes_nothing_in_a_new_lake(env: dict[str, str], tmp_path: Path) -> None:
    done = job("daily", env=env | {"CTR_EVENTS": str(tmp_path / "nowhere"), "CTR_LAKE": str(tmp_path / "lake")})
    assert done.code == 1
    done.line("nowhere", "CTR_EVENTS")
    assert publications(tmp_path / "lake") == []


# The purchase database


@spark
def test_a_database_that_does_not_answer_is_named(fails: Fails) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, never listening: every connection is refused
        url = f"jdbc:postgresql://127.0.0.1:{closed.getsockname()[1]}/shop"
        done = fails(CTR_PURCHASES_URL=url, CTR_PURCHASES_USER="u", CTR_PURCHASES_PASSWORD="s3cr3t")
    done.line(url, "CTR_PURCHASES_URL")
    assert "s3cr3t" not in done.text


@spark
def test_a_missing_sqlite_file_is_named_and_not_made(fails: Fails, tmp_path: Path) -> None:
    file = tmp_path / "nowhere.db"
    fails(CTR_PURCHASES_URL=f"jdbc:sqlite:{file}").line(str(file), "load_csv")
    assert not file.exists()


@spark
@pytest.mark.parametrize(
    ("orders", "order_items", "parts"),
    [
        ("id, order_date, status", "id, order_id, code_color", ("orders", "device", "device_type")),
        ("id, order_date, status, device", "id, order_id, sku", ("order_items", "code_color", "sku")),
        ("id, order_date, status, device", None, ("order_items",)),
    ],
)
def test_a_missing_column_or_table_is_named(
    fails: Fails, tmp_path: Path, orders: str, order_items: str | None, parts: tuple[str, ...]
) -> None:
    database = sqlite3.connect(tmp_path / "shop.db")
    database.execute(f"create table orders ({orders})")
    if order_items:
        database.execute(f"create table order_items ({order_items})")
    database.close()
    fails(CTR_PURCHASES_URL=f"jdbc:sqlite:{tmp_path / 'shop.db'}").line(*parts)


@pytest.mark.parametrize(
    ("orders", "order_items", "parts"),
    [
        ("id,status,device\n", ORDER_ITEMS, ("orders.csv", "order_date")),
        (ORDERS, "id,order_id,sku\n", ("order_items.csv", "code_color")),
    ],
)
def test_a_csv_without_a_column_is_refused_and_loads_nothing(
    tmp_path: Path, orders: str, order_items: str, parts: tuple[str, ...]
) -> None:
    (tmp_path / "orders.csv").write_text(orders, encoding="utf-8")
    (tmp_path / "order_items.csv").write_text(order_items, encoding="utf-8")
    url = f"jdbc:sqlite:{tmp_path / 'shop.db'}"
    done = python("jobs.load_csv", tmp_path / "orders.csv", tmp_path / "order_items.csv", "--url", url)
    assert done.code in (1, 2)
    done.line(*parts)
    tables = sqlite3.connect(tmp_path / "shop.db").execute("select name from sqlite_master").fetchall()
    assert tables == []


# Wrong use


@pytest.mark.parametrize("setting", ["CTR_ORDERS_TIMEZONE", "CTR_PURCHASES_URL", "CTR_BATCH_BYTES"])
def test_a_wrong_setting_is_wrong_usage_and_names_itself(env: dict[str, str], setting: str) -> None:
    done = job("daily", env=env | {setting: "no such thing"})
    assert done.code == 2, done.text
    done.line(setting.removeprefix("CTR_").lower(), "no such thing")


@pytest.mark.parametrize("name", ["fatal_limits", "retired_platforms", "device_aliases", "columns"])
def test_a_wrong_list_or_table_is_wrong_usage_and_names_itself(env: dict[str, str], name: str) -> None:
    done = job("status", env=env | {f"CTR_{name.upper()}": "thing"})
    assert done.code == 2, done.text
    done.line("error: wrong setting", f"{name}: found 'thing'")


def test_a_variable_that_is_no_setting_is_wrong_usage_and_names_itself(env: dict[str, str]) -> None:
    done = job("status", env=env | {"CTR_UNKNOWN": "3"})
    assert done.code == 2, done.text
    done.line("error: wrong setting", "CTR_UNKNOWN: no such setting")


def test_an_unknown_job_is_wrong_usage() -> None:
    done = job("dayly", env={})
    assert done.code == 2
    done.line("dayly")


# The service


@pytest.fixture(scope="module")
def without_lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("empty")
    with service(folder / "nowhere", folder / "log", ready=False) as client:
        yield client


def test_a_service_without_a_lake_is_live_and_not_ready(without_lake: httpx.Client) -> None:
    assert without_lake.get("/health/live").status_code == 200
    assert without_lake.get("/health/ready").status_code == 503


@pytest.mark.parametrize("path", ["/v1/ctr", "/v1/products", "/v1/platforms", "/v1/status"])
def test_a_service_without_a_lake_says_what_to_run(without_lake: httpx.Client, path: str) -> None:
    response = without_lake.get(path, params=DAY if path == "/v1/ctr" else {})
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) > 0
    problem: dict[str, Any] = response.json()
    assert problem["status"] == 503
    assert problem["code"]
    assert "./spark-submit.sh daily" in response.text
    assert "Traceback" not in response.text
