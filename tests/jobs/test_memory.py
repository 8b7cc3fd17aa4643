"""A process of Spark that is gone is known by the error that Spark or py4j makes of it."""

from __future__ import annotations

import os
import signal

import pytest
from py4j.protocol import Py4JError, Py4JNetworkError

from jobs.config import Config
from jobs.database import asking
from jobs.memory import memory_failure
from jobs.workers import run_tasks


@pytest.fixture
def config(tmp_path):
    return Config(events="/nowhere", lake=str(tmp_path), purchases_url="jdbc:sqlite:/nowhere", task_bytes="64m")


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.spark
@pytest.mark.slow
def test_a_worker_that_was_killed_is_told_wherever_it_worked(spark, config):
    with pytest.raises(Exception, match="Python worker exited unexpectedly") as raised:
        asking(config, lambda: run_tasks(spark, die, [1]))
    text = str(memory_failure(raised.value, config))
    assert text.startswith("a Python worker of Spark ended in the middle of its task, mostly killed by the kernel")
    assert "task_bytes (now 64 MB)" in text
    assert "\n" not in text
    assert run_tasks(spark, lambda task: [task], [1, 2]) == [1, 2]


@pytest.mark.parametrize(
    "error",
    [
        Py4JNetworkError("Answer from Java side is empty"),
        ConnectionRefusedError(111, "Connection refused"),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
)
def test_a_jvm_that_is_gone_is_known_by_its_connection(error, config):
    outer = Py4JError("An error occurred while calling o35.statusTracker")
    outer.__context__ = error
    for raised in (error, outer):
        assert str(memory_failure(raised, config)).startswith("the JVM of Spark ended in the middle of the run")


@pytest.mark.parametrize("error", [Py4JError("Method foo([]) does not exist"), OSError(5, "Input/output error")])
def test_other_errors_are_not_explained(error, config):
    assert memory_failure(error, config) is None
