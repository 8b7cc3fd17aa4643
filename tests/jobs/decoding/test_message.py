import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.decoding.message import Fault, decode_event, decode_message
from jobs.decoding.records import Reason
from tests.jobs.messages import UNSET, T, event, message, run, text

RULES = [
    # an event, and what it is: (product, time), None for ignored, a reason for quarantined
    (event(), ("20008657_002", T)),
    (event(" p "), (" p ", T)),
    (event("é😀"), ("é😀", T)),
    (event("x" * 512), ("x" * 512, T)),
    (event(time=1515546904352.75), ("20008657_002", T)),
    (event(time="1515546904352"), ("20008657_002", T)),
    (event(time=" 1515546904352.999999999999 "), ("20008657_002", T)),
    (event(time="0001515546904352"), ("20008657_002", T)),
    (event(time=946_684_800_000), ("20008657_002", 946_684_800_000)),
    (event(time=4_102_444_799_999.5), ("20008657_002", 4_102_444_799_999)),
    # ignored, whatever else they hold
    (event(kind="screen_view"), None),
    (event(kind=UNSET), None),
    (event(kind=None), None),
    (event(kind=5), None),
    (event(kind=["custom_event"]), None),
    (event(kind="CUSTOM_EVENT"), None),
    ({"event_type": "other", "data": "text"}, None),
    ({"event_type": "other", "data": {"custom_attributes": 5, "event_name": [], "timestamp_unixtime_ms": {}}}, None),
    ({}, None),
    (event(name="cart"), None),
    (event(name=UNSET), None),
    (event(name=None), None),
    (event(5, True, name="cart"), None),
    (event(name="cart", custom_attributes="none"), None),
    # quarantined
    (None, Reason.EVENT_TYPE),
    (5, Reason.EVENT_TYPE),
    ("product", Reason.EVENT_TYPE),
    ([event()], Reason.EVENT_TYPE),
    ({"event_type": "custom_event"}, Reason.DATA_TYPE),
    ({"event_type": "custom_event", "data": None}, Reason.DATA_TYPE),
    ({"event_type": "custom_event", "data": [1]}, Reason.DATA_TYPE),
    (event(name=5), Reason.EVENT_NAME_TYPE),
    (event(name=["product"]), Reason.EVENT_NAME_TYPE),
    (event(custom_attributes=UNSET), Reason.ATTRIBUTES_TYPE),
    (event(custom_attributes=None), Reason.ATTRIBUTES_TYPE),
    (event(custom_attributes="codeColor"), Reason.ATTRIBUTES_TYPE),
    (event(UNSET), Reason.PRODUCT_MISSING),
    (event(None), Reason.PRODUCT_MISSING),
    (event(20008657), Reason.PRODUCT_TYPE),
    (event(False), Reason.PRODUCT_TYPE),
    (event(["a"]), Reason.PRODUCT_TYPE),
    (event(""), Reason.PRODUCT_EMPTY),
    (event(" \t\n\u00a0"), Reason.PRODUCT_EMPTY),
    (event("x" * 513), Reason.PRODUCT_LENGTH),
    (event("a\0"), Reason.PRODUCT_TEXT),
    (event("\ud800"), Reason.PRODUCT_TEXT),
    (event(time=UNSET), Reason.TIME_MISSING),
    (event(time=None), Reason.TIME_MISSING),
    (event(time=True), Reason.TIME_TYPE),
    (event(time=[T]), Reason.TIME_TYPE),
    (event(time={}), Reason.TIME_TYPE),
    (event(time=""), Reason.TIME_TEXT),
    (event(time="0x10"), Reason.TIME_TEXT),
    (event(time="1_515_546_904_352"), Reason.TIME_TEXT),
    (event(time="1.515546904352e12"), Reason.TIME_TEXT),
    (event(time="NaN"), Reason.TIME_TEXT),
    (event(time="١٥١٥٥٤٦٩٠٤٣٥٢"), Reason.TIME_TEXT),
    (event(time="2018-01-10T01:15:04Z"), Reason.TIME_TEXT),
    (event(time=946_684_799_999), Reason.TIME_RANGE),
    (event(time=946_684_799_999.9), Reason.TIME_RANGE),
    (event(time=4_102_444_800_000), Reason.TIME_RANGE),
    (event(time="4102444800000"), Reason.TIME_RANGE),
    (event(time="9" * 5000), Reason.TIME_RANGE),
    (event(time=-1), Reason.TIME_RANGE),
    (event(time=1515546904), Reason.TIME_RANGE),
    (event(time=10**25), Reason.TIME_RANGE),
    (event(time=10**400), Reason.TIME_RANGE),
    (event(time=-(10**4000)), Reason.TIME_RANGE),
    # of two faults the first in the order of the rules
    (event("", True, name=5), Reason.EVENT_NAME_TYPE),
    (event("", True), Reason.PRODUCT_EMPTY),
]
IDS = [f"{index}: {json.dumps(case[0])[:60]}" for index, case in enumerate(RULES)]


