"""SQL over the tables of a lake: as a publication names them, times in UTC, one line where it cannot be answered."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from jobs import sql
from jobs.publish import publish
from jobs.schemas import FILES, TABLES, VIEWS
from tests.jobs.lakes import add, make_lake, said, view


@pytest.fixture
def lake(tmp_path, monkeypatch):
    monkeypatch.setenv("CTR_EVENTS", str(tmp_path / "events"))
    monkeypatch.setenv("CTR_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("CTR_PURCHASES_URL", f"jdbc:sqlite:{tmp_path}/shop.db")
    return make_lake(tmp_path / "lake")


@pytest.fixture
def published(lake):
    """Two publications, and a row of a run that died before it published."""
    add(lake, VIEWS, [view("first")])
    publish(lake, 1, "daily", {})
    add(lake, VIEWS, [view("second", second=1)])
    lake.append(FILES, statements(said("one.json")), 2)
    publish(lake, 2, "daily", {})
    add(lake, VIEWS, [view("of a dead run", second=2)])
    return lake


def statements(*rows):
    return pa.Table.from_pylist(list(rows), schema=FILES.schema)


def test_every_table_is_there(published):
    connection = sql.connect(published)
    for table in TABLES:
        assert connection.sql(f"SELECT * FROM {table.name}").columns == table.columns


def test_the_newest_publication_is_read_and_nothing_beyond_it(published):
    products = "SELECT product FROM views ORDER BY time"
    assert sql.connect(published).sql(products).fetchall() == [("first",), ("second",)]
    assert sql.connect(published, 1).sql(products).fetchall() == [("first",)]


def test_the_command_prints_the_answer_in_utc(published, capsys, monkeypatch):
    monkeypatch.setenv("TZ", "America/Sao_Paulo")
    assert sql.main(["SELECT path, state FROM files"]) == 0
    assert "one.json" in capsys.readouterr().out
    assert sql.main(["SELECT time FROM views WHERE product = 'first'"]) == 0
    assert "2016-02-01 00:00:00+00" in capsys.readouterr().out
    assert sql.main(["--publication", "1", "SELECT count(*) AS files FROM files"]) == 0
    assert "│     0 │" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["SELEC 1"], 2, "error: Parser Error"),
        (["SELECT nothing FROM views"], 2, "error: Binder Error"),
        (["SELECT 1", "--publication", "9"], 2, "error: no publication 9"),
    ],
)
def test_what_cannot_be_answered_says_why(published, capsys, arguments, code, words):
    assert sql.main(arguments) == code
    assert capsys.readouterr().err.startswith(words)


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"no Parquet")])
def test_a_data_file_that_is_gone_or_damaged_is_one_line(published, capsys, damage):
    damage(Path(published.uri(VIEWS)) / published.files(VIEWS, version=1)[0].path)
    assert sql.main(["SELECT max(product) FROM views"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_without_a_publication_or_a_lake_it_says_what_to_run(lake, capsys, monkeypatch, tmp_path):
    assert sql.main(["SELECT 1"]) == 1
    assert "nothing is published" in capsys.readouterr().err
    monkeypatch.setenv("CTR_LAKE", str(tmp_path / "elsewhere"))
    assert sql.main(["SELECT 1"]) == 1
    assert "no lake at" in capsys.readouterr().err
