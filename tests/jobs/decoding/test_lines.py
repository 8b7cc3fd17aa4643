import io
import tracemalloc

import pytest

from jobs.decoding.collect import Collector
from jobs.decoding.lines import read_lines
from jobs.decoding.records import Account
from tests.jobs.decoding.test_scan import Repeated
from tests.jobs.messages import event, message, run, text

A, B = text(message(event("a"))), text(message(event("b")))


def read(data, record_bytes=1 << 20, **options):
    collector = Collector(Account())
    batches = list(read_lines(io.BytesIO(data), collector, record_bytes, **options))
    batches.append(collector.take())
    return collector.account, batches


@pytest.mark.parametrize("line_break", [b"\n", b"\r\n", b" \r\n", b"\r\r\n"])
@pytest.mark.parametrize("before", [b"", b" ", b"\t"])
def test_white_space_around_a_line_changes_nothing_but_offsets(line_break, before):
    data = b"".join(before + line + line_break for line in (A, B, A))
    decoded = run(data)
    assert decoded.products == ["a", "b", "a"]
    assert [data[view[4] :][:1] for view in decoded.views] == [b"{"] * 3
    assert (decoded.account.lines, decoded.account.records) == (3, 3)


def test_blank_lines_are_counted_among_many_good_ones():
    lines = [A] * 600
    lines[100], lines[550] = b"", b"  \r"
    account = run(b"\n".join(lines)).account
    assert (account.records, account.decoded, account.blank, account.lines) == (600, 598, 2, 600)


@pytest.mark.parametrize("gap", [b"\n\n", b"\r\n\n", b"\n\r\n", b"\n\n\r\n"])
def test_lines_with_empty_ones_between_are_still_read_in_blocks(gap, monkeypatch):
    monkeypatch.setattr("jobs.decoding.lines._read_one_by_one", None)
    data = gap.join([A, B, A])
    decoded = run(data)
    assert decoded.products == ["a", "b", "a"]
    assert [view[4] for view in decoded.views] == [0, len(A + gap), len(A + gap + B + gap)]
    assert (decoded.account.records, decoded.account.blank) == (data.count(b"\n") + 1, 2 * gap.count(b"\n") - 2)


def test_a_file_of_countless_empty_lines_takes_little_memory():
    collector = Collector(Account())
    tracemalloc.start()
    batches = list(read_lines(Repeated(A, b"\n" * 1_000_000, 10, B), collector, 1 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not batches
    assert (collector.account.blank, collector.account.decoded) == (9_999_999, 2)
    assert peak < 60_000_000


def test_a_bad_line_among_many_costs_itself_alone():
    lines = [text(message(event(f"p{index}"))) for index in range(1000)]
    lines[300] = lines[300][:-9]
    decoded = run(b"\n".join(lines))
    assert decoded.products == [f"p{index}" for index in range(1000) if index != 300]
    assert decoded.rejects[0].offset == sum(len(line) + 1 for line in lines[:300])
    assert decoded.rejects[0].raw == lines[300]


def test_values_that_reach_over_line_ends_are_not_taken_for_lines():
    # Two lines, two values: but none of the lines is a value, and none of the values a line.
    data = b'{"x":\n1}' + A + b"\n"
    account = run(b"{}\n{}\n{}\n" + data).account
    assert (account.records, account.decoded, account.quarantined_records) == (6, 4, 2)


@pytest.mark.parametrize("bad", [b'{"a":"\xff"}', b'{"\xff":1}', b'{"a":"\xed\xa0\x80"}'])
def test_bytes_that_are_no_utf8_cost_their_line_even_in_text_that_nobody_reads(bad):
    decoded = run(b"\n".join([A, bad, B]))
    assert decoded.products == ["a", "b"]
    assert decoded.reasons == [("not_utf8", None)]


def test_a_line_as_long_as_allowed_is_read_and_a_byte_more_is_too_long():
    assert run(A + b"\n" + B + b"\n", len(A)).reasons == []
    assert run(A + b"\n" + B + b"\n", len(A) - 1).reasons == [("too_long", None)] * 2


def test_a_line_that_is_too_long_is_never_held_and_the_next_is_read():
    source = Repeated(A + b"\n" + b'{"x":"', b"y" * 1_000_000, 60, b'"}\n' + B + b"\n")
    collector = Collector(Account())
    tracemalloc.start()
    batches = list(read_lines(source, collector, 1 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    views, (reject,) = collector.take()
    assert not batches
    assert views.product == ["a", "b"]
    assert (reject.reason, len(reject.raw), reject.raw_bytes) == ("too_long", 65_536, 60_000_000 + len(b'{"x":""}'))
    assert collector.account.lines == 3
    assert collector.account.bytes == len(A) + len(B) + 60_000_000 + len(b'{"x":""}') + 3
    assert peak < 45_000_000


def test_only_lines_that_begin_before_the_end_are_read():
    data = A + b"\n" + B + b"\n"
    assert read(data, end=len(A))[0].records == 1
    assert read(data, end=len(A) + 1)[0].records == 1
    assert read(data, end=len(A) + 2)[0].records == 2
    assert read(data, end=0)[0].records == 0


def test_a_line_of_countless_small_values_is_handed_on_in_batches():
    account, batches = read(b"5 " * 30_000 + b"\n")
    assert account.quarantined_records == 30_000
    assert max(len(rejects) for _, rejects in batches) <= 5_000


def test_a_message_of_countless_bad_events_is_handed_on_in_batches():
    account, batches = read(b'{"events":[' + b"1," * 30_000 + b"1]}\n")
    assert (account.decoded, account.quarantined_events) == (1, 30_001)
    assert max(len(rejects) for _, rejects in batches) <= 5_000
    assert [reject.position for _, rejects in batches for reject in rejects] == list(range(30_001))
