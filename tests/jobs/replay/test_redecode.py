"""Records and events decoded again by themselves give what they gave within their file, and what a fresh load would give."""

from __future__ import annotations

import pytest
from hypothesis import given

from jobs.decoding.message import View
from jobs.decoding.records import Account, Fault, Reason, Views
from jobs.replay.redecode import Decoded, decode_events, decode_record, extend
from tests.jobs.decoding.test_decode_properties import DOCUMENTS, in_chunks
from tests.jobs.layouts import BESIDE, LAYOUTS, LOST, write
from tests.jobs.messages import event, message, run, text

A, B, C = (message(event(product), event(kind="other"), message_id=product) for product in "abc")


def rows(views):
    return list(zip(views.product, views.time_ms, views.message_id, views.position, views.offset, strict=True))


@given(DOCUMENTS)
def test_no_view_is_found_in_a_reject_without_a_new_rule(data):
    decoded = run(data)
    for reject in decoded.rejects:
        if reject.position is None:
            found = decode_record(reject.raw, reject.offset, decoded.account.layout, 1 << 20)
            assert not found.views
            found.account.check("again")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_damaged_record_is_as_broken_as_it_was(layout):
    for name, (change, _) in {**LOST, **BESIDE}.items():
        decoded = run(write(layout, [A, B, C], change, 1))
        for reject in decoded.rejects:
            found = decode_record(reject.raw, reject.offset, decoded.account.layout, 1 << 20)
            assert not found.usable, name
            if reject.reason is not Reason.STRAY_TEXT and found.fault:
                assert found.fault.reason is reject.reason, name


@pytest.mark.parametrize("size", [100, 1 << 20])
@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_record_that_was_too_long_gives_what_a_load_with_a_higher_limit_gives(layout, at, size):
    """Read by small chunks the end of the record is not seen: that of the last one then holds the bracket of its array."""
    messages = [A, B, C]
    messages[at] = {**messages[at], "mpid": "x" * 30_000}
    data = write(layout, messages)
    before, after = in_chunks(data, size, record_bytes=2000), run(data, 100_000)
    [reject] = before.rejects
    assert reject.reason is Reason.TOO_LONG
    found = decode_record(reject.raw, reject.offset, before.account.layout, 100_000)
    assert found.rejects == []
    assert sorted(before.views + rows(found.views)) == sorted(after.views)
    assert before.account.views + found.account.views == after.account.views
    assert before.account.ignored + found.account.ignored == after.account.ignored
    assert (before.account.records, found.account.records) == (after.account.records, 1)


def test_a_line_of_several_messages_gives_all_of_them_where_they_stand():
    line = text(A) + b" " + text(B) + b" trailing"
    found = decode_record(line, 100, "lines", 100_000)
    assert found.views.product == ["a", "b"]
    assert found.views.offset == [100, 101 + len(text(A))]
    assert [(reject.reason, reject.offset) for reject in found.rejects] == [
        (Reason.STRAY_TEXT, 102 + len(text(A) + text(B)))
    ]
    assert (found.usable, found.fault) == (True, None)
    assert (found.account.records, found.account.decoded, found.account.quarantined_records) == (3, 2, 1)


def test_white_space_that_was_too_long_is_a_blank_record():
    found = decode_record(b" " * 300, 0, "lines", 1000)
    assert (found.usable, found.account.blank, found.account.records) == (True, 1, 1)


@pytest.mark.parametrize("layout", ["lines", "array/gzip", "objects"])
def test_a_record_without_bytes_stays_what_it_was(layout):
    found = decode_record(b"", 7, layout, 1000)
    assert (found.usable, found.fault) == (False, None)


def test_the_events_of_a_message_come_with_its_id_in_their_order():
    raw = text(message(event("a"), event(kind="other"), event(""), message_id="m"))
    message_id, events = decode_events(raw, 40)
    assert message_id == "m"
    assert isinstance(events[0], View)
    assert events[1] is None
    assert (events[2].reason, events[2].position, events[2].offset) == (Reason.PRODUCT_EMPTY, 2, 40)
    with pytest.raises(Fault):
        decode_events(raw[:-1], 40)


def test_extending_views_adds_every_column():
    views = Views(["a"], [1], ["m"], [0], [5])
    extend(views, Views(["b"], [2], [None], [3], [9]))
    assert rows(views) == [("a", 1, "m", 0, 5), ("b", 2, None, 3, 9)]
    assert Decoded(views, [], Account()).usable is False
