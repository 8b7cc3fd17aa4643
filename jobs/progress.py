"""What a job says while it works: stages, and how far Spark's tasks are. A bar on a terminal, else a line now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jobs.pace import Pace

_LINE_SECONDS = 10.0


class Stages:
    """Times the stages of a run and shows each; ``seconds`` holds what each took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times the body under a name; a name met again adds up."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - begin, 3)

    @contextmanager
    def tasks(self, spark: SparkSession, text: str, total: int, size: int = 0) -> Iterator[None]:
        """Shows how many of a Spark job's tasks, which read ``size`` bytes, are done while the body runs it."""
        spark.sparkContext.setJobDescription(text)
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(spark, text, total, size, ended), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            spark.sparkContext.setJobDescription("")

    def _watch(self, spark: SparkSession, text: str, total: int, size: int, ended: threading.Event) -> None:
        with _bar(self.console) as bar:
            shown = bar.add_task(text, total=total)
            began = said = time.monotonic()
            while not ended.wait(0.5):
                try:
                    done = min(_done(spark), total)  # another job of the session may have tasks, too
                except (Py4JError, OSError):  # the JVM is gone: who waits for the tasks says so
                    return
                bar.update(shown, completed=done)
                if not self.console.is_terminal and time.monotonic() - said >= _LINE_SECONDS:
                    said = time.monotonic()
                    self.console.print(f"{text}: {how_far(done, total, size, said - began)}", highlight=False)


def how_far(done: int, total: int, size: int, seconds: float) -> str:
    """Tasks done and, from the first one on, how fast they read their ``size`` bytes and how long the others will take."""
    parts = [f"{done:,} of {total:,} tasks"]
    if done:
        parts += [Pace(size * done // total, seconds).rate] if size else []
        parts.append(f"{Pace(done, seconds).left(total - done)} left")
    return ", ".join(parts)


@contextmanager
def counting(console: Console, text: str, total: int) -> Iterator[Callable[[], None]]:
    """Shows how many of ``total`` steps are done: a bar on a terminal, else a line now and then."""
    with _bar(console) as bar:
        shown = bar.add_task(text, total=total)
        count, said = 0, time.monotonic()

        def done() -> None:
            nonlocal count, said
            count += 1
            bar.advance(shown)
            if not console.is_terminal and time.monotonic() - said >= _LINE_SECONDS:
                console.print(f"{text}: {count:,} of {total:,}", highlight=False)
                said = time.monotonic()

        yield done


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)


def _done(spark: SparkSession) -> int:
    tracker = spark.sparkContext.statusTracker()
    infos = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    return sum(info.numCompletedTasks for info in infos if info)
