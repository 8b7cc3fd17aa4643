"""jobs/load_csv on SQLite: what is in the database afterwards, and what is said when a file does not fit."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from jobs import load_csv

ORDERS = """id,order_date,order_total,status,device
1,2016-02-01 13:55:00,189.90,Delivered,iOS
3000000000,2016-02-02T00:00:01,20,Canceled,Desktop
"""
ITEMS = """id,order_id,sku,quantity,code_color
10,1,a,1,20001829_048
11,1,b,2,20005748_001
12,3000000000,c,,20001829_048
"""


class Shop:
    """The two CSV files and a database in one folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.orders = folder / "orders.csv"
        self.items = folder / "order_items.csv"
        self.database = folder / "new" / "purchases.db"
        self._capsys = capsys
        self.orders.write_text(ORDERS)
        self.items.write_text(ITEMS)

    def load(self, *options: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        files = [str(self.orders), str(self.items)]
        code = load_csv.main([*files, "--url", f"jdbc:sqlite:{self.database}", *options])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    return Shop(tmp_path, capsys)


def test_both_files_are_loaded_with_their_types(shop: Shop) -> None:
    code, out, err = shop.load()
    assert (code, err) == (0, "")
    assert out == (
        f"orders: 2 new, 0 changed, 0 unchanged ({shop.orders})\n"
        f"order_items: 3 new, 0 changed, 0 unchanged ({shop.items})\n"
    )
    assert shop.ask("select * from orders order by id") == [
        (1, "2016-02-01 13:55:00", 189.9, "Delivered", "iOS"),
        (3000000000, "2016-02-02 00:00:01", 20.0, "Canceled", "Desktop"),
    ]
    assert shop.ask("select * from order_items order by id")[1:] == [
        (11, 1, "b", 2, "20005748_001"),
        (12, 3000000000, "c", None, "20001829_048"),
    ]


def test_the_key_is_primary_and_join_and_date_columns_have_an_index(shop: Shop) -> None:
    shop.load()
    indexes = dict(shop.ask("select name, sql from sqlite_master where type = 'index' and sql is not null"))
    assert indexes == {
        "ix_orders_order_date": "CREATE INDEX ix_orders_order_date ON orders (order_date)",
        "ix_order_items_order_id": "CREATE INDEX ix_order_items_order_id ON order_items (order_id)",
    }
    for table in ("orders", "order_items"):
        assert [row[1] for row in shop.ask(f"pragma table_info({table})") if row[5]] == ["id"]


def test_a_second_load_changes_nothing(shop: Shop) -> None:
    shop.load()
    before = shop.database.read_bytes()
    code, out, _ = shop.load()
    assert code == 0
    assert "orders: 0 new, 0 changed, 2 unchanged" in out
    assert "order_items: 0 new, 0 changed, 3 unchanged" in out
    assert shop.database.read_bytes() == before


def test_changed_rows_are_updated_new_ones_added_and_absent_ones_stay(shop: Shop) -> None:
    shop.load()
    header, _, second = ORDERS.splitlines()
    shop.orders.write_text(
        "\n".join([header, second.replace("Canceled", "Delivered"), "7,2016-02-03 08:00,1.5,New,iOS"])
    )
    shop.items.write_text(ITEMS)
    _, out, _ = shop.load()
    assert "orders: 1 new, 1 changed, 0 unchanged" in out
    assert shop.ask("select id, status from orders order by id") == [
        (1, "Delivered"),
        (7, "New"),
        (3000000000, "Delivered"),
    ]


def test_more_rows_than_a_batch_are_all_compared(shop: Shop) -> None:
    rows = [f"{number},2016-02-01 10:00:00,1.00,Delivered,iOS" for number in range(1, 2502)]
    shop.orders.write_text("\n".join(["id,order_date,order_total,status,device", *rows]))
    shop.load()
    rows[2400] = rows[2400].replace("Delivered", "Returned")
    shop.orders.write_text("\n".join(["id,order_date,order_total,status,device", *rows]))
    _, out, _ = shop.load()
    assert "orders: 0 new, 1 changed, 2500 unchanged" in out


@pytest.mark.parametrize("text", [ORDERS.replace(",", ";"), "\ufeff" + ORDERS, ORDERS.replace("\n", "\r\n")])
def test_semicolons_byte_order_marks_and_line_ends_make_no_difference(shop: Shop, text: str) -> None:
    shop.orders.write_bytes(text.encode())
    assert shop.load()[0] == 0
    assert shop.ask("select id, device from orders order by id") == [(1, "iOS"), (3000000000, "Desktop")]


def test_the_spellings_of_the_real_tables_are_loaded_under_their_names(shop: Shop) -> None:
    shop.orders.write_text(ORDERS.replace("status,device", "order_status,device_type"))
    assert shop.load()[0] == 0
    assert shop.ask("select order_status, device_type from orders where id = 1") == [("Delivered", "iOS")]


def test_unknown_columns_are_kept_as_text(shop: Shop) -> None:
    shop.orders.write_text('id,order_date,status,device,note\n1,2016-02-01 13:55:00,New,iOS,"007, ""x""\nand more"\n')
    assert shop.load()[0] == 0
    assert shop.ask("select note from orders") == [('007, "x"\nand more',)]


def test_items_without_their_order_are_loaded_and_counted_in_a_warning(shop: Shop) -> None:
    shop.items.write_text(ITEMS + "13,999,d,1,20001829_048\n")
    code, _, err = shop.load()
    assert code == 0
    assert err.startswith("warning: 1 rows of order_items have no order in orders")
    assert shop.ask("select count(*) from order_items") == [(4,)]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("4,2016-02-01 10:00:00,1,New", "line 4: found 4 fields, wanted 5"),
        ("4,2016-02-01 10:00:00,1,New,iOS,x", "line 4: found 6 fields, wanted 5"),
        ("x4,2016-02-01 10:00:00,1,New,iOS", "line 4: id is 'x4', wanted a whole number"),
        (",2016-02-01 10:00:00,1,New,iOS", "line 4: id is '', wanted a whole number"),
        ("9223372036854775808,2016-02-01 10:00:00,1,New,iOS", "line 4: id is '9223372036854775808', wanted a whole"),
        ("4,01/02/2016,1,New,iOS", "line 4: order_date is '01/02/2016', wanted a date-time"),
        ("4,2016-02-30 10:00:00,1,New,iOS", "line 4: order_date is '2016-02-30 10:00:00', wanted"),
        ("4,2016-02-01 10:00:00Z,1,New,iOS", "line 4: order_date is '2016-02-01 10:00:00Z', wanted"),
        ("4,2016-02-01 10:00:00,much,New,iOS", "line 4: order_total is 'much', wanted a number"),
        ("1,2016-02-01 10:00:00,1,New,iOS", "line 4: id 1 stands on line 2 already"),
        ('4,2016-02-01 10:00:00,1,"two\nlines",iOS\n5,later,1,New,iOS', "line 6: order_date is 'later'"),
        ('4,2016-02-01 10:00:00,1,"open,iOS', "line 4: unexpected end of data"),
    ],
)
def test_a_row_that_does_not_fit_is_named_by_file_and_line_and_nothing_is_loaded(
    shop: Shop, row: str, text: str
) -> None:
    shop.orders.write_text(ORDERS + row + "\n")
    code, out, err = shop.load()
    assert (code, out) == (1, "")
    assert f"error: {shop.orders}, {text}" in err
    assert err.count("\n") == 1
    assert not shop.database.exists()


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (
            "id,order_date,order_total,device",
            "no column status or order_status; found id, order_date, order_total, device",
        ),
        ("key,order_date,order_total,status,device", "no column id; found key, order_date"),
        ("id,order_date,status,status,device", "column 'status' is empty or there twice"),
    ],
)
def test_a_missing_or_doubled_column_is_named_with_what_was_found(shop: Shop, header: str, text: str) -> None:
    shop.orders.write_text(ORDERS.replace("id,order_date,order_total,status,device", header))
    code, _, err = shop.load()
    assert code == 1
    assert text in err


