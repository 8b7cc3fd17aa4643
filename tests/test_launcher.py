"""conf/spark-env.sh as Spark's launcher sources it: what of the start it changes, and where it changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

SUBMIT = "org.apache.spark.deploy.SparkSubmit"


class Project:
    """A project folder with its own conf and, mostly, an archive of classes."""

    def __init__(self, folder: Path) -> None:
        self.conf = folder / "conf"
        shutil.copytree(ROOT / "conf", self.conf)
        self.classes = folder / ".cache" / "classes"
        (self.classes / "conf").mkdir(parents=True)
        (self.classes / "classes.jsa").touch()

    def launched(self, *words: str, **env: str) -> tuple[Path, str, list[str]]:
        """The folder of settings, the options of the JVM, and the words that Spark's launcher goes on with."""
        script = (
            'set -a; . "$SPARK_CONF_DIR/spark-env.sh"; printf "%s\\0" "$SPARK_CONF_DIR" "${SPARK_SUBMIT_OPTS:-}" "$@"'
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
        done = subprocess.run(
            ["bash", "-c", script, "spark-class", *words],
            env={**kept, "SPARK_CONF_DIR": str(self.conf), **env},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        folder, options, *rest = done.stdout.split("\0")[:-1]
        return Path(folder), options, rest


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_with_an_archive_every_setting_is_named_and_the_folder_on_the_path_of_classes_is_empty(
    project: Project,
) -> None:
    folder, options, words = project.launched(SUBMIT, "--name", "a b", "pyspark-shell", SPARK_SUBMIT_OPTS="-Dmine=1")
    assert list(folder.iterdir()) == []
    assert f'"-XX:SharedArchiveFile={project.classes}/classes.jsa"' in options
    assert f'"-Dlog4j2.configurationFile={project.conf}/log4j2.properties"' in options
    assert options.endswith(" -Dmine=1")
    assert words == [
        SUBMIT, "--properties-file", f"{project.conf}/spark-defaults.conf",
        "--conf", f"spark.scheduler.allocation.file=file:{project.conf}/fairscheduler.xml",
        "--name", "a b", "pyspark-shell",
    ]  # fmt: skip


def test_while_the_archive_is_made_spark_starts_the_same_way_without_it(project: Project) -> None:
    (project.classes / "classes.jsa").unlink()
    folder, options, words = project.launched(SUBMIT)
    assert folder == project.classes / "conf"
    assert "SharedArchiveFile" not in options
    assert "--properties-file" in words


@pytest.mark.parametrize("why", ["no archive", "core-site.xml", "metrics.properties", "another program"])
def test_else_nothing_changes(project: Project, why: str) -> None:
    words = [SUBMIT, "--name", "x"]
    if why == "no archive":
        shutil.rmtree(project.classes)
    elif why == "another program":
        words[0] = "org.apache.spark.deploy.worker.Worker"
    else:
        (project.conf / why).touch()
    assert project.launched(*words) == (project.conf, "", words)


def test_files_that_spark_would_look_for_are_all_named(project: Project) -> None:
    known = {"spark-defaults.conf", "spark-env.sh", "log4j2.properties", "fairscheduler.xml"}
    ours = {"ctr.toml", "ctr.cron"}
    assert {file.name for file in project.conf.iterdir()} == known | ours
