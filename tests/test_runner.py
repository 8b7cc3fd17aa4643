"""The commands a user types, from outside: spark-submit.sh with a stand-in for the jobs, the make targets, make run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parent.parent

# In the place of the jobs' command line: says what reached it, then does as told.
STAND_IN = """
import json, os, sys, time
names = ("PYSPARK_SUBMIT_ARGS", "SPARK_CONF_DIR", "SPARK_HOME", "SPARK_LOCAL_IP", "PYSPARK_PYTHON", "JAVA_HOME")
seen = {name: os.environ.get(name) for name in names}
print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "pid": os.getpid(), **seen}), flush=True)
if "--sleep" in sys.argv:
    time.sleep(60)
if "--exit" in sys.argv:
    sys.exit(int(sys.argv[sys.argv.index("--exit") + 1]))
"""


class Runner:
    """A copy of the project whose jobs only say how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(ROOT / "spark-submit.sh", folder)
        for name in ("scripts", "conf"):
            shutil.copytree(ROOT / name, folder / name)
        (folder / "common").mkdir()
        (folder / "common" / "days.py").write_text("")
        (folder / "jobs").mkdir()
        (folder / "jobs" / "__init__.py").write_text("")
        (folder / "jobs" / "cli.py").write_text(STAND_IN)
        (folder / ".venv").symlink_to(ROOT / ".venv")

    @property
    def command(self) -> Path:
        return self.folder / "spark-submit.sh"

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.command), *arguments],
            cwd=self.folder,
            env={**clean_environment(), **env},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )

    def seen(self, *arguments: str, **env: str) -> dict[str, Any]:
        """What the job saw."""
        done = self.run(*arguments, **env)
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    def spark_options(self, *arguments: str, **env: str) -> list[str]:
        """The words that Spark's own spark-submit gets."""
        words = shlex.split(self.seen(*arguments, **env)["PYSPARK_SUBMIT_ARGS"])
        assert words[-1] == "pyspark-shell"
        return words[:-1]


