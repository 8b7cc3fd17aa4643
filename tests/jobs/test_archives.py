"""jobs/archives.py: entries of a ZIP, each read as itself."""

from __future__ import annotations

import random
import zipfile

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
