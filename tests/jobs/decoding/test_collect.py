import hashlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.decoding import collect
from jobs.decoding.collect import Collector, decode_typed, is_utf8
from jobs.decoding.message import ID_BYTES, decode_message
from jobs.decoding.records import Account, Fault, Reason
from tests.jobs.messages import T, event, message, run, text

LENGTHS = st.integers(0, 80) | st.integers(250, 260) | st.integers(60, 4000)
NUMBERS = st.integers() | LENGTHS.map(lambda digits: 10**digits)
MESSAGE_IDS = st.none() | NUMBERS | st.builds(lambda sign, length: sign * length, st.sampled_from("xé€😀"), LENGTHS)


def typed(*messages):
    collector, raws = Collector(Account()), [text(one) for one in messages]
    batches = list(collector.typed([decode_typed(raw) for raw in raws], list(range(len(raws))), raws.__getitem__))
    return collector, [*batches, collector.take()]


def test_plain_messages_become_columns():
    collector, [(views, rejects)] = typed(
        message(event("a"), event(kind="x"), event("b", str(T)), message_id=7), message()
    )
    assert (views.product, views.time_ms, views.message_id) == (["a", "b"], [T, T], ["7", "7"])
    assert (views.position, views.offset, rejects) == ([0, 2], [0, 0], [])
    assert collector.account == Account(0, 0, 2, 2, 0, 0, 3, 2, 1, 0, T, T)


def test_a_message_with_a_doubt_keeps_its_place_among_the_others():
    _, [(views, rejects)] = typed(message(event("a")), message(event("b"), event(""), event("c")), message(event("d")))
    assert views.product == ["a", "b", "c", "d"]
    assert views.offset == [0, 1, 1, 2]
    assert [(reject.offset, reject.position, reject.reason) for reject in rejects] == [(1, 1, Reason.PRODUCT_EMPTY)]


@pytest.mark.parametrize(("sign", "most"), [("x", 256), ("é", 128), ("€", 85), ("😀", 64)])
def test_an_id_of_more_than_256_bytes_is_kept_as_its_digest(sign, most):
    found = run(b"\n".join(text(message(event(), message_id=sign * length)) for length in (most, most + 1)))
    digest = hashlib.sha256((sign * (most + 1)).encode()).hexdigest()
    assert [view[2] for view in found.views] == [sign * most, f"sha256:{digest}"]


@settings(deadline=None)
@given(st.lists(MESSAGE_IDS, min_size=1, max_size=6))
@example(["x" * 5000, "é" * 5000, 10**4000])
def test_both_ways_keep_the_same_id_equal_for_equal_ones_and_short(ids):
    raws = [text(message(event(), event(), message_id=one)) for one in ids]
    kept = [view[2] for view in run(b"\n".join(raws)).views]
    assert kept == [decode_message(raw).message_id for raw in raws for _ in range(2)]
    assert all(one is None or len(one.encode()) <= ID_BYTES for one in kept)
    assert len(set(kept)) == len({None if one in (None, "") else str(one) for one in ids})


def test_a_product_is_learned_once_and_the_memory_for_them_is_bounded(monkeypatch):
    monkeypatch.setattr(collect, "_KNOWN_PRODUCTS", 10)
    collector, [(views, _)] = typed(*[message(event(f"p{index % 25}")) for index in range(100)])
    assert views.product == [f"p{index % 25}" for index in range(100)]
    assert len(collector._known) <= 10


def test_times_of_the_account_are_those_of_the_views_of_all_batches():
    collector, _ = typed(message(event(time=T), event(time=T + 9)))
    list(collector.typed([decode_typed(text(message(event(time=T - 5), event(time=1, kind="x"))))], [0], lambda _: b""))
    collector.take()
    assert (collector.account.first_ms, collector.account.last_ms) == (T - 5, T + 9)


@pytest.mark.parametrize("limit", ["BATCH_REJECTS", "BATCH_RAW_BYTES"])
def test_a_batch_is_full_by_rejects_and_by_raw_bytes(monkeypatch, limit):
    monkeypatch.setattr(collect, limit, 3)
    collector = Collector(Account())
    for index in range(3):
        assert not collector.full
        collector.quarantine(index, Fault(Reason.STRAY_TEXT), b"x")
    assert collector.full
    assert len(collector.take()[1]) == 3
    assert collector.empty
    assert not collector.full


def test_a_batch_is_handed_on_when_it_is_full_of_views(monkeypatch):
    monkeypatch.setattr(collect, "BATCH_VIEWS", 3)
    _, batches = typed(message(*[event()] * 4), message(event()))
    assert [len(views) for views, _ in batches] == [5, 0]
    collector = Collector(Account())
    batches = list(collector.record(text(message(*[event()] * 7)), 0))
    assert [len(views) for views, _ in batches] == [3, 3]
    assert len(collector.take()[0]) == 1


def test_a_record_that_cannot_be_used_leaves_nothing_behind():
    collector = Collector(Account())
    with pytest.raises(Fault):
        list(collector.record(b'{"events":[],"message_id":[]}', 0))
    assert collector.empty
    assert collector.account == Account()


@pytest.mark.parametrize(
    ("raw", "wanted"), [(b"", True), (b"abc", True), ("é😀".encode(), True), (b"\xff", False), (b"\xed\xa0\x80", False)]
)
def test_utf8_is_told_from_other_bytes(raw, wanted):
    assert is_utf8(raw) is wanted
