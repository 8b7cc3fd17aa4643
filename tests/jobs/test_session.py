"""jobs/session.py and conf/spark-env.sh: how Spark starts, and that the end of the JVM is told once, by the job."""

from __future__ import annotations

import logging

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.spark, pytest.mark.slow]


def handle(server, error):
    """What the server does with an error of a request."""
    try:
        raise error
    except type(error):
        server.handle_error(None, "client")


def test_pyspark_prints_no_stack_trace_when_the_jvm_is_gone_and_those_of_other_errors(spark, capsys):
    server = spark.sparkContext._accumulatorServer
    handle(server, EOFError())
    handle(server, ConnectionResetError())
    assert capsys.readouterr().err == ""
    handle(server, ValueError("other"))
    assert "ValueError: other" in capsys.readouterr().err


def test_py4j_logs_no_stack_trace_when_the_jvm_is_gone(spark, caplog):
    logging.exception("Exception while sending command.")
    logging.error("something else")
    assert caplog.messages == ["something else"]


def test_spark_starts_from_the_archive_of_classes_with_the_settings_of_the_project(spark):
    beans = spark._jvm.java.lang.management.ManagementFactory
    options = list(beans.getRuntimeMXBean().getInputArguments())
    archive = ROOT / ".cache" / "classes" / "classes.jsa"
    assert (f"-XX:SharedArchiveFile={archive}" in options) == archive.exists()
    conf = spark.sparkContext.getConf()
    assert conf.get("spark.sql.session.timeZone") == "UTC"
    assert conf.get("spark.sql.catalog.spark_catalog").endswith("DeltaCatalog")
    assert spark.sparkContext._jsc.sc().getPoolForName("purchases").isDefined()
    assert spark._jvm.org.apache.logging.log4j.LogManager.getRootLogger().getLevel().toString() == "WARN"