def clean_environment() -> dict[str, str]:
    """No setting of Spark or of the product of whoever runs the tests."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("CTR_", "SPARK_", "PYSPARK_", "MAKE", "MFLAGS"))}


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.fixture(scope="module")
def shared_runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return Runner(tmp_path_factory.mktemp("runner"))


def test_help_needs_neither_packages_nor_java(runner: Runner) -> None:
    (runner.folder / ".venv").unlink()
    done = runner.run("--help", JAVA_HOME="/nowhere")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ./spark-submit.sh")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no job given"),
        (["dayly"], "dayly: no such job"),
        (["-x", "daily"], "-x: no such option"),
        (["--master"], "--master: wanted a value and a job after it"),
        (["--master", "daily"], "no job given"),
        (["--deploy-mode", "cluster", "daily"], "--deploy-mode cluster: the driver runs where this command runs"),
    ],
)
def test_wrong_usage_exits_2_with_the_reason_first(shared_runner: Runner, arguments: list[str], reason: str) -> None:
    done = shared_runner.run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[0].startswith(reason)


@pytest.mark.parametrize(
    ("before", "spark"),
    [
        ([], []),
        (["--master", "local[1]"], ["--master", "local[1]"]),
        (["--master=local[1]"], ["--master", "local[1]"]),
        (["--name", "daily", "--verbose"], ["--name", "daily", "--verbose"]),
        (["--conf", "a=b c'd\"e", "--driver-memory", "1g"], ["--conf", "a=b c'd\"e", "--driver-memory", "1g"]),
        (["--conf=spark.x=--y"], ["--conf", "spark.x=--y"]),
    ],
)
def test_options_before_the_job_are_spark_s_and_those_after_it_the_job_s(
    shared_runner: Runner, before: list[str], spark: list[str]
) -> None:
    seen = shared_runner.seen(*before, "backfill", "--from", "2016-01-01", "--master", "a b")
    assert seen["argv"] == ["backfill", "--from", "2016-01-01", "--master", "a b"]
    assert shlex.split(seen["PYSPARK_SUBMIT_ARGS"]) == [*spark, "pyspark-shell"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
def test_any_value_reaches_spark_and_the_job_unchanged(shared_runner: Runner, value: str) -> None:
    seen = shared_runner.seen("--conf", f"spark.x={value}", "daily", value)
    assert shlex.split(seen["PYSPARK_SUBMIT_ARGS"])[:2] == ["--conf", f"spark.x={value}"]
    assert seen["argv"] == ["daily", value]


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_the_exit_code_is_the_job_s(shared_runner: Runner, code: int) -> None:
    assert shared_runner.run("daily", "--exit", str(code)).returncode == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_job_itself(shared_runner: Runner, number: signal.Signals) -> None:
    process = subprocess.Popen([str(shared_runner.command), "daily", "--sleep"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline())["pid"] == process.pid
        process.send_signal(number)
        assert process.wait(20) == -number
    finally:
        process.kill()
        process.stdout.close()


def test_it_works_from_any_folder_and_through_a_link(shared_runner: Runner, tmp_path: Path) -> None:
    link = tmp_path / "run-job"
    link.symlink_to(shared_runner.command)
    done = subprocess.run(
        [str(link), "daily"], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True
    )
    seen = json.loads(done.stdout)
    assert seen["cwd"] == str(tmp_path)
    assert seen["SPARK_CONF_DIR"] == str(shared_runner.folder / "conf")
    assert seen["PYSPARK_PYTHON"] == str(shared_runner.folder / ".venv" / "bin" / "python")
    assert (Path(seen["SPARK_HOME"]) / "bin" / "spark-submit").exists()


def test_without_packages_one_line_says_what_to_do(runner: Runner) -> None:
    (runner.folder / ".venv").unlink()
    done = runner.run("daily")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"the Python packages are not installed in \S+/\.venv: run make setup\n", done.stderr)


@pytest.mark.parametrize(
    ("version", "found"), [("11.0.2", False), ("17.0.9", True), ("21.0.1", True), ("1.8.0", False)]
)
def test_java_home_is_taken_when_its_version_fits(
    shared_runner: Runner, tmp_path: Path, version: str, found: bool
) -> None:
    (tmp_path / "bin").mkdir()
    java = tmp_path / "bin" / "java"
    java.write_text("#!/bin/sh\n")
    java.chmod(0o755)
    (tmp_path / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    done = shared_runner.run("daily", JAVA_HOME=str(tmp_path))
    taken = done.returncode == 0 and json.loads(done.stdout)["JAVA_HOME"] == str(tmp_path)
    assert taken == found


def test_local_runs_keep_to_loopback_and_clusters_get_the_code(runner: Runner) -> None:
    assert runner.seen("daily")["SPARK_LOCAL_IP"] == "127.0.0.1"
    cluster = runner.seen("--master", "spark://10.0.0.1:7077", "--py-files", "/mine.zip", "daily")
    assert cluster["SPARK_LOCAL_IP"] is None
    words = shlex.split(cluster["PYSPARK_SUBMIT_ARGS"])
    package, mine = words[words.index("--py-files") + 1].split(",")
    assert mine == "/mine.zip"
    assert "jobs/cli.py" in zipfile.ZipFile(package).namelist()
    assert "common/days.py" in zipfile.ZipFile(package).namelist()
    (runner.folder / "jobs" / "part").mkdir()
    (runner.folder / "jobs" / "part" / "new.py").write_text("x = 1\n")
    words = runner.spark_options("--conf", "spark.master=spark://10.0.0.1:7077", "daily")
    changed = words[words.index("--py-files") + 1]
    assert changed != package
    assert "jobs/part/new.py" in zipfile.ZipFile(changed).namelist()


def test_fetched_jars_spare_the_resolver_until_other_ones_are_asked_for(runner: Runner) -> None:
    defaults = runner.folder / "conf" / "spark-defaults.conf"
    jars = runner.folder / ".cache" / "jars"
    jars.mkdir(parents=True)
    (jars / "a.jar").touch()
    (jars / "b.jar").touch()
    key = subprocess.run(
        ["bash", "-c", f"root={runner.folder}; . $root/scripts/common.sh; jars_key"],
        capture_output=True,
        text=True,
        check=True,
    )
    (jars / "resolved").write_text(key.stdout)
    ours = f"{jars / 'a.jar'},{jars / 'b.jar'}"
    no_resolver = ["--conf", "spark.jars.packages=", "--conf", "spark.jars.excludes="]
    assert runner.spark_options("daily") == [*no_resolver, "--jars", ours]
    assert runner.spark_options("--jars", "/c.jar", "--packages", "g:a:1", "daily") == [
        *no_resolver, "--packages", "g:a:1", "--jars", f"{ours},/c.jar",
    ]  # fmt: skip
    assert runner.spark_options("daily", SPARK_CONF_DIR="/etc/spark") == []
    defaults.write_text(defaults.read_text().replace(":postgresql:42.", ":postgresql:43."))
    assert runner.spark_options("daily") == []


def test_usage_names_exactly_the_jobs_that_there_are(shared_runner: Runner) -> None:
    usage = shared_runner.run("--help").stdout
    named = re.findall(r"^  ([a-z]+)  +", usage.split("jobs:")[1].split("\n\n")[0], re.M)
    refused = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "cli.py"), "nonsense"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    choices = re.findall(r"\w+", refused.stderr.rsplit("choose from", 1)[1])
    assert named == choices
    assert all(shared_runner.seen(job)["argv"] == [job] for job in named)


def test_help_of_a_job_starts_no_jvm(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ROOT / "spark-submit.sh"), "backfill", "--help"],
        env={**clean_environment(), "JAVA_HOME": "/nowhere"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--from" in done.stdout
    assert done.stderr == ""


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-C", str(ROOT), *arguments], env=clean_environment(), capture_output=True, text=True, check=True
    )


def test_make_alone_prints_every_target_with_a_line() -> None:
    assert make().stdout == make("help").stdout
    lines = [line for line in make().stdout.splitlines() if line.startswith("  make ")]
    told = {re.fullmatch(r"  make ([a-z-]+) +\S.*", line)[1] for line in lines}  # type: ignore[index]
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert phony is not None
    assert told == set(phony[1].split())


def test_make_test_fast_leaves_out_what_is_slow() -> None:
    command = make("--dry-run", "test-fast").stdout
    assert '-m "not slow and not components and not browser and not faults"' in command


def test_make_run_with_a_port_in_use_says_so_before_any_work(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [str(ROOT / "scripts" / "run.sh"), str(tmp_path)],
            env={**clean_environment(), "CTR_PORT": port},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert re.fullmatch(rf"cannot listen on 127\.0\.0\.1 port {port} \(.*\): stop what uses it, or .*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_make_run_with_keys_in_the_file_of_settings_says_so_before_any_work(tmp_path: Path) -> None:
    conf = tmp_path / "ctr.toml"
    conf.write_text('[serving]\napi_keys_file = "keys.json"\n')
    done = subprocess.run(
        [str(ROOT / "scripts" / "run.sh"), str(tmp_path / "data")],
        env={**clean_environment(), "CTR_CONF": str(conf)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "api_keys_file or jwt_jwks stands in the file of settings, and make run asks without a key"
    )
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.slow
@pytest.mark.path
def test_make_run_shows_an_answer_ends_on_ctrl_c_and_does_nothing_twice(tmp_path: Path) -> None:
    first = run_until_served(tmp_path)
    rows = json.loads(first[first.index("\n[") : first.rindex("]") + 1])
    assert rows
    assert all(list(row) == ["timestamp", "platform", "product", "CTR"] for row in rows)
    versions = sorted(tmp_path.glob("lake/*/_delta_log/*.json"))
    assert versions
    again = run_until_served(tmp_path)
    assert "this sample is there already" in again
    assert sorted(tmp_path.glob("lake/*/_delta_log/*.json")) == versions


KEYS = {"CTR_API_KEYS_FILE": "/nowhere", "CTR_JWT_JWKS": "/nowhere", "CTR_JWT_ISSUER": "i", "CTR_JWT_AUDIENCE": "a"}
"""Of the shell; the sample is served without."""


def run_until_served(folder: Path) -> str:
    """Runs the script of make run until it serves, then presses Ctrl-C as a terminal does; what it printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "printed").open("w+") as printed:
        process = subprocess.Popen(
            [str(ROOT / "scripts" / "run.sh"), str(folder)],
            env={**clean_environment(), "CTR_PORT": str(port), **KEYS},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            end = time.monotonic() + 400
            while "Ctrl-C ends it" not in (folder / "printed").read_text():
                assert process.poll() is None, (folder / "printed").read_text()
                assert time.monotonic() < end, (folder / "printed").read_text()
                time.sleep(0.2)
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    text = (folder / "printed").read_text()
    assert "Traceback" not in text
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the service still runs"
    return text
