"""jobs/audit/raw.py: every layout, plain and damaged."""

from __future__ import annotations

import gzip
import io
import json

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.audit.raw import View, read_records, views_of
from jobs.errors import UnreadableFile
from tests.rows import NOON, event, lines, message

MESSAGES = [message(event(f"p{n}", NOON + n), message_id=str(n)) for n in range(5)]
WANTED = [View(str(n), 0, NOON + n, f"p{n}") for n in range(5)]


def read(content, layout="lines", record_bytes=1 << 20):
    """The views of a file and how many records are broken."""
    found = [
        None if record is None else views_of(record)
        for record in read_records(io.BytesIO(content), layout, record_bytes)
    ]
    return [view for views in found for view in views or []], found.count(None)


@pytest.mark.parametrize(
    ("layout", "content"),
    [
        ("lines", lines(*MESSAGES)),
        ("lines", b"\xef\xbb\xbf" + lines(*MESSAGES).replace(b"\n", b"\r\n\r\n")),
        ("lines/gzip", gzip.compress(lines(*MESSAGES))),
        ("lines/zstd", zstandard.compress(lines(*MESSAGES[:2])) + zstandard.compress(lines(*MESSAGES[2:]))),
        ("lines/utf-16-le", lines(*MESSAGES).decode().encode("utf-16-le")),
        ("lines/gzip/utf-16-be", gzip.compress(lines(*MESSAGES).decode().encode("utf-16-be"))),
        ("array", json.dumps(MESSAGES).encode()),
        ("array", json.dumps(MESSAGES, indent=2).encode()),
        ("array/gzip", gzip.compress(json.dumps(MESSAGES, indent=1).encode())),
        ("objects", b"\n".join(json.dumps(item, indent=4).encode() for item in MESSAGES)),
        ("objects", b"".join(json.dumps(item).encode() for item in MESSAGES)),
    ],
)
def test_every_layout_gives_its_views(layout, content):
    assert read(content, layout) == (WANTED, 0)


def test_an_empty_file_has_no_record():
    assert read(b"", "empty") == ([], 0)


def test_two_objects_on_a_line_are_two_records_and_a_blank_line_is_none():
    content = b"".join(json.dumps(item).encode() for item in MESSAGES[:2]) + b"\n \n" + lines(*MESSAGES[2:])
    assert read(content) == (WANTED, 0)


BROKEN = {
    "cut": json.dumps(MESSAGES[0])[:-20].encode(),
    "no JSON": b'{"events": NaN}',
    "no object": b"17",
    "an array of events": b'{"events": {}}',
    "no UTF-8": b'{"events": [], "mpid": "\xff"}',
    "message_id": b'{"events": [], "message_id": true}',
    "half of a pair": b'{"events": [], "message_id": "\\ud800"}',
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_record_costs_itself_alone(broken):
    good = [json.dumps(item).encode() for item in MESSAGES]
    assert read(b"\n".join([*good[:2], broken, *good[2:]])) == (WANTED, 1)
    assert read(b"[" + b",\n".join([*good[:2], broken, *good[2:]]) + b"]", "array") == (WANTED, 1)


def test_an_array_without_its_end_has_one_broken_record():
    assert read(json.dumps(MESSAGES).encode().rstrip(b"]") + b"]}", "array") == (WANTED, 0 + 1)
    assert read(json.dumps(MESSAGES).encode()[:-1], "array") == (WANTED, 1)


@pytest.mark.parametrize("layout", ["lines", "objects"])
def test_a_record_beyond_record_bytes_is_broken_and_not_held(layout):
    long = json.dumps({"events": [], "mpid": "x" * 5_000_000}).encode()
    content = b"\n".join(
        [json.dumps(MESSAGES[0]).encode(), long[:-1], *(json.dumps(item).encode() for item in MESSAGES[1:])]
    )
    assert read(content, layout, record_bytes=2000) == (WANTED, 1)


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(lines(*MESSAGES), mtime=0)[:-12], gzip.compress(b"x" * 99, mtime=0)[:15]]
)
def test_what_cannot_be_unpacked_is_unreadable(content):
    with pytest.raises(UnreadableFile, match="cannot be unpacked"):
        read(content, "lines/gzip")


@pytest.mark.parametrize(
    ("time", "wanted"),
    [(NOON, NOON), (NOON + 0.9, NOON), (f" {NOON}.99 ", NOON), (946_684_800_000, 946_684_800_000)],
)
def test_times_are_rounded_down_to_the_millisecond(time, wanted):
    assert views_of(message(event("p", time))) == [View("m-1", 0, wanted, "p")]


UNUSABLE = [
    event("p", None), event("p", "noon"), event("p", True), event("p", 946_684_799_999), event("p", 4_102_444_800_000),
    event("p", [NOON]), event(None), event(7), event(" "), event("x" * 513), event("a\0b"), event("\ud800"),
    event(name="cart"), event(kind="session_start"), {"event_type": "custom_event", "data": "text"}, [], None, 7,
]  # fmt: skip


def test_events_that_are_no_view_are_passed_over_and_keep_their_neighbours_positions():
    assert views_of(message(*UNUSABLE, event("p"))) == [View("m-1", len(UNUSABLE), NOON, "p")]


@pytest.mark.parametrize(("given_id", "wanted"), [(None, None), ("", None), ("a", "a"), (12, "12"), ("12", "12")])
def test_message_ids_are_text_or_none(given_id, wanted):
    assert views_of(message(message_id=given_id)) == [View(wanted, 0, NOON, "10_001")]


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["events", "mpid", "x"]), st.none() | st.text(), min_size=1), max_size=9)
)
def test_any_objects_come_back_from_every_layout(objects):
    texts = [json.dumps(item, ensure_ascii=False).encode("utf-8", "replace") for item in objects]
    wanted = [json.loads(text) for text in texts]
    layouts = {"lines": b"\n".join(texts), "objects": b" ".join(texts), "array": b"[" + b",".join(texts) + b"]"}
    for layout, content in layouts.items():
        assert list(read_records(io.BytesIO(content), layout, 1 << 20)) == wanted


def test_the_real_file_is_read_whole(real_file):
    views, broken = read(real_file.read_bytes(), "array/gzip")
    assert (len(views), broken, len({view.product for view in views})) == (47_633, 0, 4_051)
