import gzip
from functools import reduce
from itertools import pairwise
from operator import add
from unittest import mock

import pytest
import zstandard
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from jobs.decoding.decode import Account, Fault, decode_message, splittable
from tests.jobs.decoding.test_message import MESSAGES
from tests.jobs.layouts import BESIDE, HARMLESS, LAYOUTS, LOST, ORDERS, order, pretty, write
from tests.jobs.messages import event, message, run, text

A, B, C = (message(event(product), event(kind="other"), message_id=product) for product in "abc")
DAMAGES = [change for table in (LOST, BESIDE, HARMLESS) for change, _ in table.values() if len(change(text(B))) < 5_000]
MARK = b"\xef\xbb\xbf"
SIGNS = b'{}[],:"\\ \t5-x\0\xff'
TOKENS = st.sampled_from([SIGNS[index : index + 1] for index in range(len(SIGNS))]) | st.sampled_from(
    [b"\n", b"\r\n", b"null", MARK, b'{"events":[', b'"events"', b"\\ud800", b"\n  {", b"{}", b"[]", text(A), pretty(C)]
    + [text(one) for one in order([A, B, C], "another key each time")]
)
PARTS = TOKENS.filter(lambda token: b"}" not in token[1:])  # of which none is a whole message
DOCUMENTS = (
    st.lists(TOKENS, max_size=25).map(b"".join)
    | st.binary(max_size=80)
    | st.builds(
        lambda layout, first, one, two: (
            write(layout, order([A, B, C], first), one, 0)[:-1] + write(layout, [C, B, A], two, 1)
        ),
        st.sampled_from(list(LAYOUTS)),
        st.sampled_from(list(ORDERS)),
        st.sampled_from(DAMAGES),
        st.sampled_from(DAMAGES),
    )
).filter(lambda data: not data.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")) and data[1:4] != b"\x2a\x4d\x18")
LINES = st.lists(
    st.sampled_from(
        [b"", b" ", b"\r", text(A), text(B) + b"\r", text(A) + text(C), b"x", text(B)[:50], b"{}", b"y" * 300]
    )
    | st.sampled_from(DAMAGES).map(lambda change: change(text(B))),
    max_size=12,
).map(b"\n".join)


def in_chunks(data, size, **options):
    """As ``run``, by chunks of ``size`` bytes and everything else that decoding does at a time made small."""
    with (
        mock.patch("jobs.decoding.unpack.CHUNK_BYTES", size),
        mock.patch("jobs.decoding.lines._BLOCK_LINES", 1 + size % 4),
        mock.patch("jobs.decoding.scan._RUN_RECORDS", 1 + size % 3),
        mock.patch("jobs.decoding.scan.OPENING_BYTES", 256),
        mock.patch("jobs.decoding.collect.BATCH_VIEWS", 1 + size % 5),
        mock.patch("jobs.decoding.collect.BATCH_REJECTS", 1 + size % 2),
    ):
        return run(data, **options)


@settings(deadline=None)
@given(DOCUMENTS)
@example(b'[{"events":[]}, 5x, {"events":[]}')
def test_every_byte_of_any_document_is_accounted_for(data):
    decoded = run(data)  # run() proves the sums
    assert decoded.account.bytes == len(data) or decoded.account.layout.count("/")
    if not decoded.account.layout.count("/"):
        assert decoded.account.lines == data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
        for reject in decoded.rejects:
            if reject.position is None:
                assert data[reject.offset : reject.offset + reject.raw_bytes] == reject.raw


@settings(deadline=None)
@given(DOCUMENTS)
def test_nothing_but_white_space_and_brackets_is_passed_over(data):
    decoded = run(data)
    assume(not decoded.account.layout.count("/"))
    rest = bytearray(data.removeprefix(MARK))
    mark = len(data) - len(rest)
    for reject in decoded.rejects:
        if reject.position is None:
            at = reject.offset - mark
            rest[at : at + reject.raw_bytes] = b" " * reject.raw_bytes
    left = bytes(rest).decode()  # what is no UTF-8 was quarantined
    assert left.count("{") >= decoded.account.decoded
    if not decoded.account.decoded:
        assert not left.strip("[], \t\r\n"), left


@settings(deadline=None)
@given(DOCUMENTS, st.integers(1, 400))
def test_the_size_of_the_chunks_changes_nothing(data, size):
    assert in_chunks(data, size) == run(data)


@settings(deadline=None)
@given(DOCUMENTS, st.sampled_from([gzip.compress, zstandard.compress]))
def test_compression_changes_nothing_but_the_name_of_the_layout(data, pack):
    plain, packed = run(data), run(pack(data))
    assert packed.views == plain.views
    assert packed.rejects == plain.rejects
    name = plain.account.layout.split("/")
    assert packed.account.layout.split("/") == [
        name[0],
        pack.__module__.split(".")[0].replace("zstandard", "zstd"),
        *name[1:],
    ]


@settings(deadline=None)
@given(LINES, st.lists(st.integers(0, 3000), max_size=5), st.integers(1, 700), st.booleans())
def test_pieces_give_together_what_the_whole_gives(lines, cuts, size, marked):
    data = (MARK if marked else b"") + text(A) + b"\n" + text(B) + b"\n" + text(C) + b"\n" + lines
    assume(splittable(data))
    cuts = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for record_bytes in (1 << 20, 250):
        whole = run(data, record_bytes)
        pieces = [
            in_chunks(data, size, record_bytes=record_bytes, start=start, end=end) for start, end in pairwise(cuts)
        ]
        assert [view for piece in pieces for view in piece.views] == whole.views
        assert [reject for piece in pieces for reject in piece.rejects] == whole.rejects
        assert reduce(add, (piece.account for piece in pieces), Account()) == whole.account


@settings(deadline=None)
@given(st.sampled_from(list(LAYOUTS)), st.lists(MESSAGES, min_size=1, max_size=6), st.integers(1, 400))
def test_a_message_gives_the_same_in_every_layout(layout, messages, size):
    wanted, rejected = [], []
    for one in messages:
        try:
            found = decode_message(text(one))
        except Fault as fault:
            rejected.append((fault.reason.value, None))
        else:
            wanted += [(*view[:2], found.message_id, view.position) for view in found.views]
            rejected += [(reject.reason.value, reject.position) for reject in found.rejects]
    decoded = in_chunks(write(layout, messages), size)
    assert [view[:4] for view in decoded.views] == wanted
    assert decoded.reasons == rejected
    assert decoded.account.records == len(messages)


@settings(deadline=None)
@given(
    st.sampled_from(list(LAYOUTS)),
    st.integers(0, 4),
    st.integers(0, 400),
    st.sampled_from(["insert", "delete", "replace", "cut"]),
    st.sampled_from(
        [b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\0", b"\xff", b"\n", b"\r", b" ", b"7", b"x", b"'"]
    ),
)
def test_a_mutated_byte_costs_its_own_message_at_most(layout, at, place, how, byte):
    messages = [message(event(f"p{index}"), event(f"q{index}"), message_id=f"m{index}") for index in range(5)]

    def mutate(raw):
        position = place % len(raw)
        if how == "cut":
            return raw[:position]
        return raw[:position] + (b"" if how == "delete" else byte) + raw[position + (how != "insert") :]

    decoded = run(write(layout, messages, mutate, at))
    others = [product for index in range(5) if index != at for product in (f"p{index}", f"q{index}")]
    own = [product for product in decoded.products if product not in others]
    assert [product for product in decoded.products if product in others] == others
    assert len(own) <= 2


@settings(deadline=None)
@given(
    st.sampled_from(list(LAYOUTS)),
    st.sampled_from(list(ORDERS)),
    st.integers(0, 4),
    st.floats(0, 1),
    st.integers(0, 400),
    st.lists(PARTS | st.binary(max_size=2), max_size=5).map(b"".join),
)
def test_whatever_becomes_of_a_message_costs_that_message_at_most(layout, first, at, place, lost, put):
    """One slice of one message is replaced by anything that makes no whole message: the others are all read.

    A whole message that is put into a document is a message of it, and tells how its messages begin; where it stands unlike
    the others, one of them may not be known again.
    """
    messages = [message(event(f"p{index}"), event(f"q{index}"), message_id=f"m{index}") for index in range(5)]

    def mutate(raw):
        position = int(place * len(raw))
        return raw[:position] + put + raw[position + lost :]

    decoded = run(write(layout, order(messages, first), mutate, at), 100_000)
    others = [index for index in range(5) if index != at]
    wanted = [(f"{product}{index}", f"m{index}") for index in others for product in "pq"]
    assert [(view[0], view[2]) for view in decoded.views if (view[0], view[2]) in wanted] == wanted


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_single_byte_deleted_costs_its_own_message_at_most(layout):
    messages = [A, B, C]
    for place in range(len(write(layout, [B])) - 2):
        decoded = run(write(layout, messages, lambda raw, place=place: raw[:place] + raw[place + 1 :], 1))
        assert [product for product in decoded.products if product in "ac"] == ["a", "c"], place
