from __future__ import annotations

import sys
import tempfile
import time
from itertools import pairwise

import pytest

from serving.errors import SettingsError
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


def test_a_process_that_dies_at_once_is_started_again_after_longer_and_longer_waits(python, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.load.heavy_keeper._AGAIN_SECONDS", 0.05)
    starts = tmp_path / "starts"
    python(f"date +%s.%N >> {starts}; exit 1")
    with HeavyKeeper():
        times = eventually(lambda: starts.exists() and len(found := starts.read_text().split()) > 4 and found)
    waits = [float(after) - float(before) for before, after in pairwise(times[:5])]
    assert all(wait >= 0.05 * 2**number for number, wait in enumerate(waits))


def test_a_path_of_temporary_files_that_is_too_long_for_a_socket_is_refused(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(
        SettingsError, match=r"is too long by \d+ bytes for a socket in it; set TMPDIR to a shorter one"
    ):
        HeavyKeeper()
    assert list(long.iterdir()) == []
