import gzip
import io

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from jobs.decoding.unpack import Source, is_plain, unpack, utf16_without_mark
from jobs.errors import UnreadableFile

TEXT = b'{"events":[]}\n' * 3000


def everything(data: bytes, size: int = 1000) -> tuple[bytes, list[str]]:
    source, wrappers = unpack(io.BytesIO(data))
    parts = []
    while part := source.read(size):
        parts.append(part)
    assert all(len(part) == size for part in parts[:-1])
    return b"".join(parts), wrappers


@pytest.mark.parametrize(
    ("packed", "wrappers"),
    [
        (TEXT, []),
        (b"\xef\xbb\xbf" + TEXT, []),
        (gzip.compress(TEXT), ["gzip"]),
        (zstandard.compress(TEXT), ["zstd"]),
        (TEXT.decode().encode("utf-16"), ["utf-16-le"]),
        (b"\xfe\xff" + TEXT.decode().encode("utf-16-be"), ["utf-16-be"]),
        (TEXT.decode().encode("utf-16-le"), ["utf-16-le"]),
        (TEXT.decode().encode("utf-16-be"), ["utf-16-be"]),
        (gzip.compress(TEXT.decode().encode("utf-16")), ["gzip", "utf-16-le"]),
        (zstandard.compress(TEXT.decode().encode("utf-16-be")), ["zstd", "utf-16-be"]),
        (gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]) + b"\0" * 100, ["gzip"]),
        (zstandard.compress(TEXT[:100]) + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstandard.compress(TEXT[100:]), ["zstd"]),
        (b"\x5f\x2a\x4d\x18\x03\0\0\0abc" + zstandard.compress(TEXT), ["zstd"]),
    ],
)
def test_a_file_is_known_by_its_first_bytes(packed, wrappers):
    content, found = everything(packed)
    assert found == wrappers
    assert content.removeprefix(b"\xef\xbb\xbf") == TEXT
    assert is_plain(packed[:65_536]) == (not wrappers)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_file_that_is_cut_anywhere_is_unreadable(pack):
    packed = pack(TEXT)
    for cut in (5, 12, len(packed) // 2, len(packed) - 5, len(packed) - 1):
        with pytest.raises(UnreadableFile, match="compressed file is cut or damaged"):
            everything(packed[:cut])


@pytest.mark.parametrize(
    "pack", [gzip.compress, lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data)]
)
def test_a_damaged_file_is_unreadable(pack):
    packed = bytearray(pack(TEXT))
    packed[-6] ^= 0x55
    with pytest.raises(UnreadableFile, match="compressed file is cut or damaged"):
        everything(bytes(packed))


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_something_else_behind_compressed_data_is_never_passed_over(pack):
    with pytest.raises(UnreadableFile):
        everything(pack(TEXT) + TEXT)


def test_a_failing_disk_is_an_unreadable_file():
    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(UnreadableFile, match=r"cannot read the file: .*Input/output error"):
        unpack(Broken())


def test_a_bomb_is_unpacked_little_by_little():
    tracemalloc = pytest.importorskip("tracemalloc")
    bombs = [gzip.compress(bytes(200_000_000), 1), zstandard.compress(bytes(200_000_000))]
    for bomb in bombs:
        source, _ = unpack(io.BytesIO(bomb))
        tracemalloc.start()
        total = 0
        while part := source.read(1 << 20):
            total += len(part)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == 200_000_000
        assert peak < 64_000_000


def test_broken_utf16_costs_bytes_that_are_no_utf8_and_not_the_file():
    lone = "a\n".encode("utf-16") + b"\x00\xd8" + "\nb".encode("utf-16-le")
    assert everything(lone)[0] == b"a\n\xed\xa0\x80\nb"
    assert everything("ab".encode("utf-16") + b"\x01")[0] == b"ab\xff"
    assert everything("ab".encode("utf-16") + b"\x00\xd8")[0] == b"ab\xff"


@given(st.text(), st.sampled_from(["utf-16-le", "utf-16-be"]), st.integers(6, 50))
def test_utf16_reads_as_the_same_text(text, encoding, size):
    mark = "\ufeff".encode(encoding)
    content, wrappers = everything(mark + text.encode(encoding), size)
    assert (content.decode(), wrappers) == (text, [encoding])


def test_nuls_here_and_there_are_no_utf16():
    assert utf16_without_mark(b'{"a":"\0\0\0\0\0\0\0\0"}') is None
    assert utf16_without_mark(b'{"a":"b\0"}') is None
    assert utf16_without_mark(bytes(1000)) is None
    assert utf16_without_mark(b"") is None


@given(st.binary(max_size=100), st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=8), st.integers(1, 7))
def test_looking_ahead_changes_nothing_of_what_is_read(data, steps, short):
    class Short(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, short))

    source, at = Source(Short(data)), 0
    for ahead, size in steps:
        if ahead:
            assert source.peek(size)[:size] == data[at : at + size]
        else:
            assert source.read(size) == data[at : at + size]
            at = min(at + size, len(data))
