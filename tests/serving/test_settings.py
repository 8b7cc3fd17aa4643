from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import SettingsError
from serving.settings import HANDED_DOWN, ROOT, Settings, hand_down, handed_down, is_loopback, load_settings


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a configuration file and points CTR_CONF at it."""

    def write(text: str) -> Path:
        file = tmp_path / "conf" / "ctr.toml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        monkeypatch.setenv("CTR_CONF", str(file))
        return file

    for name in Settings.model_fields:
        monkeypatch.delenv(f"CTR_{name.upper()}", raising=False)
    return write


def test_the_file_of_the_project_is_valid_and_listens_on_loopback_only(conf, monkeypatch):
    monkeypatch.delenv("CTR_CONF", raising=False)
    settings = load_settings()
    assert settings.host == "127.0.0.1"
    assert settings.port == 8000
    assert settings.lake == str(ROOT / "data" / "lake")


def test_a_relative_lake_of_the_file_starts_at_the_folder_above_the_file(conf, tmp_path):
    conf('lake = "some/lake"\n')
    assert load_settings().lake == str(tmp_path / "some" / "lake")


def test_a_relative_lake_of_the_environment_starts_at_the_working_directory(conf, tmp_path, monkeypatch):
    conf('lake = "some/lake"\n')
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("CTR_LAKE", "other")
    assert load_settings().lake == str(here / "other")


def test_the_environment_overrides_the_file(conf, monkeypatch):
    conf('lake = "x"\n[serving]\nport = 1000\nbody_bytes = "2k"\n')
    monkeypatch.setenv("CTR_PORT", "2000")
    settings = load_settings()
    assert settings.port == 2000
    assert settings.body_bytes == 2048


def test_what_a_service_hands_down_holds_whatever_the_file_says_by_then(conf, monkeypatch):
    monkeypatch.setenv(HANDED_DOWN, "")
    conf('lake = "x"\n[serving]\npoll_seconds = inf\ncache_bytes = 0\njwt_algorithms = ["ES256"]\nquery_threads = 7\n')
    settings = load_settings()
    hand_down(settings)
    conf("nonsense")
    assert handed_down() == settings


def test_keys_of_the_jobs_are_no_business_of_the_service(conf):
    conf('lake = "x"\nevents = "y"\n[jobs]\nbatch_bytes = "1g"\n')
    assert load_settings().lake.endswith("/x")


@pytest.mark.parametrize("text", ["port = 9\nqueue = 1\n", "[jobs]\nqueue = 1\nport = 9\n"])
def test_a_setting_outside_its_section_is_refused_with_its_place(conf, text):
    conf('lake = "x"\n' * (text[0] == "[") + text)
    with pytest.raises(SettingsError, match=r"port, queue: settings of the service: write them below \[serving\]"):
        load_settings()


def test_every_wrong_setting_is_named_at_once(conf):
    file = conf('lake = "x"\n[serving]\nprot = 1\nport = 70000\nbody_bytes = "much"\n')
    with pytest.raises(SettingsError) as caught:
        load_settings()
    text = str(caught.value)
    assert str(file) in text
    assert "serving.prot: no such setting" in text
    assert "port: found 70000" in text
    assert "body_bytes: found 'much': wanted a size above 0" in text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[serving]\n", "lake: missing: set it in the file or as CTR_LAKE"),
        ('lake = "s3://bucket/lake"\n', "wanted a local path"),
        ('lake = "/srv/lake*"\n', "wanted a path without *, ? and ["),
        ('lake = "/srv/platform=prod/lake"\n', "wanted a path without a folder such as platform=prod"),
        ('lake = "/srv/Date=2020-01-01"\n', "which DuckDB takes for a column's value"),
        ('lake = "/srv/product=ctr/lake"\n', "wanted a path without a folder such as product=ctr"),
        ('lake = "x"\n[serving]\nlake = "y"\n', "serving.lake: lake stands on the top level"),
        ('lake = "x"\nserving = 1\n', "wanted a section [serving]"),
        ("lake = \n", "cannot read the configuration"),
    ],
)
def test_a_fault_is_told_in_words(conf, text, told):
    conf(text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert told in str(caught.value)


def test_a_lake_below_a_folder_that_names_no_column_is_taken(conf):
    conf('lake = "/srv/env=prod/platform/lake=1"\n')
    assert load_settings().lake == "/srv/env=prod/platform/lake=1"


def test_a_file_that_is_not_there_is_told_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("CTR_CONF", str(tmp_path / "none.toml"))
    with pytest.raises(SettingsError, match="set CTR_CONF to a readable file"):
        load_settings()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_an_address_that_others_reach_is_refused_in_one_line(conf, host):
    conf(f'lake = "x"\n[serving]\nhost = "{host}"\n')
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "allow_unauthenticated = true" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_address_that_others_reach_is_taken_when_told_in_words(conf):
    conf('lake = "x"\n[serving]\nhost = "0.0.0.0"\nallow_unauthenticated = true\n')
    assert load_settings().host == "0.0.0.0"


ISSUED = {"jwt_issuer": "https://issuer.example/", "jwt_audience": "ctr"}


@pytest.mark.parametrize(
    "more", [{"api_keys_file": "/keys.json"}, {"jwt_jwks": "https://issuer.example/jwks.json", **ISSUED}]
)
def test_an_address_that_others_reach_is_taken_with_keys_or_tokens(more):
    settings = Settings(lake="/x", host="0.0.0.0", **more)
    assert settings.closed


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"jwt_jwks": "https://issuer.example/jwks.json"}, "jwt_jwks alone check no JWT"),
        ({"jwt_issuer": "x", "jwt_audience": "y"}, "jwt_issuer and jwt_audience alone check no JWT"),
        ({"jwt_jwks": "http://issuer.example/jwks.json", **ISSUED}, "wanted an https URL"),
        ({"jwt_jwks": "http://127.0.0.1.evil.example/jwks.json", **ISSUED}, "wanted an https URL"),
        ({"jwt_jwks": "https://user:secret@issuer.example/", **ISSUED}, "without user and password"),
        ({"jwt_jwks": "file:///etc/passwd", **ISSUED}, "wanted an https URL"),
        ({"jwt_jwks": "https:///jwks.json", **ISSUED}, "wanted an https URL"),
        ({"jwt_algorithms": ["RS256", "HS256"]}, "wanted some of RS256"),
        ({"jwt_algorithms": ["none"]}, "wanted some of RS256"),
        ({"jwt_algorithms": []}, "at least 1 item"),
    ],
)
def test_a_setting_of_tokens_that_would_not_be_safe_is_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        Settings(lake="/x", **settings)


@pytest.mark.parametrize("proxy", ["*", "proxy.example", "10.0.0.1/8", "127.0.0.1:8000", ""])
def test_a_trusted_proxy_is_an_address_or_a_network(proxy):
    assert Settings(lake="/x", trusted_proxies=["127.0.0.1", "10.0.0.0/8", "::1"]).trusted_proxies
    with pytest.raises(ValueError, match="wanted addresses or networks"):
        Settings(lake="/x", trusted_proxies=["127.0.0.1", proxy])


@pytest.mark.parametrize("source", ["https://issuer.example/jwks.json", "http://127.0.0.1:9/x", "http://[::1]:9/x"])
def test_the_jwks_may_be_an_address_with_tls_or_on_loopback(source):
    assert Settings(lake="/x", jwt_jwks=source, **ISSUED).jwt_jwks == source


def test_a_jwks_that_is_a_file_of_the_configuration_starts_at_the_folder_above_it(conf, tmp_path):
    conf('lake = "x"\n[serving]\njwt_jwks = "conf/jwks.json"\njwt_issuer = "i"\njwt_audience = "a"\n')
    assert load_settings().jwt_jwks == str(tmp_path / "conf" / "jwks.json")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_addresses_need_no_word(host):
    assert is_loopback(host)
    assert Settings(lake="/x", host=host).host == host


@pytest.mark.parametrize("text", ["https://a.example, https://b.example", '["https://a.example", "https://b.example"]'])
def test_a_list_in_the_environment_is_text_with_commas_or_json(monkeypatch, text):
    monkeypatch.setenv("CTR_CORS_ORIGINS", text)
    assert Settings(lake="/x").cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("CTR_CORS_ORIGINS", '["https://a.example"', "cors_origins: found .*wanted a JSON list such as"),
        ("CTR_JWT_ALGORITHMS", "HS256", "jwt_algorithms: found .*wanted some of RS256"),
        ("CTR_TRUSTED_PROXIES", "*", "trusted_proxies: found .*wanted addresses or networks"),
        ("CTR_PORT", "[1]", "port: found"),
        ("CTR_REPLICA_FOLDER", "s3://bucket/copy", "replica_folder: found .*wanted a local path"),
        (
            "CTR_QUERY_MEMORY",
            "31m",
            "query_memory 32505856 is too little for 1 worker and the heavy process: wanted .* 32m",
        ),
    ],
)
def test_a_value_of_no_use_is_a_fault_like_others(conf, monkeypatch, name, text, told):
    conf('lake = "x"\n')
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError, match=told):
        load_settings()


def test_the_least_memory_is_that_of_all_processes():
    assert Settings(lake="/x", query_memory="64m", workers=4, heavy_process=False).of_worker().query_memory == 16 << 20
    with pytest.raises(ValueError, match="wanted at least 128m"):
        Settings(lake="/x", query_memory="64m", workers=4)
    assert Settings(lake="/x", workers=64).workers == 64


def test_every_setting_has_a_description():
    assert all(field.description for field in Settings.model_fields.values())


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Settings(lake="/x").port = 1
