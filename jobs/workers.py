"""Runs a Python function on Spark's workers. What a worker imports before its first task is waited for: nothing here needs much."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(spark: SparkSession, function: Callable[[Task], Iterable[Result]], tasks: list[Task]) -> list[Result]:
    """What a function gives for each of the tasks, of which a worker is sent its own only; in the order of the tasks.

    No rows but small results cross to the JVM, so neither a query plan nor its compilation is needed (a second of a cold start).
    """
    if not tasks:
        return []
    return spark.sparkContext.parallelize(tasks, len(tasks)).flatMap(partial(_run, function)).collect()


def _run(function: Callable[[Task], Iterable[Result]], task: Task) -> Iterable[Result]:
    _keep_modules()
    return function(task)


@cache
def _keep_modules() -> None:
    """Takes what is there out of the garbage collection: Spark's worker does one after each task, 30 ms for modules alone."""
    gc.freeze()
