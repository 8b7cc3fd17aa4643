"""Settings: file, environment, faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.config import load_config, parse_bytes
from jobs.errors import UsageError

MINIMAL = 'events = "data/events"\nlake = "/srv/lake"\npurchases_url = "jdbc:sqlite:data/shop.db"\n'


@pytest.fixture
def conf(tmp_path, monkeypatch):
    for name in ("CTR_EVENTS", "CTR_LAKE", "CTR_PURCHASES_URL", "CTR_ORDERS_TIMEZONE"):
        monkeypatch.delenv(name, raising=False)

    def write(text):
        file = tmp_path / "conf" / "ctr.toml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        monkeypatch.setenv("CTR_CONF", str(file))
        return load_config()

    return write


def test_relative_paths_of_the_file_start_at_the_project(conf, tmp_path):
    config = conf(MINIMAL)
    assert config.events == str(tmp_path / "data/events")
    assert config.lake == "/srv/lake"
    assert config.purchases_url == f"jdbc:sqlite:{tmp_path}/data/shop.db"


def test_the_environment_wins_and_its_relative_paths_start_where_the_user_stands(conf, monkeypatch):
    monkeypatch.setenv("CTR_LAKE", "elsewhere")
    monkeypatch.setenv("CTR_PURCHASES_URL", "jdbc:sqlite:shop.db")
    monkeypatch.setenv("CTR_ORDERS_TIMEZONE", "America/Sao_Paulo")
    config = conf(MINIMAL)
    assert config.lake == str(Path.cwd() / "elsewhere")
    assert config.purchases_url == f"jdbc:sqlite:{Path.cwd()}/shop.db"
    assert config.orders_timezone == "America/Sao_Paulo"


def test_every_fault_is_listed_in_one_line(conf):
    with pytest.raises(UsageError) as caught:
        conf(MINIMAL + 'orders_timezone = "Mars"\n[jobs]\ntask_bytes = "0"\nspeed = 9\n')
    text = str(caught.value)
    assert "orders_timezone: found 'Mars': wanted an IANA time zone" in text
    assert "task_bytes: found '0': wanted a size above 0" in text
    assert "speed: no such setting" in text
    assert "\n" not in text


def test_a_missing_setting_and_a_missing_file_say_what_to_do(conf, monkeypatch):
    with pytest.raises(UsageError, match="lake: missing: set it in the file or as CTR_LAKE"):
        conf('events = "e"\npurchases_url = "jdbc:sqlite:x"\n')
    monkeypatch.setenv("CTR_CONF", "/nowhere.toml")
    with pytest.raises(UsageError, match="set CTR_CONF to a readable file"):
        load_config()


def test_tables_of_aliases_and_columns_are_read(conf):
    config = conf(MINIMAL + '[device_aliases]\niOS = ["apple"]\n[columns]\norder_date = "created"\n')
    assert config.device_aliases == {"iOS": ("apple",)}
    assert config.columns.order_date == ("created",)


@pytest.mark.parametrize(
    ("text", "size"), [("1048576", 1 << 20), ("64m", 64 << 20), ("20g", 20 << 30), ("1 GiB", 1 << 30), (7, 7)]
)
def test_sizes(text, size):
    assert parse_bytes(text) == size