def test_order_items_without_an_id_are_refused_clearly(shop: Shop) -> None:
    shop.items.write_text("order_id,code_color\n1,20001829_048\n")
    code, _, err = shop.load()
    assert code == 1
    assert f"{shop.items}, line 1: no column id; found order_id, code_color" in err


def test_an_empty_file_is_refused_and_one_with_only_a_header_is_not(shop: Shop) -> None:
    shop.orders.write_text("")
    code, _, err = shop.load()
    assert code == 1
    assert "is empty or begins with a blank line" in err
    shop.orders.write_text(ORDERS.splitlines()[0])
    assert shop.load()[0] == 0


def test_text_that_is_no_utf8_is_named(shop: Shop) -> None:
    shop.orders.write_bytes(ORDERS.replace("Delivered", "Enviado à S\xe3o").encode("latin-1"))
    code, _, err = shop.load()
    assert code == 1
    assert "no UTF-8" in err


def test_a_missing_file_is_wrong_usage(shop: Shop) -> None:
    shop.items.unlink()
    code, _, err = shop.load()
    assert code == 2
    assert f"no file {shop.items}" in err


def test_a_row_that_the_database_refuses_leaves_it_as_it_was(shop: Shop) -> None:
    shop.load()
    with sqlite3.connect(shop.database) as connection:
        connection.execute("create trigger t before insert on order_items begin select raise(abort, 'not today'); end")
    shop.orders.write_text(ORDERS + "4,2016-02-01 10:00:00,1,New,iOS\n")
    shop.items.write_text(ITEMS + "14,4,e,1,20001829_048\n")
    code, out, err = shop.load()
    assert (code, out) == (1, "")
    assert "not today" in err
    assert "Traceback" not in err
    assert shop.ask("select count(*) from orders") == [(2,)]


