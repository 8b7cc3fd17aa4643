import collections
import gzip
import io
import json
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from jobs.decoding.decode import Account, decode, splittable
from jobs.errors import UnreadableFile
from tests.jobs.layouts import BESIDE, HARMLESS, LAYOUTS, LOST, ORDERS, order, write
from tests.jobs.messages import T, event, message, run, text

REAL = Path(__file__).parents[4] / "shared" / "data" / "productEvent_20160201.json.gz"
RECORD_BYTES = 200_000

A, B, C = (message(event(product), event(kind="other"), message_id=product) for product in "abc")
PLACES = pytest.mark.parametrize("at", [0, 1, 2], ids=["first", "middle", "last"])
EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS)


def trio(at):
    """Three messages of which the one at index ``at`` has the product b."""
    others = [A, C]
    return [*others[:at], B, *others[at:]]


def check(data, products, reasons):
    """``data`` gives just these views, with all their columns, these rejected records, and the account that follows from them."""
    decoded = run(data, RECORD_BYTES)
    assert decoded.products == products
    assert decoded.reasons == [(reason, None) for reason in reasons]
    reader, text = json.JSONDecoder(parse_int=float), data.decode("latin-1")  # one character for each byte
    for product, time_ms, message_id, position, offset in decoded.views:
        assert (time_ms, message_id, position) == (T, product, 0)
        assert reader.raw_decode(text, offset)[0]["message_id"] == product
    for reject in decoded.rejects:
        assert data[reject.offset : reject.offset + reject.raw_bytes][:65_536] == reject.raw
    count, bad = len(products), len(reasons)
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    layout = decoded.account.layout
    assert decoded.account == Account(
        len(data), lines, count + bad, count, bad, 0, 2 * count, count, count, 0, T, T, layout
    )


@PLACES
@EVERY_LAYOUT
@pytest.mark.parametrize("damage", LOST)
def test_a_damaged_message_costs_itself_alone(damage, layout, at):
    change, reason = LOST[damage]
    check(write(layout, trio(at), change, at), ["a", "c"], [reason])


@pytest.mark.parametrize("first", ORDERS)
@EVERY_LAYOUT
def test_a_damaged_message_costs_itself_at_most_whatever_key_messages_begin_with(layout, first):
    for damage, (change, _) in LOST.items():
        for at in range(5):
            others = [message(event(product), message_id=product) for product in "wxyz"]
            messages = order([*others[:at], B, *others[at:]], first)
            products = run(write(layout, messages, change, at), RECORD_BYTES).products
            assert [one for one in products if one != "b"] == ["w", "x", "y", "z"], (damage, at)


@PLACES
@EVERY_LAYOUT
@pytest.mark.parametrize("damage", BESIDE)
def test_what_stands_beside_a_message_is_a_record_of_its_own(damage, layout, at):
    change, reason = BESIDE[damage]
    check(write(layout, trio(at), change, at), [one["message_id"] for one in trio(at)], [reason])


@PLACES
@EVERY_LAYOUT
@pytest.mark.parametrize("damage", HARMLESS)
def test_what_is_unusual_and_valid_costs_nothing(damage, layout, at):
    change, times = HARMLESS[damage]
    products = [one["message_id"] for one in trio(at) for _ in range(times if one is B else 1)]
    check(write(layout, trio(at), change, at), products, [])


@EVERY_LAYOUT
def test_a_bad_event_costs_itself_alone_and_keeps_its_bytes(layout):
    bad = event("", T)
    decoded = run(write(layout, [A, message(event("x"), bad, event("y"), message_id="m"), C]))
    assert [view[0] for view in decoded.views] == ["a", "x", "y", "c"]
    assert [view[2:4] for view in decoded.views] == [("a", 0), ("m", 0), ("m", 2), ("c", 0)]
    assert decoded.reasons == [("product_empty", 1)]
    assert json.loads(decoded.rejects[0].raw) == bad
    assert decoded.rejects[0].offset == decoded.views[1][4]


@EVERY_LAYOUT
def test_an_offset_is_where_the_record_begins(layout):
    data = write(layout, [A, B, C], lambda raw: raw[:-1], 1)
    decoded = run(data)
    reader = json.JSONDecoder()
    for view in decoded.views:
        found, _ = reader.raw_decode(data.decode(), view[4])
        assert found["message_id"] == view[0]
    broken = decoded.rejects[0]
    assert data[broken.offset : broken.offset + broken.raw_bytes] == broken.raw


