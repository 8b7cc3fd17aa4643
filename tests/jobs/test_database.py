"""The purchase database before it is asked: the sample's never gets into a lake of one's own, a missing file is no empty one."""

from __future__ import annotations

import re

import pytest

from jobs import cli
from jobs.config import Config
from jobs.database import check_database
from jobs.errors import JobError, UsageError


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with the sample's database in it."""
    monkeypatch.setattr("jobs.database.ROOT", tmp_path)
    (tmp_path / "data" / "sample").mkdir(parents=True)
    (tmp_path / "data" / "sample" / "purchases.db").touch()
    return tmp_path


def check(lake, url):
    check_database(Config(events="/nowhere", lake=str(lake), purchases_url=url))


def sample(project):
    return f"jdbc:sqlite:{project}/data/sample/purchases.db"


def test_the_lake_of_the_sample_may_have_the_database_of_the_sample(project, tmp_path):
    check(project / "data" / "lake", sample(project))
    (tmp_path / "link").symlink_to(project / "data")
    check(tmp_path / "link" / "lake", sample(tmp_path / "link" / ".."))


def test_a_lake_of_ones_own_may_not(project):
    for url in (
        sample(project),
        f"{sample(project)}?cache=shared",
        sample(project).replace("sample/", "sample/../sample/"),
    ):
        with pytest.raises(
            UsageError, match=r"the database of the sample.*/srv/lake is not below .*set CTR_PURCHASES_URL"
        ):
            check("/srv/lake", url)


def test_a_lake_of_ones_own_may_have_any_other_database(project):
    (project / "data" / "shop.db").touch()
    check("/srv/lake", f"jdbc:sqlite:{project}/data/shop.db")
    check("/srv/lake", "jdbc:postgresql://db/shop?user=ctr&sslmode=require")


def test_a_file_that_is_not_there_is_told_with_what_makes_it(project):
    url = f"jdbc:sqlite:{project}/shop.db"
    text = (
        f"no purchase database at {project}/shop.db; load the two CSV files first: scripts/python.sh -m jobs.load_csv"
    )
    with pytest.raises(JobError, match=re.escape(text)):
        check("/srv/lake", url)


@pytest.mark.parametrize("job", ["daily", "backfill"])
def test_a_run_on_the_settings_as_delivered_but_for_the_lake_is_wrong_usage(job, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CTR_EVENTS", str(tmp_path))
    monkeypatch.setenv("CTR_LAKE", str(tmp_path / "lake"))
    for name in ("CTR_CONF", "CTR_PURCHASES_URL"):
        monkeypatch.delenv(name, raising=False)
    assert cli.main([job]) == 2
    assert "set CTR_PURCHASES_URL to the database of your orders" in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()
