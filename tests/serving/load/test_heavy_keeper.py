from __future__ import annotations

import sys
import time

import pytest

from serving.load.heavy_keeper import HeavyKeeper
from tests.serving.conftest import eventually


@pytest.fixture
def python(tmp_path, monkeypatch):
    """Puts a script in the place of Python, which the keeper starts."""

    def write(script: str) -> None:
        file = tmp_path / "python"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(file))

    return write


def test_a_process_that_has_not_begun_to_listen_is_not_waited_for(python):
    python("exec sleep 60")
    with HeavyKeeper() as keeper:
        eventually(lambda: keeper._process)
        began = time.monotonic()
    assert time.monotonic() - began < 5
