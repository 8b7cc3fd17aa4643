"""jobs/session.py: the end of the JVM is told once, by the job."""

from __future__ import annotations

import logging

import pytest

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
