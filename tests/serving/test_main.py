from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

import serving
from serving.settings import ROOT, Settings
from tests.serving.conftest import eventually
from tests.serving.lake import view

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def environment(tmp_path: Path, **settings: str) -> dict[str, str]:
    conf = tmp_path / "conf" / "ctr.toml"
    conf.parent.mkdir(exist_ok=True)
    conf.write_text("[serving]\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CTR_")}
    return {**kept, "CTR_CONF": str(conf), "CTR_LAKE": str(tmp_path / "lake"), **settings}


def run(tmp_path: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving", *arguments],
        cwd=ROOT,
        env=environment(tmp_path, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def process(tmp_path):
    """Starts ``python -m serving`` on a free port; gives the process, its address and its log."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**settings: str) -> tuple[subprocess.Popen[bytes], str, Path]:
        log = tmp_path / "log"
        with log.open("wb") as out:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "serving"],
                    cwd=ROOT,
                    env=environment(tmp_path, CTR_PORT="0", **settings),
                    stdout=out,
                    stderr=subprocess.STDOUT,
                )
            )
        found = eventually(lambda: re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text()), 60)
        return started[-1], found[1], log

    yield start
    for one in started:
        one.kill()
        one.wait()


def test_the_process_serves_a_lake_that_appears_after_its_start_and_ends_on_sigterm(process, lake):
    running, url, log = process()
    assert httpx.get(url + "/health/live").status_code == 200
    assert httpx.get(url + "/health/ready").status_code == 503
    assert "./spark-submit.sh daily" in log.read_text()
    lake.publish([view("2016-01-03 14:00:00")])
    eventually(lambda: httpx.get(url + "/health/ready").status_code == 200, 10)
    query = "startTimestamp=2016-01-03 13:55:00&endTimestamp=2016-01-04 13:55:00&aggregation=60"
    answer = httpx.get(f"{url}/v1/ctr?{query}")
    assert answer.text == '[{"timestamp":"2016-01-03 13:55:00","platform":"iOS","product":"p1","CTR":0.0000}]'
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) in (0, -signal.SIGTERM)
    assert "Traceback" not in log.read_text()


def test_headers_above_the_limit_are_refused_and_others_are_served(process):
    _, url, _ = process(CTR_HEADER_BYTES="4k")
    assert httpx.get(url + "/health/live", headers={"X-Long": "x" * 2000}).status_code == 200
    with contextlib.suppress(httpx.TransportError):  # the connection may close before the client has sent it all
        assert httpx.get(url + "/health/live", headers={"X-Long": "x" * 2_000_000}).status_code == 400
    assert httpx.get(url + "/health/live").status_code == 200


def test_another_address_than_loopback_is_refused_with_one_line(tmp_path):
    done = run(tmp_path, CTR_HOST="0.0.0.0")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "allow_unauthenticated = true" in done.stderr


def test_help_lists_every_setting_and_starts_nothing(tmp_path):
    began = time.monotonic()
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for name, field in Settings.model_fields.items():
        assert f"CTR_{name.upper()} " in done.stdout
        assert field.description in done.stdout
    assert time.monotonic() - began < 30


def test_an_unknown_argument_is_wrong_usage(tmp_path):
    assert run(tmp_path, "--prot", "1").returncode == 2


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == serving.VERSION


def test_the_service_imports_neither_the_jobs_nor_pyspark():
    code = (
        "import sys, serving.main, serving.__main__;"
        "print([name for name in sys.modules if name.split('.')[0] in ('jobs', 'pyspark', 'py4j', 'pandas')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
