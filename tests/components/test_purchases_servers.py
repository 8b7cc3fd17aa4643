"""The way of purchases by a real PostgreSQL and a real MariaDB: CSV files in by load_csv, read by Spark's JDBC."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr
from pyspark.sql import SparkSession

from jobs import load_csv
from jobs.config import Config
from jobs.lake import Lake
from jobs.purchases import read_purchases
from jobs.schemas import PURCHASES
from tests.components.servers import ask_mysql, ask_postgresql, mysql, postgresql
from tests.rows import at

pytestmark = [pytest.mark.components, pytest.mark.spark]

ORDERS = """id,order_date,order_status,device_type
1,2016-02-01 23:30:00.25,Delivered,iPhone
3000000000,2016-02-02 00:00:01,Canceled,android
3,2016-02-02 00:00:01,Delivered,Desktop
"""
ITEMS = "id,order_id,code_color\n10,1,20001829_048\n5000000000,3000000000,é\n12,3,x\n"


@pytest.fixture(params=["postgresql", "mysql"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Config]:
    """Settings of a server that holds the two tables."""
    start = {"postgresql": postgresql, "mysql": mysql}[request.param]
    with start() as server:
        yield Config(
            events="-",
            lake=str(tmp_path / "lake"),
            purchases_url=f"jdbc:{request.param}://{server}",
            purchases_user="me",
            purchases_password=SecretStr("secret"),
            orders_timezone="America/Sao_Paulo",
        )


def load(config: Config, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    (folder / "orders.csv").write_text(ORDERS, encoding="utf-8")
    (folder / "items.csv").write_text(ITEMS, encoding="utf-8")
    monkeypatch.setenv("CTR_PURCHASES_USER", "me")
    monkeypatch.setenv("CTR_PURCHASES_PASSWORD", "secret")
    return load_csv.main([str(folder / "orders.csv"), str(folder / "items.csv"), "--url", config.purchases_url])


def test_what_load_csv_wrote_spark_reads_to_the_last_digit(
    spark: SparkSession,
    config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert load(config, tmp_path, monkeypatch) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert load(config, tmp_path, monkeypatch) == 0
    assert "orders: 0 new, 0 changed, 3 unchanged" in capsys.readouterr().out
    lake = Lake(config.lake)
    lake.create()
    found = read_purchases(spark, config, lake, 1, date(2016, 2, 10))
    assert found.counts["other_devices"] == {"Desktop": 1}
    lake.commit(PURCHASES, 1, found.adds, found.removes)
    rows = sorted(lake.read(PURCHASES).to_pylist(), key=lambda row: row["order_id"])
    assert [(r["order_id"], r["item_id"], r["product"], r["platform"], r["time"], r["status"]) for r in rows] == [
        ("1", "10", "20001829_048", "iOS", at("2016-02-02 01:30:00.250"), "Delivered"),
        ("3000000000", "5000000000", "é", "Android", at("2016-02-02 02:00:01"), "Canceled"),
    ]
    ask = ask_mysql if ":mysql:" in config.purchases_url else ask_postgresql
    ask(config.purchases_url.partition("//")[2], "update orders set order_status = 'Delivered' where id = 3000000000")
    again = read_purchases(spark, config, lake, 2, date(2016, 2, 10))
    assert again.changed == {(date(2016, 2, 2), "Android")}
    config = config.model_copy(update={"purchases_days": 9})
    windowed = read_purchases(spark, config, lake, 3, date(2016, 2, 10))
    assert windowed.counts["items"] == 3
    config = config.model_copy(update={"purchases_days": 1})
    assert read_purchases(spark, config, lake, 4, date(2016, 2, 10)).counts["items"] == 0
