"""jobs/paths.py: one text for one file, and back."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.paths import archive_of, below_root, member_of, written, written_member

NAMES = st.text(st.sampled_from("!a./"), min_size=1, max_size=8)
BYTES = st.lists(st.sampled_from([b"\xe3", b"\x80", b"\\", b"x5c", b"xe3", "ã".encode(), b"!"]), min_size=1).map(
    b"".join
)


@pytest.mark.parametrize(
    ("archive", "member", "text"),
    [
        ("iOS/a.json", None, "iOS/a.json"),
        ("iOS/sale!.json", None, "iOS/sale!!.json"),
        ("iOS/x.zip", "d/a.json", "iOS/x.zip!d/a.json"),
        ("iOS/x.zip", "./a!b!.json", "iOS/x.zip!./a!b!.json"),
        ("iOS/x.zip", "!a", "iOS/x.zip!./!a"),
        ("iOS/x!.zip", "a", "iOS/x!!.zip!a"),
        ("iOS/vis\udce3o.json", None, r"iOS/vis\xe3o.json"),
        (r"iOS/vis\xe3o.json", None, r"iOS/vis\x5cxe3o.json"),
        (r"iOS/a\x41\b", r"vis\xe3o", r"iOS/a\x41\b!vis\xe3o"),
    ],
)
def test_paths_as_the_ledger_writes_them(archive, member, text):
    assert (written(archive) if member is None else written_member(written(archive), member)) == text
    assert (below_root(text), member_of(text)) == (archive, member)


@given(NAMES | BYTES.map(os.fsdecode), NAMES | st.none())
def test_every_path_comes_back_from_its_text(path, member):
    text = written(path) if member is None else written_member(written(path), member)
    text.encode()
    assert (archive_of(text), below_root(text), member_of(text)) == (written(path), path, member)
