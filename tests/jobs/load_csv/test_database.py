"""jobs/load_csv/database.py: JDBC addresses, and the statements of the three kinds of database."""

from __future__ import annotations

import ssl

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from jobs.errors import UsageError
from jobs.load_csv.database import _connect_arguments, _engine, _upsert

TABLE = sa.Table("t", sa.MetaData(), sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("v", sa.Text))


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("jdbc:sqlite:a/b.db", "sqlite:///a/b.db"),
        ("jdbc:sqlite:/a/b.db?mode=x", "sqlite:////a/b.db"),
        ("jdbc:postgresql://h:5433/d?user=u&password=p%26q", "postgresql+psycopg://u:p%26q@h:5433/d"),
        ("jdbc:postgresql://h/d", "postgresql+psycopg://h/d"),
        ("jdbc:postgresql:d", "postgresql+psycopg://localhost/d"),
        ("jdbc:mysql://u:p@h:3307/d?useSSL=false", "mysql+pymysql://u:p@h:3307/d"),
    ],
)
def test_a_jdbc_address_is_understood(url: str, wanted: str) -> None:
    assert _engine(url, None, None).url.render_as_string(hide_password=False) == wanted


def test_user_and_password_of_the_configuration_come_first() -> None:
    engine = _engine("jdbc:postgresql://h/d?user=a&password=b", "me", "secret")
    assert engine.url.render_as_string(hide_password=False) == "postgresql+psycopg://me:secret@h/d"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///a.db",
        "jdbc:oracle:thin:@h",
        "jdbc:postgresql://h:port/d",
        "jdbc:mysql://u:secret@h/?password=secret",
        "jdbc:sqlite:",
    ],
)
def test_another_address_is_wrong_usage_and_shows_no_password(url: str) -> None:
    with pytest.raises(UsageError, match="wanted jdbc:sqlite:FILE") as raised:
        _engine(url, None, None)
    assert "secret" not in str(raised.value)


def test_encryption_and_schema_of_a_jdbc_address_are_kept() -> None:
    wanted = {"sslmode": "require", "options": "-csearch_path=shop"}
    assert wanted.items() <= _connect_arguments("postgresql", {"sslmode": "require", "currentSchema": "shop"}).items()
    assert _connect_arguments("postgresql", {"ssl": "true"})["sslmode"] == "verify-full"
    assert "ssl" not in _connect_arguments("mysql", {})
    context = _connect_arguments("mysql", {"sslMode": "VERIFY_IDENTITY"})["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    loose = _connect_arguments("mysql", {"useSSL": "true"})["ssl"]
    assert isinstance(loose, ssl.SSLContext)
    assert loose.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        (sqlite.dialect(), "ON CONFLICT (id) DO UPDATE SET v = excluded.v"),
        (postgresql.dialect(), "ON CONFLICT (id) DO UPDATE SET v = excluded.v"),
        (mysql.dialect(), "ON DUPLICATE KEY UPDATE v = VALUES(v)"),
    ],
    ids=["sqlite", "postgresql", "mysql"],
)
def test_a_row_is_put_in_or_updated_in_one_statement(dialect: sa.Dialect, text: str) -> None:
    assert str(_upsert(dialect.name, TABLE).compile(dialect=dialect)).endswith(text)