@EVERY_LAYOUT
def test_a_document_cut_anywhere_loses_no_whole_message_and_hides_no_cut(layout):
    data = write(layout, [A, B, C])
    whole = [len(write(layout, [A, B, C][:count]).rstrip(b"] \n")) for count in (1, 2, 3)]
    for cut in range(len(data)):
        decoded = run(data[:cut])
        assert decoded.products == ["a", "b", "c"][: sum(end <= cut for end in whole)], cut
        if layout.startswith("array") and data[:cut].strip():
            assert decoded.reasons == (
                [] if data[:cut].strip().endswith(b"]") and cut > whole[-1] else [("truncated", None)]
            )
        else:
            assert set(decoded.reasons) <= {("truncated", None)}
        assert sum(reject.raw_bytes for reject in decoded.rejects) <= cut


WRAPPINGS = {
    "plain": lambda data: data,
    "gzip": lambda data: gzip.compress(data),
    "gzip of two members": lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:]),
    "zstd": lambda data: zstandard.compress(data),
    "zstd of two frames": lambda data: zstandard.compress(data[:99]) + zstandard.compress(data[99:]),
    "utf-8 with a mark": lambda data: b"\xef\xbb\xbf" + data,
    "utf-16-le with a mark": lambda data: b"\xff\xfe" + data.decode().encode("utf-16-le"),
    "utf-16-be with a mark": lambda data: b"\xfe\xff" + data.decode().encode("utf-16-be"),
    "utf-16-le": lambda data: data.decode().encode("utf-16-le"),
    "utf-16-be": lambda data: data.decode().encode("utf-16-be"),
    "gzip of utf-16": lambda data: gzip.compress(data.decode().encode("utf-16")),
    "gzip of utf-8 with a mark": lambda data: gzip.compress(b"\xef\xbb\xbf" + data),
}


@EVERY_LAYOUT
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_the_same_messages_give_the_same_in_every_layout_and_wrapping(wrapping, layout):
    messages = [A, message(event("é"), event(None), message_id="m"), C] * 3
    plain = run(write(layout, messages))
    wrapped = run(WRAPPINGS[wrapping](write(layout, messages)))
    assert wrapped.products == ["a", "é", "c"] * 3
    assert wrapped.reasons == [("product_missing", 1)] * 3
    mark = 3 if "mark" in wrapping and "utf-8" in wrapping else 0
    assert [view[4] - mark for view in wrapped.views] == [view[4] for view in plain.views]
    assert wrapped.account.bytes == plain.account.bytes + mark
    assert wrapped.account.lines == plain.account.lines
    kind = layout.split(",")[0]
    assert plain.account.layout == kind
    named = [name for name in ("gzip", "zstd", "utf-16-le", "utf-16-be") if name in wrapping]
    named += ["utf-16-le"] if wrapping == "gzip of utf-16" else []
    assert wrapped.account.layout == "/".join([kind, *named])


@pytest.mark.parametrize(
    "data", [b"", b"\xef\xbb\xbf", b"\xff\xfe", gzip.compress(b"", mtime=0), zstandard.compress(b"")]
)
def test_an_empty_file_holds_nothing(data):
    account = run(data).account
    assert account.layout.startswith("empty")
    assert account == Account(bytes=account.bytes, lines=account.lines, layout=account.layout)


@pytest.mark.parametrize(
    ("data", "layout", "records", "blank", "reasons"),
    [
        (b"\n", "lines", 1, 1, []),
        (b" \t\r\n\n ", "lines", 3, 3, []),
        (b"[]", "array", 0, 0, []),
        (b"[\n]\n", "array", 0, 0, []),
        (b"[", "array", 1, 0, ["truncated"]),
        (b"[] []", "array", 0, 0, []),
        (b"[5][6]", "array", 2, 0, ["not_an_object"] * 2),
        (b"{", "objects", 1, 0, ["truncated"]),
        (b"}", "lines", 1, 0, ["stray_text"]),
        (b",", "lines", 1, 0, ["stray_text"]),
        (b"null", "lines", 1, 0, ["not_an_object"]),
        (b"a\nb,c\n\n", "lines", 3, 1, ["stray_text"] * 2),
        (b"timestamp;product\n1;2\n", "lines", 2, 0, ["stray_text", "stray_text"]),
        (b"\x00" * 10, "lines", 1, 0, ["stray_text"]),
        (b"PK\x03\x04\xff\n\xff", "lines", 2, 0, ["not_utf8"] * 2),
        (b"{}\n\n{}\n", "lines", 3, 1, []),
        (b"{}", "objects", 1, 0, []),
        (b"{}\n", "lines", 1, 0, []),
    ],
)
def test_a_document_without_messages_is_accounted_for(data, layout, records, blank, reasons):
    decoded = run(data)
    assert decoded.account.layout == layout
    assert (decoded.account.records, decoded.account.blank) == (records, blank)
    assert [reason for reason, _ in decoded.reasons] == reasons


