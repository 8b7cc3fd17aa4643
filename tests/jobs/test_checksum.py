"""Checksums made piece by piece."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import checksum
from jobs.checksum import HashingReader, combine, content_checksum


@pytest.fixture(autouse=True)
def small_leaves(monkeypatch):
    monkeypatch.setattr(checksum, "LEAF", 8)


def leaves(data, start, end, step):
    reader = HashingReader(io.BytesIO(data), start, end)
    reader.seek(max(start - 1, 0))
    while reader.read(step):
        pass
    reader.drain()
    return reader.leaves()


@settings(deadline=None)
@given(st.binary(max_size=100), st.integers(1, 40), st.integers(1, 5))
def test_pieces_at_multiples_of_a_leaf_give_the_checksum_of_the_whole(data, step, leaves_a_piece):
    size = 8 * leaves_a_piece
    parts = [leaves(data, start, min(start + size, len(data)), step) for start in range(0, len(data), size)]
    assert combine([leaf for part in parts for leaf in part]) == content_checksum(io.BytesIO(data))


@settings(deadline=None)
@given(st.binary(max_size=50), st.binary(max_size=50))
def test_different_contents_have_different_checksums(one, other):
    same = content_checksum(io.BytesIO(one)) == content_checksum(io.BytesIO(other))
    assert same == (one == other)


def test_a_reader_that_stops_early_is_drained_to_its_end():
    reader = HashingReader(io.BytesIO(b"0123456789abcdef"), 0, None)
    reader.read(3)
    reader.drain()
    assert combine(reader.leaves()) == content_checksum(io.BytesIO(b"0123456789abcdef"))
