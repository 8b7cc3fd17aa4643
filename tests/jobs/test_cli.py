"""The command line: usage, exit codes, status. What needs Spark is in test_run.py and tests/path."""

from __future__ import annotations

import json
import os
import re
import socket
from datetime import datetime, timedelta, timezone

import pytest
from pyspark import SparkContext

from jobs import cli, status
from jobs.errors import JobError
from jobs.lake import Lake
from jobs.lock import lake_lock
from jobs.publish import publish


@pytest.fixture
def env(tmp_path, monkeypatch):
    monkeypatch.setenv("CTR_EVENTS", str(tmp_path / "events"))
    monkeypatch.setenv("CTR_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("CTR_PURCHASES_URL", f"jdbc:sqlite:{tmp_path}/shop.db")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [[], ["nightly"], ["daily", "--fast"], ["backfill", "--from", "yesterday"], ["backfill", "--batch-bytes", "0"]],
)
def test_wrong_usage_exits_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: " in capsys.readouterr().err


@pytest.mark.parametrize("job", ["daily", "backfill", "replay", "maintain", "publish", "audit", "status"])
def test_every_job_has_help(job, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([job, "--help"])
    assert caught.value.code == 0
    assert "usage: ./spark-submit.sh" in capsys.readouterr().out


def test_a_wrong_setting_is_wrong_usage(env, monkeypatch, capsys):
    monkeypatch.setenv("CTR_ORDERS_TIMEZONE", "Mars")
    assert cli.main(["status"]) == 2
    assert capsys.readouterr().err.startswith("error: wrong setting")


@pytest.mark.parametrize("job", ["backfill", "replay", "audit"])
def test_days_in_the_wrong_order_are_wrong_usage(env, job, capsys):
    assert cli.main([job, "--from", "2016-02-02", "--to", "2016-02-01"]) == 2
    assert "--from 2016-02-02 lies after --to 2016-02-01" in capsys.readouterr().err


def test_status_without_a_lake_says_what_to_run(env, capsys):
    assert cli.main(["status"]) == 1
    assert (
        capsys.readouterr().err == f"error: no lake at {env}/lake: run ./spark-submit.sh daily first, or set CTR_LAKE\n"
    )


def test_status_tells_the_publication_as_text_and_as_json(env, capsys):
    lake = Lake(str(env / "lake"))
    lake.create()
    assert cli.main(["status"]) == 0
    assert "nothing published yet" in capsys.readouterr().out
    publish(lake, 1, "daily", {"warnings": ["look here"]})
    assert cli.main(["status"]) == 0
    out = capsys.readouterr().out
    assert "publication 1 of " in out
    assert "warning of publication 1, daily: look here" in out
    assert cli.main(["status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["publication"]["number"] == 1
    assert told["publication"]["versions"]["views"] == 0
    assert told["running"] is None


def test_status_tells_who_holds_the_lake_and_starts_no_jvm(env, monkeypatch, capsys):
    def start(*_, **__):
        raise AssertionError("status starts Spark")

    monkeypatch.setattr(SparkContext, "_ensure_initialized", start)
    root = str(env / "lake")
    Lake(root).create()
    publish(Lake(root), 1, "daily", {})
    with lake_lock(root, "backfill", 0, print):
        assert cli.main(["status"]) == 0
        host, pid = re.escape(socket.gethostname()), os.getpid()
        assert re.search(rf"^running: backfill \(pid {pid} on {host}, since 20\S+\)$", capsys.readouterr().out, re.M)
        assert cli.main(["status", "--json"]) == 0
        running = json.loads(capsys.readouterr().out)["running"]
        assert {name: running[name] for name in ("job", "pid", "host")} == {
            "job": "backfill",
            "pid": pid,
            "host": socket.gethostname(),
        }
        assert datetime.now(timezone.utc) - datetime.fromisoformat(running["since"]) < timedelta(hours=1)
    assert cli.main(["status"]) == 0
    assert "running:" not in capsys.readouterr().out


def test_an_error_of_a_job_is_one_line_and_exits_1(env, monkeypatch, capsys):
    def fail(*_):
        raise JobError("the thing is wrong; do this")

    monkeypatch.setattr(status, "run", fail)
    assert cli.main(["status"]) == 1
    assert capsys.readouterr() == ("", "error: the thing is wrong; do this\n")


def test_a_full_disk_is_one_line_and_exits_1(env, monkeypatch, capsys):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(status, "run", fail)
    assert cli.main(["status"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: a disk is full: now ")
    assert err.count("\n") == 1


def test_a_jvm_that_is_gone_is_one_line_and_exits_1(env, monkeypatch, capsys):
    def fail(*_):
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(status, "run", fail)
    assert cli.main(["status"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: the JVM of Spark ended in the middle of the run, ")
    assert err.count("\n") == 1


def test_what_nobody_foresaw_keeps_its_stack_trace(env, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(status, "run", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["status"])
