"""Settings: file, environment, faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.config import ROOT, load_config, parse_bytes
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


def fault(conf, text):
    with pytest.raises(UsageError) as caught:
        conf(text)
    return str(caught.value)


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
    "text", ["cancelled, Sent back,", '["cancelled", "Sent back"]', ' [ "cancelled","Sent back" ]']
)
def test_a_list_of_names_is_text_with_commas_or_json_in_the_environment_and_in_the_file(conf, monkeypatch, text):
    assert conf(MINIMAL + f"excluded_statuses = '{text}'\n").excluded_statuses == ("cancelled", "Sent back")
    monkeypatch.setenv("CTR_EXCLUDED_STATUSES", text)
    assert conf(MINIMAL).excluded_statuses == ("cancelled", "Sent back")


def test_lists_of_the_environment_replace_those_of_the_file_and_an_empty_one_is_empty(conf, monkeypatch):
    monkeypatch.setenv("CTR_FATAL_LIMITS", "")
    monkeypatch.setenv("CTR_RETIRED_PLATFORMS", "iOS")
    monkeypatch.setenv("CTR_UNFINISHED_NAMES", "*.tmp,*.part")
    config = conf(MINIMAL + 'fatal_limits = ["few_views"]\nretired_platforms = "Android"\n')
    assert config.fatal_limits == ()
    assert config.retired_platforms == ("iOS",)
    assert config.unfinished_names == ("*.tmp", "*.part")


def test_tables_of_the_environment_are_json(conf, monkeypatch):
    monkeypatch.setenv("CTR_DEVICE_ALIASES", '{"iOS": ["apple"], "Android": "droid, google"}')
    monkeypatch.setenv("CTR_COLUMNS", '{"order_date": "created"}')
    config = conf(MINIMAL + '[device_aliases]\nMobileWeb = ["web"]\n[columns]\nitem_id = "item"\n')
    assert config.device_aliases == {"iOS": ("apple",), "Android": ("droid", "google")}
    assert config.columns.order_date == ("created",)
    assert config.columns.item_id == ("id",)


def test_a_spelling_may_stand_twice_for_one_platform(conf):
    config = conf(MINIMAL + '[device_aliases]\niOS = ["iPhone", "iphone", "iPad"]\nAndroid = ["droid"]\n')
    assert config.platform_of_device == {"iphone": "iOS", "ipad": "iOS", "droid": "Android"}


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        (
            "FATAL_LIMITS",
            "quarantine",
            "fatal_limits: found 'quarantine': quarantine: wanted only quarantined, failed_files",
        ),
        ("RETIRED_PLATFORMS", "[iOS]", "retired_platforms: found '[iOS]': wanted a JSON list such as"),
        ("EXCLUDED_STATUSES", "[1]", "excluded_statuses.0: found 1: Input should be a valid string"),
        ("DEVICE_ALIASES", "foo", "device_aliases: found 'foo': wanted a JSON object such as"),
        ("DEVICE_ALIASES", "3", "device_aliases: found 3: Input should be a valid dictionary"),
        (
            "DEVICE_ALIASES",
            '{"iOS": "web", "MobileWeb": "Web"}',
            "Web is in iOS and in MobileWeb: wanted each in one of them",
        ),
        ("COLUMNS", "", "columns: found '': wanted a JSON object such as"),
        ("COLUMNS", '{"date": "d"}', "columns.date: no such setting"),
    ],
)
def test_a_list_or_table_that_is_none_is_a_fault_like_others(conf, monkeypatch, name, value, wanted):
    monkeypatch.setenv(f"CTR_{name}", value)
    text = fault(conf, MINIMAL)
    assert text.startswith("wrong setting in ")
    assert wanted in text


def test_a_variable_that_nothing_reads_is_a_fault_beside_others_and_its_value_is_not_shown(conf, monkeypatch):
    monkeypatch.setenv("CTR_PURCHASE_PASSWORD", "s3cr3t")
    monkeypatch.setenv("CTR_PORT", "8001")
    text = fault(conf, MINIMAL + 'orders_timezone = "Mars"\n')
    assert "orders_timezone: found 'Mars'" in text
    assert "CTR_PURCHASE_PASSWORD: no such setting, the nearest is CTR_PURCHASES_PASSWORD" in text
    assert "s3cr3t" not in text
    assert "CTR_PORT" not in text


def test_a_variable_of_another_program_is_no_setting(conf, monkeypatch):
    for name in ("ORDER_DATE", "ITEM_ID", "LAKE", "TASK_BYTES"):
        monkeypatch.setenv(name, "x")
    config = conf(MINIMAL)
    assert config.columns.order_date == ("order_date",)
    assert config.lake == "/srv/lake"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '[serving]\ntask_bytes = "32m"\n',
            "serving.task_bytes: a setting of the jobs: write it on the top level, or below [j",
        ),
        ("[serving]\n[serving.columns]\n", "serving.columns: a setting of the jobs"),
        ("[jobs]\nport = 9\n", "port: a setting of the service: write it below [serving]"),
        ('[jobs]\nlake = "y"\n', "jobs.lake: lake stands on the top level, the service reads it too"),
        ("jobs = 3\n", "jobs: found 3, wanted a section [jobs]"),
    ],
)
def test_a_setting_in_a_section_where_it_would_be_passed_over_is_a_fault(conf, text, told):
    assert told in fault(conf, MINIMAL + text)


def test_a_setting_of_the_jobs_behind_the_end_of_the_delivered_file_counts(conf):
    delivered = (ROOT / "conf" / "ctr.toml").read_text()
    assert conf(delivered + 'task_bytes = "32m"\n').task_bytes == 32 << 20


@pytest.mark.parametrize(
    ("text", "size"), [("1048576", 1 << 20), ("64m", 64 << 20), ("20g", 20 << 30), ("1 GiB", 1 << 30), (7, 7)]
)
def test_sizes(text, size):
    assert parse_bytes(text) == size
