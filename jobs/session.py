"""The one owner of the SparkSession. Spark's settings stand in ``conf/spark-defaults.conf`` and in spark-submit's options."""

from __future__ import annotations

import os
from collections.abc import Iterator
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
    try:
        yield spark
    finally:
        spark.stop()