def test_a_failed_first_load_leaves_no_table(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(load_csv, "count_orphans", fail)
    assert shop.load()[0] == 1
    assert shop.ask("select count(*) from sqlite_master") == [(0,)]


def test_a_table_that_lacks_a_column_or_the_key_is_not_loaded_into(shop: Shop) -> None:
    shop.load()
    shop.orders.write_text(ORDERS.replace("status,device", "order_status,device_type"))
    code, _, err = shop.load()
    assert code == 1
    assert "the table orders has no column order_status, device_type (it has id, order_date" in err
    with sqlite3.connect(shop.database) as connection:
        connection.execute("drop table orders")
        connection.execute(
            "create table orders (id integer, order_date text, order_total real, status text, device text)"
        )
    shop.orders.write_text(ORDERS)
    code, _, err = shop.load()
    assert code == 1
    assert "primary key of the table orders is (), wanted (id)" in err


def test_a_database_that_cannot_be_opened_is_one_clear_line(shop: Shop) -> None:
    shop.database.parent.mkdir()
    shop.database.write_text("this is no database, and long enough to be seen as none" * 100)
    code, _, err = shop.load()
    assert code == 1
    assert "file is not a database" in err
    assert err.count("\n") == 1


def test_a_server_that_is_not_there_is_one_clear_line_without_the_password(shop: Shop) -> None:
    for url in (
        "jdbc:postgresql://127.0.0.1:1/shop?user=me&password=secret",
        "jdbc:mysql://me:secret@127.0.0.1:1/shop",
    ):
        code, _, err = shop.load("--url", url)
        assert code == 1
        assert "127.0.0.1:1/shop failed" in err
        assert "secret" not in err
        assert err.count("\n") == 1


def test_address_and_names_come_from_the_configuration(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CTR_PURCHASES_URL", f"jdbc:sqlite:{shop.database}")
    monkeypatch.setenv("CTR_ORDERS_TABLE", "sales")
    assert load_csv.main([str(shop.orders), str(shop.items)]) == 0
    assert shop.ask("select count(*) from sales") == [(2,)]
