"""scripts/nightly.sh with a stand-in for spark-submit.sh, started as cron does: hardly any environment, no terminal."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from jobs.cli import make_parser
from tests.conftest import ROOT

SCRIPT = ROOT / "scripts" / "nightly.sh"
OPERATIONS = ROOT / "docs" / "operations.md"

STAND_IN = r"""#!/bin/bash
echo "ran: $*"
for word in "$@"; do
  case "$word" in
    --fast) echo "./spark-submit.sh: error: unrecognized arguments: --fast"; exit 2 ;;
    exit=*) echo "error: no event files: /srv/events does not exist; set CTR_EVENTS" >&2; exit "${word#exit=}" ;;
    kill) kill -9 $$ ;;
    lines=*) seq "${word#lines=}" ;;
    sleep) trap 'echo told to end; exit 143' TERM; touch "$0.sleeps"; while :; do sleep 0.05; done ;;
  esac
done
"""


class Night:
    """A folder with the stand-in and the log; runs are started in it."""

    def __init__(self, path: Path) -> None:
        self.log = path / "logs" / "nightly.log"
        self.stand_in = path / "stand-in"
        self.stand_in.write_text(STAND_IN)
        self.stand_in.chmod(0o755)
        self.env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(path),
            "NIGHTLY_COMMAND": str(self.stand_in),
            "NIGHTLY_LOG": str(self.log),
        }

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(SCRIPT), *arguments],
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **env)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def sleeping(self, job: str = "daily") -> subprocess.Popen[str]:
        """A run whose job goes on until it is ended."""
        process = self.start(job, "sleep")
        sign = Path(f"{self.stand_in}.sleeps")
        end = time.monotonic() + 30
        while not sign.exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        return process

    def logs(self) -> list[str]:
        return sorted(path.name for path in self.log.parent.iterdir() if not path.name.endswith(".lock"))


@pytest.fixture
def night(tmp_path: Path) -> Night:
    path = tmp_path / "a folder with spaces"
    path.mkdir()
    return Night(path)


def test_a_good_run_prints_nothing_and_is_in_the_log(night: Night) -> None:
    assert night.run() == (0, "", "")
    text = night.log.read_text()
    assert "ran: daily\n" in text
    assert re.search(r"^== \d{4}-\d\d-\d\d .*: exit code 0$", text, re.M)


def test_arguments_go_to_spark_submit_as_they_are(night: Night) -> None:
    assert night.run("--driver-memory", "8 g", "audit", "--sample", "5")[0] == 0
    assert "ran: --driver-memory 8 g audit --sample 5\n" in night.log.read_text()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "Readers still see the last publication"),
        (2, "A setting or an option is wrong"),
        (3, "a limit of data quality was passed"),
        (99, "ended from outside"),
    ],
)
def test_a_failure_prints_one_block_with_code_reason_and_what_to_do(night: Night, code: int, words: str) -> None:
    status, out, err = night.run(f"exit={code}")
    assert (status, err) == (code, "")
    assert f"ctr: exit={code} ended with exit code {code} on " in out.splitlines()[0]
    assert words in out
    assert out.count("| error: no event files: /srv/events does not exist; set CTR_EVENTS") == 2
    assert str(night.log) in out
    assert f"exit code {code}" in night.log.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "section"),
    [
        (1, "Exit code 1: the run stopped"),
        (2, "Exit code 2: a setting or an option is wrong"),
        (3, "Exit code 3: published, but the data needs a look"),
        (99, "Any other exit code"),
        (127, "Any other exit code"),
    ],
)
def test_it_names_the_section_to_read(night: Night, code: int, section: str) -> None:
    _, out, _ = night.run(f"exit={code}")
    assert f'  More: {OPERATIONS}, "{section}"\n' in out


def test_the_error_of_a_command_line_is_among_the_errors(night: Night) -> None:
    _, out, _ = night.run("daily", "--fast")
    assert out.count("| ./spark-submit.sh: error: unrecognized arguments: --fast\n") == 2


def test_a_job_that_was_killed_is_a_failure(night: Night) -> None:
    status, out, _ = night.run("kill")
    assert status == 137
    assert "137: kill -9" in out


def test_a_command_that_is_not_there_is_named(night: Night) -> None:
    status, out, _ = night.run(NIGHTLY_COMMAND="/nowhere/spark-submit.sh")
    assert status == 127
    assert "could not be started: /nowhere/spark-submit.sh" in out


def test_only_the_last_lines_of_this_run_are_shown(night: Night) -> None:
    night.run("exit=1")
    _, out, _ = night.run("lines=1000", "kill")
    assert "no event files" not in out
    assert "| 1000\n" in out
    assert "| 980\n" not in out


def test_a_job_never_overlaps_itself(night: Night) -> None:
    first = night.sleeping()
    try:
        status, out, err = night.run("--driver-memory", "8g", "daily")
        assert (status, out) == (75, "")
        assert f"still going on (pid {first.pid}, daily sleep, since " in err
        assert f'More: {OPERATIONS}, "Exit code 75: the run before is still going on"\n' in err
        assert "8g" not in night.log.read_text()
    finally:
        first.terminate()
    assert first.wait(30) == 143
    assert night.run()[0] == 0


def test_a_long_backfill_with_the_same_log_does_not_keep_the_night_from_running(night: Night) -> None:
    backfill = night.sleeping("backfill")
    try:
        assert night.run("--driver-memory", "8g", "daily") == (0, "", "")
        status, out, _ = night.run("daily", "exit=1")
    finally:
        backfill.terminate()
    assert status == 1
    assert "Another job wrote into this log at the same time" in out
    out, _ = backfill.communicate(timeout=30)
    assert "Another job wrote into this log at the same time" in out
    assert re.search(r": --driver-memory 8g daily: exit code 0$", night.log.read_text(), re.M)
    assert "Another job" not in night.run("daily", "exit=1")[1]


def test_a_log_that_another_job_writes_to_is_not_put_aside(night: Night) -> None:
    backfill = night.sleeping("backfill")
    try:
        for _ in range(3):
            assert night.run(NIGHTLY_LOG_BYTES="10")[0] == 0
        assert night.logs() == ["nightly.log"]
    finally:
        backfill.terminate()
        backfill.wait(30)
    assert "told to end" in night.log.read_text()
    assert night.run(NIGHTLY_LOG_BYTES="10")[0] == 0
    assert night.logs() == ["nightly.log", "nightly.log.1"]


def test_jobs_that_start_at_once_put_the_log_aside_once_and_lose_no_line(night: Night) -> None:
    jobs = ("daily", "backfill", "maintain", "audit", "replay")
    night.run("first")
    os.utime(night.log, (1_454_284_800, 1_454_284_800))
    runs = [night.start(job) for job in jobs]
    assert [run.wait(30) for run in runs] == [0] * len(jobs)
    assert night.logs() == ["nightly.log", "nightly.log.1"]
    assert "ran: first\n" in Path(f"{night.log}.1").read_text()
    text = night.log.read_text()
    assert all(f"ran: {job}\n" in text and f": {job}: exit code 0\n" in text for job in jobs)


def test_each_job_of_the_command_line_has_a_lock_of_its_own() -> None:
    listed = re.search(r"^ +((?:[a-z]+ \| )+[a-z]+)\)$", SCRIPT.read_text(), re.M)
    assert listed
    jobs = next(action for action in make_parser()._actions if action.dest == "job").choices
    assert sorted(listed[1].split(" | ")) == sorted(jobs or ())


def test_of_many_that_start_at_once_one_runs(night: Night) -> None:
    runs = [night.start("sleep") for _ in range(5)]
    try:
        end = time.monotonic() + 30
        while [run.poll() for run in runs].count(75) < 4:
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        for run in runs:
            run.terminate()
            run.wait(30)
    assert night.log.read_text().count("ran: sleep\n") == 1


def test_the_lock_is_held_as_long_as_the_job_lives_even_if_the_script_is_killed(night: Night) -> None:
    first = night.sleeping()
    first.kill()
    first.wait(30)
    assert night.run()[0] == 75
    os.killpg(first.pid, signal.SIGKILL)
    end = time.monotonic() + 30
    while night.run()[0] == 75:
        assert time.monotonic() < end
    assert "ran: daily" in night.log.read_text()


def test_to_end_the_script_ends_the_job(night: Night) -> None:
    first = night.sleeping()
    first.terminate()
    out, _ = first.communicate(timeout=30)
    assert first.returncode == 143
    assert "told to end" in night.log.read_text()
    assert "143: kill, shutdown" in out


def test_a_log_of_another_day_is_put_aside(night: Night) -> None:
    night.run("first")
    night.run("second")
    assert night.logs() == ["nightly.log"]
    os.utime(night.log, (1_454_284_800, 1_454_284_800))
    night.run("third")
    assert night.logs() == ["nightly.log", "nightly.log.1"]
    assert "ran: second" in Path(f"{night.log}.1").read_text()
    assert "ran: second" not in night.log.read_text()


def test_of_large_logs_only_so_many_are_kept(night: Night) -> None:
    for number in range(6):
        night.run(f"run-{number}", NIGHTLY_LOG_BYTES="10", NIGHTLY_LOGS_KEPT="2")
    assert night.logs() == ["nightly.log", "nightly.log.1", "nightly.log.2"]
    for name, number in (("nightly.log", 5), ("nightly.log.1", 4), ("nightly.log.2", 3)):
        assert f"ran: run-{number}\n" in (night.log.parent / name).read_text()


def test_fewer_kept_than_before_removes_the_rest(night: Night) -> None:
    for _ in range(5):
        night.run(NIGHTLY_LOG_BYTES="10")
    night.run(NIGHTLY_LOG_BYTES="10", NIGHTLY_LOGS_KEPT="1")
    assert night.logs() == ["nightly.log", "nightly.log.1"]


def test_the_block_is_mailed_where_an_address_is_set(night: Night, tmp_path: Path) -> None:
    mail = tmp_path / "bin" / "mail"
    mail.parent.mkdir()
    mail.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" > {tmp_path}/arguments\ncat > {tmp_path}/body\n')
    mail.chmod(0o755)
    path = f"{mail.parent}:/usr/bin:/bin"
    assert night.run(PATH=path, NIGHTLY_MAIL="ops@example.org") == (0, "", "")
    assert not (tmp_path / "body").exists()
    _, out, _ = night.run("exit=1", PATH=path, NIGHTLY_MAIL="ops@example.org")
    assert (tmp_path / "body").read_text() == out
    flag, subject, address = (tmp_path / "arguments").read_text().splitlines()
    assert (flag, address) == ("-s", "ops@example.org")
    assert subject == out.splitlines()[0]


@pytest.mark.skipif(shutil.which("mail", path="/usr/bin:/bin") is not None, reason="there is a command mail here")
def test_an_address_without_a_command_mail_is_said_before_it_is_needed(night: Night) -> None:
    status, _, err = night.run(NIGHTLY_MAIL="ops@example.org")
    assert status == 0
    assert "there is no command mail" in err


def test_a_log_on_a_full_disk_is_one_clear_line_and_runs_nothing(night: Night) -> None:
    night.log.parent.mkdir()
    night.log.symlink_to("/dev/full")
    status, out, err = night.run("sleep")
    assert (status, out) == (1, "")
    assert "df -h tells whether its disk is full" in err.splitlines()[-1]
    assert not Path(f"{night.stand_in}.sleeps").exists()


def test_the_command_to_run_again_can_be_pasted(night: Night) -> None:
    _, out, _ = night.run("--driver-memory", "8 g", "exit=1")
    assert rf"{SCRIPT} --driver-memory 8\ g exit=1" in out


def test_a_log_that_cannot_be_written_is_one_clear_line_and_runs_nothing(night: Night, tmp_path: Path) -> None:
    status, out, err = night.run(NIGHTLY_LOG=f"{night.stand_in}/nightly.log")
    assert (status, out) == (1, "")
    assert "set NIGHTLY_LOG to a file that" in err.splitlines()[-1]
    assert not night.log.exists()


@pytest.mark.parametrize("name", ["NIGHTLY_LOG_BYTES", "NIGHTLY_LOGS_KEPT"])
@pytest.mark.parametrize("value", ["0", "ten", "-1", "1e3"])
def test_a_setting_that_is_no_number_is_wrong_usage(night: Night, name: str, value: str) -> None:
    status, _, err = night.run(**{name: value})
    assert status == 2
    assert f"found '{value}', wanted a whole number above 0" in err


def test_help_names_every_variable_that_the_script_reads(night: Night) -> None:
    status, out, _ = night.run("--help")
    assert status == 0
    assert set(re.findall(r"NIGHTLY_[A-Z_]+", SCRIPT.read_text())) == set(
        re.findall(r"^  (NIGHTLY_[A-Z_]+)", out, re.M)
    )
    assert not night.log.exists()


CRON_LINE = re.compile(
    r"^(?:(?:\d+|\*)\s+){5}(?P<user>[a-z]+)\s+(?P<command>(?:[A-Z_]+=\S+ )*/opt/ctr/(?P<path>\S+).*)$"
)


def test_each_line_of_the_crontab_is_a_setting_or_runs_the_script_with_a_job_of_its_own_log() -> None:
    lines = [
        line for line in (ROOT / "conf" / "ctr.cron").read_text().splitlines() if line and not line.startswith("#")
    ]
    entries = [line for line in lines if not re.fullmatch(r"[A-Z_]+=\S+", line)]
    found = [CRON_LINE.match(entry) for entry in entries]
    assert all(found)
    assert all((ROOT / match["path"]).samefile(SCRIPT) for match in found if match)
    assert not any("%" in entry for entry in entries), "cron takes % for the end of the line"
    jobs = [match["command"].split("nightly.sh ")[1].split()[0] for match in found if match]
    assert jobs == ["daily", "maintain", "audit"]
    logs = re.findall(r"NIGHTLY_LOG=(\S+)", "\n".join(lines))
    assert len(set(logs)) == len(entries)
