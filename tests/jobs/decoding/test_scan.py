import io
import tracemalloc

import pytest

from jobs.decoding.jsonvalue import value_end
from jobs.decoding.records import Account
from jobs.decoding.scan import Piece, Run, Scanner
from tests.jobs.messages import event, message, run, text

A, B = text(message(event("a"))), text(message(event("b")))


def scan(data, record_bytes=1 << 20, **options):
    """(offset, raw, reason) of every record."""
    found = []
    for item in Scanner(io.BytesIO(data), record_bytes, **options):
        if isinstance(item, Run):
            found += [(offset, raw, None) for offset, raw in zip(item.offsets, item.raws, strict=True)]
        else:
            found.append((item.offset, item.raw, item.fault and item.fault.reason.value))
    return found


@pytest.mark.parametrize("gap", [b"", b" ", b"\n", b",", b",\n", b" ,\r\n\t"])
def test_every_object_is_found_where_it_stands(gap):
    data = gap.join([A, B, A, A, B])
    assert [(offset, raw) for offset, raw, _ in scan(data)] == [
        (at, raw) for at, raw in zip(_places(gap, [A, B, A, A, B]), [A, B, A, A, B], strict=True)
    ]


def _places(gap, parts):
    places, at = [], 0
    for part in parts:
        places.append(at)
        at += len(part) + len(gap)
    return places


def test_gaps_that_change_from_record_to_record_are_followed():
    data = A + b",\n\n" + B + A + b"  " + B + b",\n\n" + A
    assert [raw for _, raw, _ in scan(data)] == [A, B, A, B, A]


def test_a_document_without_a_source_is_read_from_what_is_given():
    (piece,) = Scanner(None, 100, data=b" {} ", base=7)
    assert piece == Piece(8, b"{}", 2)


def test_an_array_is_opened_only_where_the_layout_is_one():
    assert scan(b'[{"a":1}]', array=True) == [(1, b'{"a":1}', None)]
    assert scan(b'[{"a":1}]') == [(0, b'[{"a":1}]', None)]


def test_arrays_one_after_another_are_read():
    assert [raw for _, raw, _ in scan(b"[" + A + b"]\n[" + B + b"]", array=True)] == [A, B]


@pytest.mark.parametrize("key", [b"", b'"own":1,'])
@pytest.mark.parametrize("before", [b"", A + b","])
def test_an_array_of_records_inside_the_array_costs_its_bracket(key, before):
    first, second = (one.replace(b"{", b"{" + key, 1) for one in (A, B))
    found = scan(b"[" + before + b"[" + first + b"," + second + b"]]", array=True)
    assert [raw for _, raw, reason in found if reason is None] == ([A] if before else []) + [first, second]
    assert [(raw, reason) for _, raw, reason in found if reason] == [(b"[", "stray_text"), (b"]", "stray_text")]


def test_an_array_inside_the_array_that_holds_no_record_is_one_broken_record():
    found = scan(b'[[{"a":[{"b":1}]},2],' + A + b"]", array=True)
    assert [(raw, reason) for _, raw, reason in found] == [(b'[{"a":[{"b":1}]},2]', None), (A, None)]


def test_a_record_as_long_as_allowed_is_read_and_a_byte_more_is_too_long():
    for data, options in ((A + B, {}), (b"[" + A + b"," + B + b"]", {"array": True})):
        assert [reason for *_, reason in scan(data, len(A), **options)] == [None, None]
        assert [reason for *_, reason in scan(data, len(A) - 1, **options)] == ["too_long", "too_long"]


def test_white_space_has_no_part_in_the_length_of_a_record():
    assert [reason for *_, reason in scan(A + b" " * 1000 + B + b"\n" * 1000, len(A))] == [None, None]


class Repeated(io.RawIOBase):
    """``head``, then ``body`` ``times`` times, then ``tail``: a long stream that nobody holds."""

    def __init__(self, head, body, times, tail):
        self._parts = iter([head, *[body] * times, tail])
        self._held = b""

    def read(self, size=-1):
        while len(self._held) < size and (part := next(self._parts, None)) is not None:
            self._held += part
        data, self._held = self._held[:size], self._held[size:]
        return data


def peak_of(source, record_bytes, **options):
    tracemalloc.start()
    try:
        found = [item for item in Scanner(source, record_bytes, **options) if isinstance(item, Piece)]
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_document():
    block = (text(message(event("a"), x="y" * 5_000)) + b",") * 200
    found, peak = peak_of(Repeated(b"[", block, 100, A + b"]"), 1 << 20, array=True)
    assert all(piece.fault is None for piece in found)
    assert len(block) * 100 > 100_000_000
    assert peak < 45_000_000


def test_a_record_that_is_too_long_is_never_held_and_the_next_is_found():
    source = Repeated(b"[" + A + b',{"x":"', b"y" * 1_000_000, 60, b'"},' + B + b"]")
    found, peak = peak_of(source, 1 << 20, array=True)
    (broken,) = [piece for piece in found if piece.fault]
    assert broken.fault.reason == "too_long"
    assert (len(broken.raw), broken.length) == (65_536, 60_000_000 + len(b'{"x":""}'))
    assert found[-1].raw == B
    assert peak < 45_000_000


@pytest.fixture
def looked(monkeypatch):
    """How many bytes each look for the end of a value has read."""
    looked = []

    def counted(data):
        extent = value_end(data)
        looked.append(extent.end)
        return extent

    monkeypatch.setattr("jobs.decoding.scan.value_end", counted)
    monkeypatch.setattr("jobs.decoding.siblings.value_end", counted)
    monkeypatch.setattr("jobs.decoding.scan._LOOK_BYTES", 1 << 20)
    return looked


def test_records_that_all_lack_their_end_do_not_take_time_that_grows_with_the_square(looked):
    cut = A[: A.index(b"]")]
    data = b"[" + b",".join([A, *[cut] * 4000, B]) + b"]"
    decoded = run(data)
    assert decoded.products == ["a", "b"]
    assert set(decoded.reasons) == {("truncated", None)}
    assert len(decoded.reasons) == 4000
    assert sum(looked) < 16 * len(data)


@pytest.mark.parametrize(
    "block",
    [
        b'{"a":',
        b'{"a":[',
        b'{"events":[',
        b'{"time":1,"events":[',
        b'{"x":[{"time":1},',
        b'{"x":[{"events":[]},',
        b"[{},",
    ],
)
def test_what_never_ends_is_not_read_again_and_again(block, looked):
    data = b"[" + block * (400_000 // len(block))
    run(data)
    assert sum(looked) < 16 * len(data)


def test_deep_nesting_everywhere_ends_soon():
    data = b"[" + b'{"events":[' * 30_000
    decoded = run(data)
    assert decoded.account.decoded == 0
    assert decoded.account.records >= 1


def test_what_is_scanned_in_an_account_is_all_that_was_read():
    data = b" [ " + A + b" ,\n" + B + b" ]\n\n"
    account = run(data).account
    assert account == Account(len(data), 3, 2, 2, 0, 0, 2, 2, 0, 0, account.first_ms, account.last_ms, "array")
