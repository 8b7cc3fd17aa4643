import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.decoding.jsonvalue import mask_surrogates, parse, value_end
from jobs.decoding.records import Fault, Reason

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
WRITTEN = st.builds(
    lambda value, ascii, indent: json.dumps(value, ensure_ascii=ascii, indent=indent).encode("utf-8", "surrogatepass"),
    JSON,
    st.booleans(),
    st.none() | st.just(1),
)


@given(
    WRITTEN,
    st.sampled_from([b"", b" \r\n\t"]),
    st.sampled_from([b",", b"]", b"{", b'"', b"x", b"\x00", b"\xff", b", 1]"]),
)
@example(b"{}", b"", b",")
def test_a_value_ends_where_the_text_after_it_begins(written, space, after):
    assert value_end(written + space + after) == (len(written + space), None, "")
    assert value_end(written) == (len(written), None, "")


@given(st.dictionaries(st.text(), JSON, max_size=4).map(lambda value: json.dumps(value).encode()), st.data())
@example(b'{"a": "\\ud83d\\ude00"}', None)
@example(b'{"a": -1.5e+10, "b": [true, false, null]}', None)
def test_every_beginning_of_an_object_is_truncated_and_nothing_else(written, data):
    cuts = range(1, len(written)) if data is None else [data.draw(st.integers(1, len(written) - 1))]
    for cut in cuts:
        assert value_end(mask_surrogates(written[:cut])).reason is Reason.TRUNCATED, written[:cut]


@pytest.mark.parametrize(
    ("written", "at"),
    [
        (b'{"a":1]', 6),
        (b'{"a":1,}', 7),
        (b'{"a":[1,]', 8),
        (b'{"a" 1}', 5),
        (b"{1:2}", 1),
        (b'{"a":"b\nc"}', 7),
        (b'{"a":nul}', 6),
        (b'{"a":NaN', 5),
        (b'{"a":01', 6),
        (b"]", 0),
        (b"x", 0),
    ],
)
def test_what_no_text_can_mend_is_invalid_where_it_breaks(written, at):
    found = value_end(written)
    assert (found.end, found.reason) == (at, Reason.INVALID_JSON)


def test_a_value_that_nests_too_deeply_ends_nowhere():
    assert value_end(b"[" * 100_000).reason is Reason.TOO_DEEP


@given(
    st.binary(max_size=40) | st.lists(st.sampled_from([b"\\", b"ud800", b"uDBFF", b"ufeff", b'"', b"a"])).map(b"".join)
)
def test_masking_keeps_every_byte_in_its_place(raw):
    masked = mask_surrogates(raw)
    assert len(masked) == len(raw)
    assert all(new == old or (new == ord("0") and chr(old).isalnum()) for new, old in zip(masked, raw, strict=True))


def test_half_a_surrogate_pair_does_not_hide_the_end():
    written = b'{"a":"\\ud800","b":"\\uDFFF\\ud83d\\ude00"}'
    assert value_end(mask_surrogates(written + b" x")).end == len(written) + 1


@given(JSON)
def test_a_valid_value_is_read_as_it_was_written(value):
    assert parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize("written", [b"1" * 5000, b"1e999", b"-" + b"9" * 400 + b".5"])
def test_a_number_of_any_size_is_read(written):
    assert abs(parse(written)) == float("inf")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_fault(raw):
    try:
        value = parse(raw)
    except Fault:
        return
    assert json.loads(raw.decode()) == value
