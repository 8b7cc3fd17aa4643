"""The one owner of the SparkSession. Spark's settings stand in ``conf/spark-defaults.conf`` and in spark-submit's options."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from jobs.config import ROOT
from jobs.progress import Stages


@contextmanager
def spark_session(name: str, stages: Stages) -> Iterator[SparkSession]:
    """A session for one job, stopped at the end. Outside spark-submit the settings come from the same files."""
    os.environ.setdefault("SPARK_CONF_DIR", str(ROOT / "conf"))
    with stages.stage("session"), stages.console.status("starting Spark"):
        spark = SparkSession.builder.appName(f"ctr {name}").getOrCreate()
    _tell_once(spark)
    try:
        yield spark
    finally:
        spark.stop()


def _tell_once(spark: SparkSession) -> None:
    """Keeps py4j and PySpark from printing stack traces of their own when the JVM is gone: the error that follows says so."""
    logging.getLogger().addFilter(lambda record: record.getMessage() != "Exception while sending command.")
    server = spark.sparkContext._accumulatorServer
    tell: Callable[..., None] = server.handle_error

    def tell_others(*request: object) -> None:
        if not isinstance(sys.exc_info()[1], (EOFError, ConnectionError)):
            tell(*request)

    server.handle_error = tell_others  # type: ignore[method-assign, assignment]