@pytest.mark.parametrize(("found", "wanted"), RULES, ids=IDS)
def test_an_event_is_what_the_rules_say(found, wanted):
    if isinstance(wanted, Reason):
        with pytest.raises(Fault) as error:
            decode_event(text(found))
        assert error.value.reason is wanted
    else:
        assert decode_event(text(found)) == wanted


@pytest.mark.parametrize(("found", "wanted"), RULES, ids=IDS)
def test_the_fast_way_gives_what_the_rules_say_and_leaves_the_neighbours_alone(found, wanted):
    good = text(message(event("before"), found, event("after"), message_id="m"))
    decoded = run(b"\n".join([text(message(event("first"))), good, text(message(event("last")))]))
    middle = [wanted[0]] if isinstance(wanted, tuple) else []
    assert decoded.products == ["first", "before", *middle, "after", "last"]
    assert decoded.reasons == ([(wanted.value, 1)] if isinstance(wanted, Reason) else [])
    assert decoded.account.ignored == (wanted is None)
    if decoded.rejects:
        assert decoded.rejects[0].raw == text(found)
        assert decoded.rejects[0].offset == len(text(message(event("first")))) + 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"5", Reason.NOT_AN_OBJECT),
        (b"null", Reason.NOT_AN_OBJECT),
        (b'[{"events":[]}]', Reason.NOT_AN_OBJECT),
        (b'{"events":{}}', Reason.EVENTS_TYPE),
        (b'{"events":"none"}', Reason.EVENTS_TYPE),
        (b'{"events":false}', Reason.EVENTS_TYPE),
        (b'{"events":[],"message_id":[]}', Reason.MESSAGE_ID_TYPE),
        (b'{"events":[],"message_id":{}}', Reason.MESSAGE_ID_TYPE),
        (b'{"events":[],"message_id":false}', Reason.MESSAGE_ID_TYPE),
        (b'{"events":[],"message_id":"\\ud83d"}', Reason.MESSAGE_ID_TEXT),
        (b'{"events":5,"message_id":[]}', Reason.EVENTS_TYPE),
        (b'{"a":"\xff"}', Reason.NOT_UTF8),
        (b'{"a":"\xed\xa0\x80"}', Reason.NOT_UTF8),
        (b'{"a":NaN}', Reason.INVALID_JSON),
        (b'{"a":-Infinity}', Reason.INVALID_JSON),
        (b'{"a":"\x00"}', Reason.INVALID_JSON),
        (b'{"a":"\t"}', Reason.INVALID_JSON),
        (b'{"a":"\\x"}', Reason.INVALID_JSON),
        (b'{"a":01}', Reason.INVALID_JSON),
        (b'{"a":1,}', Reason.INVALID_JSON),
        (b"{'a':1}", Reason.INVALID_JSON),
        (b'{"a":1', Reason.TRUNCATED),
        (b'{"a":"b', Reason.TRUNCATED),
        (b'{"a":"\\ud800', Reason.TRUNCATED),
        (b'{"a":-', Reason.TRUNCATED),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", Reason.TOO_DEEP),
    ],
)
def test_a_record_that_is_no_message_has_its_reason(body, reason):
    with pytest.raises(Fault) as error:
        decode_message(body)
    assert error.value.reason is reason
    assert run(b"{}\n{}\n" + body + b"\n{}").reasons == [(reason.value, None)]


