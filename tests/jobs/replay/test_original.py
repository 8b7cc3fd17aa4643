"""The original file of a quarantined record: found again, or known to be gone, changed or unreadable."""

from __future__ import annotations

import gzip
import io
import os
import zipfile

import pytest
import zstandard

from jobs.discover import list_events, list_members
from jobs.errors import UnreadableFile
from jobs.replay.original import CHANGED, GONE, UNREADABLE, Original, open_original

TEXT = b"".join(b'{"number": %d}\n' % number for number in range(400_000))
PLACES = [0, 1, 70_000, 70_000, 3_000_000, 3_000_001, len(TEXT) - 5]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_bytes_are_those_of_the_unpacked_file_whatever_it_is_packed_in(pack):
    original = Original(io.BytesIO(pack(TEXT)))
    for offset in PLACES:
        assert original.read(offset, 100_000) == TEXT[offset : offset + 100_000]
        assert original.read(offset, 10) == TEXT[offset : offset + 10]
    assert original.read(len(TEXT) + 9, 10) == b""


def test_utf16_is_read_as_utf8():
    original = Original(io.BytesIO('{"é": 1}\n{"ü": 2}\n'.encode("utf-16")))
    assert original.read(10, 9) == '{"ü": 2}'.encode()


def test_a_message_is_read_to_its_end_and_no_further_than_the_limit():
    long = b'{"events": [], "x": "' + b"y" * 200_000 + b'"}'
    data = b"[" + long + b" , {}]"
    assert Original(io.BytesIO(data)).message(1, 1 << 20) == long
    assert Original(io.BytesIO(data)).message(1, len(long)) == long
    assert Original(io.BytesIO(data)).message(1, 100_000) == long[:100_000]
    assert Original(io.BytesIO(data)).message(len(long) + 4, 1 << 20) == b"{}"
    assert Original(io.BytesIO(b'{"half":')).message(0, 1 << 20) == b'{"half":'


@pytest.fixture
def root(tmp_path):
    (tmp_path / "iOS").mkdir()
    (tmp_path / "iOS" / "a").write_bytes(TEXT[:100])
    with zipfile.ZipFile(tmp_path / "iOS" / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("c", TEXT)
    return tmp_path


def listed(root):
    loose, archive = list_events(str(root), ()).files
    [member] = list_members(str(root), archive)
    return loose, member


def why(root, file):
    with pytest.raises(UnreadableFile) as caught, open_original(str(root), file):
        pass
    return str(caught.value)


def test_loose_files_and_members_of_archives_open_as_they_were_loaded(root):
    loose, member = listed(root)
    with open_original(str(root), loose) as original:
        assert original.read(50, 10) == TEXT[50:60]
    os.utime(root / "iOS" / "b.zip", (1, 1))  # an archive that was copied holds the same members
    with open_original(str(root), member) as original:
        assert original.read(4_000_000, 10) == TEXT[4_000_000:4_000_010]


def test_why_an_original_cannot_be_used_is_told(root):
    loose, member = listed(root)
    os.utime(root / "iOS" / "a", (1, 1))
    with zipfile.ZipFile(root / "iOS" / "b.zip", "w") as archive:
        archive.writestr("c", TEXT[1:])
    assert (why(root, loose), why(root, member)) == (CHANGED, CHANGED)
    (root / "iOS" / "b.zip").write_bytes(b"PK\x03\x04 no archive")
    assert why(root, member) == UNREADABLE
    for name in ("a", "b.zip"):
        (root / "iOS" / name).unlink()
    assert (why(root, loose), why(root, member)) == (GONE, GONE)


def test_a_file_that_changes_while_it_is_read_is_noticed(root):
    loose, _ = listed(root)
    with pytest.raises(UnreadableFile, match=CHANGED), open_original(str(root), loose):
        os.utime(root / "iOS" / "a", (1, 1))
