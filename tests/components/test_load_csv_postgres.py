"""jobs/load_csv into a real PostgreSQL that the test starts for itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from jobs import load_csv
from tests.components.servers import ask_postgresql, postgresql

pytestmark = pytest.mark.components

ORDERS = """id,order_date,order_total,order_status,device_type
1,2016-02-01 13:55:00.25,189.90,Delivered,iOS
3000000000,2016-02-02 00:00:01,20,Canceled,Desktop
"""
ITEMS = "id,order_id,quantity,code_color\n10,1,1,20001829_048\n11,1,,20005748_001\n12,3000000000,2,20001829_048\n"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql() as server:
        yield server


@pytest.fixture
def files(tmp_path: Path, server: str) -> Iterator[list[str]]:
    """Arguments of a load of both files; the tables are gone before and after."""
    ask_postgresql(server, "drop table if exists orders, order_items")
    (tmp_path / "orders.csv").write_text(ORDERS)
    (tmp_path / "items.csv").write_text(ITEMS)
    yield [str(tmp_path / "orders.csv"), str(tmp_path / "items.csv"), "--url", f"jdbc:postgresql://{server}?user=me"]
    ask_postgresql(server, "drop table if exists orders, order_items")


def test_rows_arrive_with_their_types_and_a_second_load_changes_nothing(
    server: str, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_csv.main(files) == 0
    assert ask_postgresql(server, "select * from orders order by id") == [
        (1, datetime(2016, 2, 1, 13, 55, 0, 250_000), Decimal("189.9000"), "Delivered", "iOS"),
        (3000000000, datetime(2016, 2, 2, 0, 0, 1), Decimal("20.0000"), "Canceled", "Desktop"),
    ]
    types = dict(
        ask_postgresql(
            server, "select column_name, data_type from information_schema.columns where table_name = 'orders'"
        )
    )
    assert (types["id"], types["order_date"]) == ("bigint", "timestamp without time zone")
    capsys.readouterr()
    assert load_csv.main(files) == 0
    out = capsys.readouterr().out
    assert "orders: 0 new, 0 changed, 2 unchanged" in out
    assert "order_items: 0 new, 0 changed, 3 unchanged" in out


def test_a_changed_row_is_updated(server: str, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert load_csv.main(files) == 0
    Path(files[0]).write_text(ORDERS.replace("Canceled", "Delivered"))
    assert load_csv.main(files) == 0
    assert "orders: 0 new, 1 changed, 1 unchanged" in capsys.readouterr().out
    assert ask_postgresql(server, "select order_status from orders where id = 3000000000") == [("Delivered",)]


def test_the_join_and_date_columns_have_an_index(server: str, files: list[str]) -> None:
    assert load_csv.main(files) == 0
    found = {name for (name,) in ask_postgresql(server, "select indexname from pg_indexes where schemaname = 'public'")}
    assert found >= {"ix_orders_order_date", "ix_order_items_order_id"}


def test_a_failing_load_leaves_no_table(
    server: str, files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(connection: Any, *_: object) -> int:
        connection.exec_driver_sql("select 1 / 0")
        return 0

    monkeypatch.setattr(load_csv, "count_orphans", fail)
    assert load_csv.main(files) == 1
    assert "division by zero" in capsys.readouterr().err
    assert ask_postgresql(server, "select count(*) from information_schema.tables where table_schema = 'public'") == [
        (0,)
    ]
