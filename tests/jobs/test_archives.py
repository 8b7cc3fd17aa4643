"""jobs/archives.py: entries of a ZIP, each read as itself."""

from __future__ import annotations

import os
import random
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.archives import etag_of, list_entries, open_entry
from jobs.errors import UnreadableFile


def archive(path, *entries, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as content:
        for name, data in entries:
            content.writestr(name, data)
    return path


def read(path, name, entry):
    with open_entry(path, name, entry.file_size, etag_of(entry)) as stream:
        return stream.read()


@pytest.fixture
def opened(monkeypatch):
    """The archives that were opened, each as often as it was."""
    paths = []

    class Counted(zipfile.ZipFile):
        def __init__(self, file, *arguments):
            super().__init__(file, *arguments)
            if self.mode == "r":
                paths.append(file)

    monkeypatch.setattr("jobs.archives.zipfile.ZipFile", Counted)
    return paths


def descriptors(folder):
    """How many files of the folder this process has open."""
    links = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return sum(link.readlink().is_relative_to(folder) for link in links)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entries_of_one_name_are_numbered_past_real_names_and_each_is_read_as_itself(tmp_path):
    entries = [("a", b"first"), ("a#2", b"real"), ("a", b"second"), ("b", b"other"), ("a", b"third")]
    path = archive(tmp_path / "x.zip", *entries)
    found = {name: read(path, name, entry) for name, entry in list_entries(path).items()}
    assert found == {"a": b"first", "a#2": b"real", "a#3": b"second", "b": b"other", "a#4": b"third"}


def test_folders_and_litter_are_no_entries(tmp_path):
    path = archive(tmp_path / "x.zip", ("d/", b""), ("d/.DS_Store", b"1"), ("__MACOSX/d/a", b"2"), ("d/a", b"3"))
    assert list(list_entries(path)) == ["d/a"]


def test_an_entry_that_became_another_is_not_read(tmp_path):
    path = archive(tmp_path / "x.zip", ("a", b"old"))
    listed = list_entries(path)["a"]
    for entries in ([("a", b"new")], [("b", b"old")]):
        archive(path, *entries)
        with pytest.raises(UnreadableFile, match="its ZIP was changed since it was listed"):
            read(path, "a", listed)


WORDS = bytes(random.Random(1).choices(range(97, 123), k=5000))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_entry_whose_bytes_were_damaged_is_unreadable_by_whatever_method_it_was_packed(tmp_path, method):
    path = archive(tmp_path / "x.zip", ("a", WORDS), method=method)
    content = bytearray(path.read_bytes())
    content[200:260] = b"\xff" * 60
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"damaged in its ZIP|cannot be read: Invalid data stream"):
        read(path, "a", list_entries(path)["a"])


@pytest.mark.parametrize(
    ("at", "damage"),
    [
        pytest.param(28, b"\0\0", id="a name of no letters"),
        pytest.param(8, b"\0\x08" + b"\0" * 36 + b"\xff", id="a name that is no UTF-8"),
        pytest.param(6, b"\xff", id="a version that is not known"),
    ],
)
def test_a_damaged_directory_makes_the_archive_unreadable(tmp_path, at, damage):
    path = archive(tmp_path / "x.zip", ("a", WORDS))
    content = bytearray(path.read_bytes())
    at += content.rindex(b"PK\x01\x02")
    content[at : at + len(damage)] = damage
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match="not a readable ZIP"):
        list_entries(path)


def test_a_failure_of_who_reads_is_not_taken_for_damage(tmp_path):
    path = archive(tmp_path / "x.zip", ("a", WORDS))
    entry = list_entries(path)["a"]
    with pytest.raises(ValueError, match="mine"), open_entry(path, "a", entry.file_size, etag_of(entry)):
        raise ValueError("mine")


NUMBERED = [(f"{number:03}", WORDS + b"%d" % number) for number in range(200)]


def test_an_archive_is_opened_once_for_all_of_its_entries_and_each_archive_closed_for_the_next(tmp_path, opened):
    paths = [archive(tmp_path / f"{number}.zip", *NUMBERED) for number in range(3)]
    listed = {path: list_entries(path) for path in paths}
    opened.clear()
    for path in paths:
        for name, content in NUMBERED:
            assert read(path, name, listed[path][name]) == content
    assert opened == paths
    assert descriptors(tmp_path) == 1


def test_threads_read_one_archive_at_once_each_opens_it_once_and_closes_it_at_its_end(tmp_path, opened):
    path = archive(tmp_path / "x.zip", *NUMBERED)
    listed = list_entries(path)
    opened.clear()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda named: read(path, named[0], listed[named[0]]), NUMBERED))
    assert found == [content for _, content in NUMBERED]
    assert len(opened) <= 4
    assert descriptors(tmp_path) == 0


def test_an_archive_that_was_changed_or_replaced_is_opened_anew(tmp_path, opened):
    path = archive(tmp_path / "x.zip", ("a", b"one"))
    assert read(path, "a", list_entries(path)["a"]) == b"one"
    archive(path, ("a", b"three"))
    assert read(path, "a", list_entries(path)["a"]) == b"three"
    now = path.stat()
    other = archive(tmp_path / "y.zip", ("a", b"seven"))
    os.utime(other, ns=(now.st_atime_ns, now.st_mtime_ns))
    other.replace(path)  # of the same size and time
    assert read(path, "a", list_entries(path)["a"]) == b"seven"
    assert descriptors(tmp_path) == 1


def test_an_entry_is_read_to_its_end_though_its_archive_is_replaced_and_others_are_opened(tmp_path):
    content = random.Random(2).randbytes(1_000_000)
    path = archive(tmp_path / "x.zip", ("a", content))
    entry = list_entries(path)["a"]
    with open_entry(path, "a", entry.file_size, etag_of(entry)) as stream:
        begin = stream.read(10)
        archive(tmp_path / "new.zip", ("a", content[::-1])).replace(path)
        assert read(path, "a", list_entries(path)["a"]) == content[::-1]
        assert begin + stream.read() == content
    assert descriptors(tmp_path) == 1


def test_an_entry_whose_archive_is_written_over_meanwhile_is_unreadable(tmp_path):
    content = random.Random(2).randbytes(1_000_000)
    path = archive(tmp_path / "x.zip", ("a", content))
    entry = list_entries(path)["a"]
    with open_entry(path, "a", entry.file_size, etag_of(entry)) as stream:
        stream.read(10)
        archive(path, ("a", content[::-1]))
        with pytest.raises(UnreadableFile, match="damaged in its ZIP"):
            stream.read()
