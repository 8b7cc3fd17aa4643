"""jobs/load_csv into a real PostgreSQL that the test starts for itself."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jobs import load_csv

pytestmark = pytest.mark.components

ORDERS = """id,order_date,order_total,order_status,device_type
1,2016-02-01 13:55:00.25,189.90,Delivered,iOS
3000000000,2016-02-02 00:00:01,20,Canceled,Desktop
"""
ITEMS = "id,order_id,quantity,code_color\n10,1,1,20001829_048\n11,1,,20005748_001\n12,3000000000,2,20001829_048\n"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Host, port and database of a fresh server on the loopback address."""
    binaries = _binaries()
    owner = _owner()
    folder = tempfile.mkdtemp(prefix="ctr-postgres-")
    if owner:
        shutil.chown(folder, owner)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    initdb = [str(binaries / "initdb"), "-D", f"{folder}/data", "-U", "me", "--auth=trust", "-E", "UTF8"]
    subprocess.run(initdb, user=owner, cwd=folder, check=True, capture_output=True)
    process = subprocess.Popen(
        [str(binaries / "postgres"), "-D", f"{folder}/data", *options.split()],
        user=owner,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port)
        yield f"127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def files(tmp_path: Path, server: str) -> Iterator[list[str]]:
    """Arguments of a load of both files; the tables are gone before and after."""
    _ask(server, "drop table if exists orders, order_items")
    (tmp_path / "orders.csv").write_text(ORDERS)
    (tmp_path / "items.csv").write_text(ITEMS)
    yield [str(tmp_path / "orders.csv"), str(tmp_path / "items.csv"), "--url", f"jdbc:postgresql://{server}?user=me"]
    _ask(server, "drop table if exists orders, order_items")


def test_rows_arrive_with_their_types_and_a_second_load_changes_nothing(
    server: str, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_csv.main(files) == 0
    assert _ask(server, "select * from orders order by id") == [
        (1, datetime(2016, 2, 1, 13, 55, 0, 250_000), Decimal("189.9000"), "Delivered", "iOS"),
        (3000000000, datetime(2016, 2, 2, 0, 0, 1), Decimal("20.0000"), "Canceled", "Desktop"),
    ]
    types = dict(
        _ask(server, "select column_name, data_type from information_schema.columns where table_name = 'orders'")
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
    assert _ask(server, "select order_status from orders where id = 3000000000") == [("Delivered",)]


def test_the_join_and_date_columns_have_an_index(server: str, files: list[str]) -> None:
    assert load_csv.main(files) == 0
    found = {name for (name,) in _ask(server, "select indexname from pg_indexes where schemaname = 'public'")}
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
    assert _ask(server, "select count(*) from information_schema.tables where table_schema = 'public'") == [(0,)]


def _binaries() -> Path:
    """The folder of the server's programs; the test is skipped where there are none."""
    found = [Path(program).resolve() for name in ("postgres",) if (program := shutil.which(name))]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql")
    return found[-1].parent


def _owner() -> str | None:
    """PostgreSQL refuses to run as root: then its own user runs it."""
    if os.geteuid() != 0:
        return None
    if "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    return "postgres"


def _wait(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            _ask(f"127.0.0.1:{port}/postgres", "select 1")
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def _ask(server: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(f"postgresql://me@{server}", autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []
