"""What the want of memory does to a job: the kernel kills Spark's JVM or one of Python's workers. Said in one line."""

from __future__ import annotations

from jobs.config import Config
from jobs.errors import error_texts

WORKER_GONE = "Python worker exited unexpectedly"
"""In the text of Spark's error when a worker died in the middle of a task."""

_JVM_GONE = ("Py4JNetworkError: ", "ConnectionRefusedError: ", "ConnectionResetError: ")
_CAUSE = "mostly killed by the kernel for want of memory (sudo dmesg -T | grep -i 'killed process')"
_REPEAT = "then run again: nothing is lost, the next run goes on from the last publication"


def memory_failure(error: BaseException, config: Config) -> str | None:
    """One line for the operator if a process of Spark is gone, else None; that of a worker is known by Spark's text."""
    texts = list(error_texts(error))
    if any(WORKER_GONE in text for text in texts):
        return (
            f"a Python worker of Spark ended in the middle of its task, {_CAUSE}: set a smaller task_bytes (now "
            f"{config.task_bytes >> 20} MB), run fewer tasks at once (./spark-submit.sh --master 'local[1]' ...) or add memory, "
            f"{_REPEAT}"
        )
    if any(text.startswith(_JVM_GONE) for text in texts):
        return (
            f"the JVM of Spark ended in the middle of the run, {_CAUSE}: let it take less "
            f"(./spark-submit.sh --driver-memory 2g ...) or add memory, {_REPEAT}"
        )
    return None