@pytest.mark.parametrize("body", [b"{}", b'{"events":null}', b'{"events":[]}', b'{"x":1e999,"y":"\\ud800\\udfff"}'])
def test_a_message_without_events_is_decoded(body):
    assert decode_message(body).events == 0
    assert run(body + b"\n").account.decoded == 1


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ('"m"', "m"),
        ('""', None),
        ("null", None),
        ('" "', " "),
        ("5", "5"),
        ("0", "0"),
        ("-0", "-0"),
        ("1.50", "1.50"),
        ("1e400", "1e400"),
        ("-679644799952992890", "-679644799952992890"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ('"\\ud83d\\ude00"', "😀"),
    ],
)
def test_a_message_id_is_its_text_and_a_number_its_digits(written, wanted):
    body = text(message(event()))[:-1] + b',"message_id":' + written.encode() + b"}"
    assert decode_message(body).message_id == wanted
    assert run(body + b"\n").views[0][2] == wanted


def test_of_a_doubled_key_the_last_counts():
    body = b'{"events":5,"events":[' + text(event("a")) + b'],"message_id":[],"message_id":"m"}'
    assert run(body + b"\n").views == [("a", T, "m", 0, 0)]
    assert run(b'{"message_id":"m","message_id":null,"events":[' + text(event("a")) + b"]}\n").views[0][2] is None


def test_a_rejected_event_keeps_its_own_bytes_as_they_were():
    bad = b'{ "event_type" : "custom_event",  "data":{"event_name":"product","x":"\\ud800","n":1e999}}'
    body = b'{"events":[5 ,' + bad + b" , " + bad + b', "5",5],"x":"\\ud83d\\ude00"}'
    assert [reject.raw for reject in decode_message(body).rejects] == [b"5", bad, bad, b'"5"', b"5"]


def test_a_detail_never_repeats_the_data():
    for found, _ in RULES:
        secret = "a@b.example"
        for reject in decode_message(
            text(message({**found, "mail": secret} if isinstance(found, dict) else secret))
        ).rejects:
            assert secret not in reject.detail


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TIMES = st.integers(940_000_000_000, 4_110_000_000_000)
EVENTS = st.builds(
    event,
    st.just(UNSET) | st.text(max_size=6) | JSON,
    TIMES | TIMES.map(str) | TIMES.map(lambda time: time + 0.25) | JSON,
    kind=st.just("custom_event") | st.just("other") | JSON,
    name=st.just("product") | st.just("cart") | JSON,
    custom_attributes=JSON | st.builds(dict, codeColor=st.text(max_size=4)),
)
IDS_OF_MESSAGES = st.just(UNSET) | st.none() | st.text(max_size=4) | st.integers() | JSON
MESSAGES = st.builds(
    lambda events, message_id: message(*events, message_id=message_id),
    st.lists(st.builds(event, st.sampled_from("abc"), TIMES) | EVENTS | JSON, max_size=4),
    IDS_OF_MESSAGES,
)


@settings(deadline=None)
@given(st.lists(MESSAGES, min_size=1, max_size=6))
def test_the_fast_way_and_the_rules_agree_on_every_message(messages):
    lines = [text(one) for one in messages]
    decoded = run(b"\n".join(lines) + b"\n")
    views, rejects, offset = [], [], 0
    for line in lines:
        try:
            one = decode_message(line, offset)
            views += [(*view[:2], one.message_id, view.position, offset) for view in one.views]
            rejects += [(reject.reason, reject.position, reject.raw) for reject in one.rejects]
        except Fault as fault:
            rejects.append((fault.reason, None, line))
        offset += len(line) + 1
    assert decoded.views == views
    assert [(reject.reason, reject.position, reject.raw) for reject in decoded.rejects] == rejects
