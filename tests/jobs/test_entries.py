"""jobs/entries.py: entries of every method, read in pieces, with bounded memory."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zipfile

import pytest

from jobs.entries import LONGEST_DICTIONARY, open_unpacked

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
UNPACKED_HERE = [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
WORDS = bytes(random.Random(1).choices(range(97, 123), k=300_000))


def packed(path, content, method):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a", content)
    return path


@pytest.fixture
def opened(tmp_path):
    """Opens the one entry of an archive; a change of its directory and one of the file's bytes may come before."""
    archives = []

    def open_(content, method, entry_changes=(), damage=()):
        path = packed(tmp_path / "x.zip", content, method)
        written = bytearray(path.read_bytes())
        for at, bytes_ in damage:
            written[at : at + len(bytes_)] = bytes_
        path.write_bytes(written)
        archives.append(zipfile.ZipFile(path))
        entry = archives[-1].getinfo("a")
        for name, value in entry_changes:
            setattr(entry, name, value)
        return open_unpacked(archives[-1], entry)

    yield open_
    for archive in archives:
        archive.close()


def pieces(stream, size):
    """What is read, so much at a time."""
    return list(iter(lambda: stream.read(size), b""))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("content", [b"", b"1", WORDS])
def test_an_entry_comes_as_it_was_packed_and_never_more_of_it_than_was_asked_for(opened, content, method):
    found = pieces(opened(content, method), 777)
    assert b"".join(found) == content
    assert max(map(len, found), default=0) <= 777


@pytest.mark.parametrize("method", METHODS[1:])
def test_an_entry_packed_to_a_thousandth_of_its_size_takes_little_memory(opened, method):
    content = bytes(64 << 20)
    stream = opened(content, method)
    del content
    tracemalloc.start()
    try:
        assert sum(map(len, iter(lambda: stream.read(1 << 16), b""))) == 64 << 20
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", METHODS)
def test_a_reader_may_go_back_and_forth(opened, method):
    stream = opened(WORDS, method)
    for offset, whence, at in [(200_000, 0, 200_000), (-100_005, 1, 100_000), (-9, 2, 299_991), (0, 0, 0)]:
        assert stream.seek(offset, whence) == at
        assert stream.tell() == at
        assert stream.read(5) == WORDS[at : at + 5]
    stream.seek(10**9)
    assert stream.read(5) == b""


@pytest.mark.parametrize("method", UNPACKED_HERE)
def test_an_entry_that_is_not_what_its_archive_states_is_told_at_its_end(opened, method):
    with pytest.raises(zipfile.BadZipFile, match="bad CRC-32 of a"):
        pieces(opened(WORDS, method, [("CRC", 1)]), 1 << 16)
    with pytest.raises(zipfile.BadZipFile, match="bad CRC-32 of a"):
        pieces(opened(WORDS, method, [("file_size", len(WORDS) - 1)]), 1 << 16)


@pytest.mark.parametrize("method", UNPACKED_HERE)
@pytest.mark.parametrize("change", [("file_size", len(WORDS) + 1), ("compress_size", 50_000)])
def test_an_entry_that_ends_too_early_is_told(opened, method, change):
    with pytest.raises(EOFError):
        pieces(opened(WORDS, method, [change]), 1 << 16)


def test_an_entry_of_lzma_needs_no_mark_at_its_end(opened, tmp_path):
    with zipfile.ZipFile(packed(tmp_path / "whole.zip", WORDS, zipfile.ZIP_LZMA)) as whole:
        size = whole.getinfo("a").compress_size
    without = opened(WORDS, zipfile.ZIP_LZMA, [("compress_size", size - 6)])
    assert b"".join(pieces(without, 1 << 16)) == WORDS


HEAD = 31  # of the file: 30 bytes and the name


def test_a_dictionary_that_would_take_too_much_memory_is_refused_unless_the_entry_is_smaller(opened):
    long = [(HEAD + 5, struct.pack("<I", LONGEST_DICTIONARY + 1))]
    assert b"".join(pieces(opened(WORDS, zipfile.ZIP_LZMA, damage=long), 1 << 16)) == WORDS
    with pytest.raises(NotImplementedError, match="a dictionary of 128 MB, wanted at most 128 MB; pack it by deflate"):
        opened(WORDS, zipfile.ZIP_LZMA, [("file_size", 1 << 30)], damage=long)


def test_properties_of_another_length_are_damage(opened):
    with pytest.raises(zipfile.BadZipFile, match="6 bytes of LZMA properties, wanted 5"):
        opened(WORDS, zipfile.ZIP_LZMA, damage=[(HEAD + 2, b"\6")])


def test_a_method_that_is_not_known_is_named(opened):
    with pytest.raises(NotImplementedError, match="packed by method 93; pack it by deflate"):
        opened(WORDS, zipfile.ZIP_STORED, [("compress_type", 93)])
