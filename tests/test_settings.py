"""scripts/settings.sh gives a shell what cron gives to the jobs: values as they stand, whatever characters are in them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "scripts" / "settings.sh"

LINES = {
    "CTR_PURCHASES_URL=jdbc:postgresql://db/shop?user=ctr&sslmode=require": "jdbc:postgresql://db/shop?user=ctr&sslmode=require",
    "CTR_PURCHASES_PASSWORD=pa$$w;rd": "pa$$w;rd",
    "  CTR_LAKE  =   two words  `id` $HOME   ": "two words  `id` $HOME",
    'CTR_LAKE="  kept blanks  "': "  kept blanks",
    "CTR_LAKE='it \"says\" so'": 'it "says" so',
    'CTR_LAKE=  "quoted" \t': "quoted",
    'CTR_LAKE=a#b "c" it\'s \\n \\\\': 'a#b "c" it\'s \\n \\\\',
    'CTR_LAKE=x="y"': 'x="y"',
    'CTR_LAKE=""': "",
    "CTR_LAKE=*": "*",
    "CTR_LAKE=crlf\r": "crlf",
    "CTR_LAKE=héé \udcff": "héé \udcff",
    "NIGHTLY_LOG=/var/log/ctr/nightly.log": "/var/log/ctr/nightly.log",
    "SPARK_LOCAL_DIRS=/large/tmp": "/large/tmp",
    "PYSPARK_PYTHON=python3": "python3",
    "JAVA_HOME=/usr/lib/jvm/a java": "/usr/lib/jvm/a java",
}
"""Lines of a crontab, and the value that Debian's cron (3.0pl1-162) gave to a job for each."""


REFUSED = [
    'CTR_LAKE="no end',
    'CTR_LAKE="',
    'CTR_LAKE="a"b',
    "CTR_LAKE='a' b",
    'CTR_LAKE="a" # why',
    'CTR_LAKE="a"b"',
    "CTR_A LAKE=x",
]
"""Lines for which the same cron passed over the whole file."""

OTHERS = [
    "# CTR_LAKE=x",
    "SHELL=/bin/sh",
    "MAILTO=root",
    "",
    "15 3 * * * ctr CTR_LAKE=x NIGHTLY_LOG=y /opt/ctr/scripts/nightly.sh daily",
]


KINDS = ("CTR_", "NIGHTLY_", "SPARK_", "PYSPARK_", "JAVA_HOME", "MAILTO")


def sourced(crontab: Path, shell: str = "bash", before: str = "") -> tuple[int, dict[str, str], str]:
    """Exit code of the script in a shell, the variables there then, and what it said; ``before`` is run first."""
    done = subprocess.run(
        [
            shell,
            "-c",
            f'{before}\nscript=$1; shift; . "$script" "$1"; code=$?; env -0; exit $code',
            "-",
            str(SCRIPT),
            str(crontab),
        ],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=60,
    )
    variables = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    return done.returncode, {key: variables[key] for key in variables if key.startswith(KINDS)}, done.stderr


@pytest.fixture
def crontab(tmp_path: Path) -> Path:
    return tmp_path / "a cron tab"


def write(crontab: Path, *lines: str) -> None:
    crontab.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_value_comes_as_cron_gives_it(crontab: Path, line: str, shell: str) -> None:
    write(crontab, line)
    assert sourced(crontab, shell) == (0, {line.split("=")[0].strip(): LINES[line]}, "")


def test_all_settings_come_and_nothing_else_of_the_crontab(crontab: Path) -> None:
    write(crontab, *OTHERS[:3], "CTR_LAKE=/a", "CTR_EVENTS=/b", *OTHERS[3:], "CTR_LAKE=/c")
    assert sourced(crontab, before="set -eu") == (0, {"CTR_LAKE": "/c", "CTR_EVENTS": "/b"}, "")
    crontab.write_text("CTR_LAKE=/no/end/of/line")
    assert sourced(crontab)[1] == {"CTR_LAKE": "/no/end/of/line"}


@pytest.mark.parametrize("line", REFUSED)
def test_a_line_that_cron_does_not_take_is_named_and_nothing_is_set(crontab: Path, line: str) -> None:
    write(crontab, "CTR_EVENTS=/b", line)
    code, variables, said = sourced(crontab)
    assert (code, variables) == (2, {})
    assert said.startswith(f"{crontab}, line 2: cron does not take this setting of CTR_")


def test_a_crontab_that_is_not_there_or_sets_nothing_is_told(crontab: Path) -> None:
    assert sourced(crontab)[::2] == (
        2,
        f"cannot read the crontab {crontab}: name yours (. scripts/settings.sh FILE), as a user who may read it\n",
    )
    write(crontab, *OTHERS)
    code, variables, said = sourced(crontab)
    assert (code, variables) == (2, {})
    assert f"{crontab} sets nothing of CTR_*" in said


def test_run_instead_of_sourced_it_says_so() -> None:
    done = subprocess.run([str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "sets variables of the shell that reads it" in done.stderr


def test_the_crontab_of_the_project_is_taken() -> None:
    code, variables, said = sourced(ROOT / "conf" / "ctr.cron")
    assert (code, said) == (0, "")
    assert set(variables) == {"CTR_EVENTS", "CTR_LAKE", "CTR_PURCHASES_URL", "NIGHTLY_LOG"}
