"""Schemathesis asks a running service what the OpenAPI document allows and what it does not, with all of its checks.

``make test-schema`` asks more than 5,000 times (``CTR_SCHEMA_CASES``: at least so many), the suite some hundred times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.keys import make_key, write_keys
from serving.main import create_app
from serving.settings import ROOT, Settings
from tests.serving.conftest import running
from tests.serving.lake import Lake
from tests.web.shop import publish

CASES = int(os.environ.get("CTR_SCHEMA_CASES", "0"))


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service of two publications with a replica, and a key that opens all of it."""
    folder = Path(tmp_path_factory.mktemp("schema"))
    lake = Lake(folder / "lake")
    publish(lake)
    publish(lake)
    secret, key = make_key("schemathesis", ("read", "metrics"), (), None)
    write_keys(folder / "keys.json", (key,))
    settings = Settings(
        lake=str(lake.path),
        replica_folder=str(folder / "replica"),
        api_keys_file=str(folder / "keys.json"),
        key_requests=10**9,
        key_guesses=10**9,
        stream_rows=200,
    )
    with running(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {secret}"
        yield client


@pytest.mark.slow
def test_no_request_that_the_document_allows_or_forbids_gets_an_answer_outside_of_it(service, tmp_path):
    each = max(
        10, CASES // 8
    )  # of each operation, and scenarios of several; besides what the document yields of itself
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.base_url}/openapi.json"),
            *("--checks", "all", "--mode", "all", "--max-examples", str(each), "--continue-on-failure"),
            *("--header", f"Authorization: {service.headers['Authorization']}", "--request-timeout", "20"),
            *("--report", "json", "--report-json-path", str(report), "--generation-database", "none"),
            *("--suppress-health-check", "all", "--no-color"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.serving.schema_hooks"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    found = json.loads(report.read_text())
    print(f"{found['test_cases']['generated']} cases in {found['running_time']:.0f} s, seed {found['seed']}")
    paths = service.get("/openapi.json").json()["paths"]
    assert found["operations"]["tested"] == sum(map(len, paths.values()))
    assert found["test_cases"]["generated"] >= max(CASES, 300)
    assert (found["failures"], found["errors"], found["filtered"]) == ([], [], 0)
