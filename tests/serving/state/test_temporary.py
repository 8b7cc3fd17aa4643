from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from serving.settings import ROOT
from serving.state.temporary import TemporaryFolder, delete_left, make_again

OTHER = """
import sys, time
from pathlib import Path
from serving.state.temporary import TemporaryFolder
folder = TemporaryFolder("serving")
Path(folder.name, "duckdb_temp_storage_DEFAULT-0.tmp").write_bytes(b"spilt")
print(folder.name, flush=True)
time.sleep(60)
"""


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The system's place for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_left_goes_with_the_next_start_and_not_before_it_was_killed(place):
    command = [sys.executable, "-c", OTHER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        left = Path(other.stdout.readline().strip())
        with TemporaryFolder("heavy") as own:
            assert {left, Path(own)} == set(place.iterdir())
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert left.exists()
        with TemporaryFolder("serving") as own:
            assert [Path(own)] == list(place.iterdir())
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("by_another", [False, True])
def test_a_folder_that_is_made_again_is_locked_by_each_that_uses_it(place, by_another):
    with TemporaryFolder("workers") as own:
        make_again(own)
        Path(own).rmdir()
        if by_another:
            Path(own).mkdir()
        make_again(own)
        (Path(own) / "counter_1.db").touch()
        delete_left()
        assert (Path(own) / "counter_1.db").exists()


def old(path: Path) -> Path:
    os.utime(path, (0, 0))
    return path


def test_nothing_else_is_deleted(place, monkeypatch):
    (place / "precious").mkdir()
    (place / "precious" / "file").write_text("precious")
    (place / "ctr-serving-link").symlink_to(place / "precious")
    (place / "ctr-serving-file").write_text("no folder")
    (place / "ctr-serving-about_to_be_locked").mkdir()
    for name in ("ctr-serving", "ctr-serving-a.b", "ctr-other-abc"):
        (place / name).mkdir()
        old(place / name)
    before = set(place.rglob("*"))
    delete_left()
    assert set(place.rglob("*")) == before
    old(place / "ctr-serving-about_to_be_locked")
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        delete_left()
    assert set(place.rglob("*")) == before
    delete_left()
    assert before - set(place.rglob("*")) == {place / "ctr-serving-about_to_be_locked"}
