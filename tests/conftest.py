"""Fixtures of the whole suite: one Spark session, and one lake made from the sample by the real command line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_OF_TESTS = ("CTR_FAULT_", "CTR_SCHEMA_")
for _name in [name for name in os.environ if name.startswith("CTR_") and not name.startswith(_OF_TESTS)]:
    del os.environ[_name]  # one's own settings are not those of the tests

SERVES = {"serve", "process", "site", "open_replica"}
"""Fixtures that start a service or build its local copy, which takes a second or more."""


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start a service as slow."""
    for item in items:
        if SERVES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


REAL_FILE = ROOT.parent / "shared" / "data" / "productEvent_20160201.json.gz"


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """The one Spark session of the suite, with the settings of conf/spark-defaults.conf."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["SPARK_LOCAL_DIRS"] = str(tmp_path_factory.mktemp("spark"))
    from rich.console import Console

    from jobs.progress import Stages
    from jobs.session import spark_session

    with spark_session("tests", Stages(Console(quiet=True))) as session:
        yield session


@pytest.fixture
def real_file() -> Path:
    """The real event file, which lies beside the project and not in it."""
    if not REAL_FILE.exists():
        pytest.skip(f"the real event file is not here: {REAL_FILE.name} belongs in ../shared/data beside the project")
    return REAL_FILE


def run_job(*arguments: str, env: dict[str, str], timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """One ``./spark-submit.sh`` run as a user would start it."""
    return subprocess.run(
        [str(ROOT / "spark-submit.sh"), *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        check=False,
    )


class Service:
    """One real service process on a free port."""

    def __init__(self, env: dict[str, str], log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._log = log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "serving"],
            cwd=ROOT,
            env={**os.environ, **env, "CTR_HOST": "127.0.0.1", "CTR_PORT": str(port)},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def wait(self, path: str = "/health/ready", seconds: float = 60) -> Service:
        """Returns when the path answers 200."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.url + path, timeout=5):
                    return self
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"the service does not answer {path}: {Path(self._log.name).read_text()[-2000:]}")

    def stop(self) -> None:
        """Ends the process and waits for it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


@dataclass
class SampleLake:
    """The default sample, loaded by load_csv and ``daily``; read it, do not change it."""

    root: Path
    env: dict[str, str]
    services: list[Service] = field(default_factory=list)

    @property
    def events(self) -> str:
        return self.env["CTR_EVENTS"]

    @property
    def orders_csv(self) -> str:
        return str(self.root / "sample" / "orders.csv")

    @property
    def order_items_csv(self) -> str:
        return str(self.root / "sample" / "order_items.csv")

    @property
    def database_url(self) -> str:
        return self.env["CTR_PURCHASES_URL"]

    @property
    def lake(self) -> str:
        return self.env["CTR_LAKE"]

    def service_url(self) -> str:
        """The address of the one service process over this lake."""
        if not self.services:
            self.services.append(Service(self.env, self.root / "service.log").wait())
        return self.services[0].url


@pytest.fixture(scope="session")
def sample_lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleLake]:
    """The sample from its generator to a published lake, by the commands of the README."""
    root = tmp_path_factory.mktemp("sample_lake")
    sample = root / "sample"
    env = {
        "CTR_EVENTS": str(sample / "events"),
        "CTR_LAKE": str(root / "lake"),
        "CTR_PURCHASES_URL": f"jdbc:sqlite:{root / 'purchases.db'}",
    }
    _run([sys.executable, "-m", "jobs.sample", "--out", str(sample)], env)
    csvs = [str(sample / "orders.csv"), str(sample / "order_items.csv")]
    _run([sys.executable, "-m", "jobs.load_csv", *csvs, "--url", env["CTR_PURCHASES_URL"]], env)
    _run([str(ROOT / "spark-submit.sh"), "daily"], env)
    lake = SampleLake(root, env)
    yield lake
    for service in lake.services:
        service.stop()


def _run(command: list[str], env: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode in (0, 3), f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