def test_an_array_without_its_closing_bracket_keeps_its_elements_and_says_so():
    data = write("array", [A, B])[:-1]
    decoded = run(data)
    assert decoded.products == ["a", "b"]
    reject = decoded.rejects[0]
    assert (reject.reason, reject.raw, reject.raw_bytes, reject.offset) == ("truncated", b"", 0, len(data))


@pytest.mark.parametrize("first", [None, *ORDERS])
def test_a_document_whose_beginning_is_lost_gives_the_messages_after_it(first):
    data = write("array, pretty", order([A, B, C], first) if first else [A, B, C])
    decoded = run(data[60:])
    assert decoded.products == ["b", "c"]
    assert {reason for reason, _ in decoded.reasons} == {"stray_text"}


def test_raw_is_cut_and_its_true_length_counted():
    long = b"{" + b'"x":"' + b"y" * 100_000 + b'"'
    for data in (b"{}\n" + long + b"\n{}\n", b"[{}," + long + b'\n,{"events":[]}]'):
        reject = run(data).rejects[0]
        assert reject.raw == long[:65_536]
        assert reject.raw_bytes == len(long)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_cut_file_is_unreadable_after_what_was_whole(pack):
    packed = pack(write("lines", [A] * 1000))
    with pytest.raises(UnreadableFile, match="deliver it again"):
        run(packed[:-4])


@pytest.mark.skipif(not REAL.exists(), reason="the real file lies beside the project (shared/data), and is not there")
def test_the_real_file_gives_its_known_counts():
    account, products = Account(), collections.Counter()
    with REAL.open("rb") as stream:
        for views, rejects in decode(stream, account, record_bytes=64 << 20):
            products.update(views.product)
            assert not rejects
            assert set(views.message_id) == {None}
    account.check("the real file")
    assert (account.records, account.decoded, account.events, account.views) == (47_633,) * 4
    assert (account.ignored, account.quarantined_records, account.quarantined_events) == (0, 0, 0)
    assert (account.layout, account.lines, account.bytes) == ("array/gzip", 905_029, 23_838_143)
    assert len(products) == 4_051
    assert products.most_common(3) == [("20001829_048", 204), ("20005748_001", 202), ("20001829_002", 164)]


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (write("lines", [A, B]), True),
        (b"\xef\xbb\xbf" + write("lines", [A, B]), True),
        (write("lines, CRLF, no last break", [A, B]), True),
        (b"\n\nbroken\n" + write("lines", [A, B, C]), True),
        (write("array", [A, B]), False),
        (write("array, one a line", [A, B, C]), False),
        (write("array, pretty", [A, B]), False),
        (write("objects", [A, B]), False),
        (write("objects, pretty", [A, B]), False),
        (b"", False),
        (b'{"events":[', False),
        (gzip.compress(write("lines", [A, B])), False),
        (zstandard.compress(write("lines", [A, B])), False),
        (write("lines", [A, B]).decode().encode("utf-16"), False),
        (write("lines", [A, B]).decode().encode("utf-16-be"), False),
    ],
)
def test_only_plain_json_lines_are_splittable(head, wanted):
    assert splittable(head) is wanted


def test_a_head_that_ends_in_a_line_is_splittable_as_the_whole_is():
    data = text({"events": [], "x": "y" * 60_000}) + b"\n" + text(message(event(x="z" * 60_000))) + b"\n"
    assert splittable(data[:65_536])
    assert splittable(data)


def test_batches_are_bounded():
    lines = [text(message(*[event()] * 90)), text(message(*[5] * 100))]
    sizes = []
    for views, rejects in decode(io.BytesIO(b"\n".join(lines * 1000)), Account(), record_bytes=1 << 20):
        sizes.append((len(views), len(rejects)))
    assert sum(count for count, _ in sizes) == 90_000
    assert sum(count for _, count in sizes) == 100_000
    assert max(count for count, _ in sizes) <= 50_000
    assert max(count for _, count in sizes) <= 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "block", "tail"),
    [
        (text(A) + b"\n", bytes(1_000_000), b"\n" + text(C) + b"\n"),
        (b"[" + text(A) + b',{"x":"', b"y" * 1_000_000, b'"},' + text(C) + b"]"),
        (b"[" + text(A) + b',{"x":[{}', (b',{"y":"' + b"z" * 9990 + b'"}') * 100, b"]}," + text(C) + b"]"),
    ],
    ids=["a line of NULs", "a string in an array", "a long valid element of an array"],
)
def test_a_bomb_of_300_mb_costs_one_record_and_little_memory(head, block, tail):
    packed = gzip.compress(head) + gzip.compress(block) * 300 + gzip.compress(tail)
    tracemalloc.start()
    decoded = run(packed, 100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert decoded.products == ["a", "c"]
    (reject,) = decoded.rejects
    assert (reject.reason, len(reject.raw)) == ("too_long", 65_536)
    assert reject.raw_bytes > 299_000_000
    assert peak < 20_000_000
