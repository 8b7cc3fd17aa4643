"""The one owner of the SparkSession. Spark's settings stand in ``conf/spark-defaults.conf`` and in spark-submit's options."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from jobs.config import ROOT
from jobs.datafiles import DataFile
from jobs.lake import Lake
from jobs.progress import Stages
from jobs.schemas import Table


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


def read_files(spark: SparkSession, lake: Lake, table: Table, files: Iterable[DataFile]) -> DataFrame:
    """The rows of these data files of a table, all its columns in schema order; no files give an empty frame.

    The driver knows the files from the table's log, so Spark need not read the log again (seconds a table).
    """
    schema = from_arrow_schema(table.schema)
    root = lake.uri(table)
    paths = [f"{root}/{file.path}" for file in files]
    if not paths:
        return spark.createDataFrame([], schema)
    return spark.read.schema(schema).option("basePath", root).parquet(*paths).select(table.columns)
