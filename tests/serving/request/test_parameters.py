from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidRequest
from serving.request import inputs, parameters
from serving.request.parameters import (
    LONGEST_AGGREGATION,
    CtrRequest,
    ProductsRequest,
    ctr_from_body,
    ctr_from_query,
    nothing_from_query,
    products_from_query,
)
from tests.serving.conftest import patient

CASE: dict[str, Any] = {
    "startTimestamp": "2016-01-03 13:55:00",
    "endTimestamp": "2016-01-04 13:55:00",
    "aggregation": 60,
}
START, END = 1451829300, 1451915700


def query(**changes: Any) -> bytes:
    """The case's query string with changes; ``None`` leaves a parameter out, a list repeats it."""
    values = {name: value for name, value in {**CASE, **changes}.items() if value is not None}
    return urlencode(values, doseq=True).encode()


def body(**changes: Any) -> bytes:
    """The case's body with changes; ``...`` leaves a parameter out."""
    values = {name: value for name, value in {**CASE, **changes}.items() if value is not ...}
    return json.dumps(values).encode()


def faults(read, given_bytes: bytes) -> list[tuple[str, str]]:
    """Parameter and code of every fault, in order."""
    with pytest.raises(InvalidRequest) as caught:
        read(given_bytes)
    assert all(fault.detail and fault.hint for fault in caught.value.errors)
    return [(fault.parameter, fault.code) for fault in caught.value.errors]


def test_the_request_of_the_case_is_read_the_same_from_query_and_body():
    wanted = CtrRequest(START, END, 60)
    assert ctr_from_query(query()) == wanted
    assert ctr_from_body(body()) == wanted


def test_every_option_is_read_the_same_from_query_and_body():
    wanted = CtrRequest(START + 7200, END + 7200, 7, ("a", "b"), ("Android", "iOS"), "America/Sao_Paulo", True)
    zone = "America/Sao_Paulo"
    assert wanted == ctr_from_query(
        query(aggregation=7, product=["b", "a", "b"], platform=["IOS", "android"], timezone=zone, detail="true")
    )
    assert wanted == ctr_from_body(
        body(aggregation=7, product=["b", "a", "b"], platform=["iOS", "ANDROID"], timezone=zone, detail=True)
    )


def test_one_product_and_one_platform_of_a_body_may_be_texts():
    assert ctr_from_body(body(product="a", platform="ios")) == CtrRequest(START, END, 60, ("a",), ("iOS",))


def test_an_offset_whose_plus_became_a_space_is_understood_in_a_query_only():
    start = "2016-01-03 13:55:00 00:00"
    assert ctr_from_query(query(startTimestamp=start)).start == START
    raw = f"startTimestamp={quote('2016-01-03 13:55:00')}+00:00&endTimestamp=2016-01-04T13:55Z&aggregation=60"
    assert ctr_from_query(raw.encode()) == CtrRequest(START, END, 60)
    assert faults(ctr_from_body, body(startTimestamp=start)) == [("startTimestamp", "time_format")]


def test_all_faults_of_a_query_are_listed_at_once():
    wrong = query(
        startTimestamp=None,
        endTimestamp="soon",
        aggregation="1.5",
        product="",
        platform=["tv", "iOS", "desktop"],
        timezone="Mars/Olympus",
        detail="yes",
        agregation="60",
    )
    assert faults(ctr_from_query, wrong) == [
        ("agregation", "unknown_parameter"),
        ("timezone", "unknown_timezone"),
        ("startTimestamp", "missing"),
        ("endTimestamp", "time_format"),
        ("aggregation", "not_a_whole_number"),
        ("detail", "not_a_flag"),
        ("product", "empty"),
        ("platform", "unknown_platform"),
        ("platform", "unknown_platform"),
    ]


def test_all_faults_of_a_body_are_listed_at_once():
    wrong = body(
        startTimestamp=5,
        endTimestamp=...,
        aggregation="60",
        product=[1, "ok", None],
        platform={"a": 1},
        timezone=None,
        detail="true",
        fil="zero",
    )
    assert faults(ctr_from_body, wrong) == [
        ("fil", "unknown_parameter"),
        ("timezone", "wrong_type"),
        ("startTimestamp", "wrong_type"),
        ("endTimestamp", "missing"),
        ("aggregation", "not_a_whole_number"),
        ("detail", "not_a_flag"),
        ("product", "wrong_type"),
        ("product", "wrong_type"),
        ("platform", "wrong_type"),
    ]


def test_more_products_than_a_request_may_name_are_one_fault_beside_the_others_and_are_not_looked_at(monkeypatch):
    names = [f"{number:04x}" for number in range(130_000)]
    monkeypatch.setattr(inputs.Typed, "text", lambda *_: pytest.fail("a name was looked at"))
    with pytest.raises(InvalidRequest) as refused:
        ctr_from_body(body(aggregation=0, startTimestamp=..., endTimestamp=..., product=names * 2), None, 1000)
    assert [(fault.parameter, fault.code) for fault in refused.value.errors] == [
        ("startTimestamp", "missing"),
        ("endTimestamp", "missing"),
        ("aggregation", "out_of_range"),
        ("product", "too_many_products"),
    ]
    assert refused.value.errors[3].detail == "found 130000 products; the limit is 1000 (setting filter_products)"
    assert refused.value.errors[3].hint == "1000 at once would pass this limit"
    assert len(ctr_from_body(body(product=names), None, 1000).products) == 130_000


def test_a_name_that_a_body_gives_again_and_again_is_one_and_looked_at_once(monkeypatch):
    looked = []
    text = inputs.Typed.text
    monkeypatch.setattr(inputs.Typed, "text", lambda self, name, value: looked.append(name) or text(self, name, value))
    given = body(product=["b", "a"] * 50_000, platform=["ios"] * 50_000)
    wanted = ctr_from_body(given, None, 2)
    assert (wanted.products, wanted.platforms) == (("a", "b"), ("iOS",))
    assert sorted(looked) == ["platform", "product", "product"]


@pytest.mark.parametrize("text", ["60.0", "1e2", "true", "-5", "+60", " 60", "60 ", "0x3c", "", "٦٠", "null", "1_0"])
def test_an_aggregation_of_a_query_that_is_not_digits_is_a_fault(text):
    assert faults(ctr_from_query, query(aggregation=text)) == [("aggregation", "not_a_whole_number")]


@pytest.mark.parametrize("value", [60, 60.0])
def test_a_whole_number_of_a_body_may_be_written_with_a_fraction_of_zero(value):
    assert ctr_from_body(body(aggregation=value)).aggregation == 60


@pytest.mark.parametrize("value", [10**16, 3303512670383171.0, 1e300])
def test_a_step_beyond_any_range_is_the_longest_however_it_is_written(value):
    assert ctr_from_body(body(aggregation=value)).aggregation == LONGEST_AGGREGATION


@pytest.mark.parametrize("value", [60.5, float("inf"), True, "60", None, [60]])
def test_an_aggregation_of_a_body_that_is_not_an_integer_is_a_fault(value):
    assert faults(ctr_from_body, body(aggregation=value)) == [("aggregation", "not_a_whole_number")]


@pytest.mark.parametrize("value", [0, -1])
def test_an_aggregation_below_one_is_a_fault(value):
    assert faults(ctr_from_body, body(aggregation=value)) == [("aggregation", "out_of_range")]
    assert faults(ctr_from_query, query(aggregation=0)) == [("aggregation", "out_of_range")]


def test_an_aggregation_of_any_length_is_legal_and_means_one_bucket():
    longest = ctr_from_query(query(aggregation="9" * 5000)).aggregation
    assert longest == ctr_from_body(body(aggregation=10**100)).aggregation
    assert longest * 60 > END - START


@pytest.mark.parametrize("end", ["2016-01-03 13:55:00", "2016-01-03 13:54:59"])
def test_an_end_that_is_not_after_the_start_is_a_fault(end):
    assert faults(ctr_from_query, query(endTimestamp=end)) == [("endTimestamp", "reversed_range")]


def test_a_single_parameter_given_twice_is_a_fault_even_with_the_same_value():
    twice = query(startTimestamp=[CASE["startTimestamp"]] * 2, timezone=["UTC", "UTC"])
    assert faults(ctr_from_query, twice) == [("timezone", "repeated"), ("startTimestamp", "repeated")]
    doubled = body()[:-1] + b', "aggregation": 60}'
    assert faults(ctr_from_body, doubled) == [("aggregation", "repeated")]


def test_an_empty_list_is_a_fault_and_not_every_product():
    assert faults(ctr_from_body, body(product=[], platform=[])) == [("product", "empty"), ("platform", "empty")]


def test_a_near_miss_is_hinted_at():
    with pytest.raises(InvalidRequest) as caught:
        ctr_from_query(query(platfrom="iOS", timezone="America/SaoPaulo"))
    assert [fault.hint for fault in caught.value.errors] == [
        "did you mean platform?",
        "did you mean America/Sao_Paulo?",
    ]


def test_the_nearest_name_is_looked_for_of_the_first_unknown_parameters_only(monkeypatch):
    looked_for = []
    monkeypatch.setattr(inputs, "get_close_matches", lambda name, *_: looked_for.append(name) or ["platform"])
    with pytest.raises(InvalidRequest) as caught:
        ctr_from_body(body(**{f"platfrom{number}": "iOS" for number in range(20_000)}))
    assert looked_for == [f"platfrom{number}" for number in range(5)]
    hints = [fault.hint for fault in caught.value.errors]
    assert hints[:5] == ["did you mean platform?"] * 5
    assert len(hints) == 50
    assert all(hint.startswith("the parameters are startTimestamp, ") for hint in hints[5:])


@pytest.mark.parametrize("name", ["product", "platform"])
def test_once_there_are_enough_faults_no_value_is_read_any_more(name, monkeypatch):
    told = []
    monkeypatch.setattr(inputs, "shown", lambda value: told.append(value) or "it")
    wrong = body(**{name: [1] * 10_000})
    assert faults(ctr_from_body, wrong) == [(name, "wrong_type")] * 50
    assert len(told) == 50
    with pytest.raises(InvalidRequest, match=f"^At least 50 faults, more were not looked for, in: {name}\\.$"):
        ctr_from_body(wrong)
    with pytest.raises(InvalidRequest, match=f"^49 faults in: {name}\\.$"):
        ctr_from_body(body(**{name: [1] * 49}))


def test_an_unknown_timezone_is_compared_with_those_whose_place_begins_alike(monkeypatch):
    compared = []
    monkeypatch.setattr(parameters, "get_close_matches", lambda _, zones, __: compared.extend(zones))
    assert faults(ctr_from_query, query(timezone="europe/berlim")) == [("timezone", "unknown_timezone")]
    assert "Europe/Berlin" in compared
    assert all(zone.rpartition("/")[2][0] in "bB" for zone in compared)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/localtime", "America", "", "utc\x00", "localtime", "Factory", "x" * 5000]
)
def test_a_timezone_is_looked_up_by_name_and_never_by_path(name):
    assert faults(ctr_from_query, query(timezone=name)) == [("timezone", "unknown_timezone")]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"aggregation": ' + b"9" * 5000 + b"}",
        b'{"startTimestamp": "x"} trailing',
    ],
)
def test_a_body_that_is_not_json_is_one_fault(text):
    assert faults(ctr_from_body, text) == [("body", "malformed_json")]


@pytest.mark.parametrize(
    "text",
    [
        b'{"product": [' + b"{}," * 100_000 + b"{}]}",
        b'{"product": [' + b"0," * 100_000 + b"0]}",
        b'{"x": [' + b"[]," * 100_000 + b"[]]}",
        b'{"x": [' + b'{"": ""},' * 100_000 + b"[]]}",
        b'{"x": [' + b'["", "\\""],' * 100_000 + b"[]]}",
        b"{" + b'"x": "\\\\",' * 100_000 + b'"x": ""}',
        b"{" + b'"x":0,' * 100_000 + b'"x":0}',
        b'{"x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"x": [' + b"{}," * 100_000 + b'"' + b'"",' * 100_000,
    ],
    ids=lambda text: text[:20].decode(),
)
def test_a_body_of_very_many_values_is_one_fault_and_none_of_them_is_made(text, monkeypatch):
    monkeypatch.setattr(inputs.json, "loads", lambda *_, **__: pytest.fail("the body was read"))
    assert faults(ctr_from_body, text) == [("body", "too_many_values")]


def test_texts_of_lists_are_not_counted_as_values_whatever_they_hold():
    names = sorted(f"{number}{end}" for number in range(10_000) for end in (',,,"', "\\", '":"]}', '\\"', " [{,"))
    assert ctr_from_body(body(product=names)).products == tuple(names)


@pytest.mark.parametrize("text", [b"[]", b"1", b"null", b'"x"', b'[{"startTimestamp": 1}]'])
def test_a_body_that_is_not_an_object_is_one_fault(text):
    assert faults(ctr_from_body, text) == [("body", "wrong_type")]


def test_half_a_surrogate_pair_is_a_fault():
    assert faults(ctr_from_body, body(product="\ud800")) == [("product", "encoding")]


def test_a_query_that_is_not_utf8_is_a_fault():
    assert faults(ctr_from_query, query() + b"&product=%ff") == [("query", "encoding")]


def test_products_are_searched_with_defaults():
    assert products_from_query(b"") == ProductsRequest("", 20)
    assert products_from_query(b"search=%25_&limit=1000") == ProductsRequest("%_", 1000)


@pytest.mark.parametrize("limit", ["0", "1001", "9" * 30])
def test_a_limit_of_products_outside_its_range_is_a_fault(limit):
    assert faults(products_from_query, f"limit={limit}&x=1".encode()) == [
        ("x", "unknown_parameter"),
        ("limit", "out_of_range"),
    ]


def test_an_address_without_parameters_refuses_every_one():
    nothing_from_query(b"")
    assert faults(nothing_from_query, b"a=1&b=2") == [("a", "unknown_parameter"), ("b", "unknown_parameter")]


def read_or_refused(read, given_bytes: bytes) -> object:
    """The request, or the faults."""
    try:
        return read(given_bytes)
    except InvalidRequest as error:
        return error.errors


@patient
@given(st.binary(max_size=200))
def test_any_query_string_is_read_or_refused(given_bytes):
    assert read_or_refused(ctr_from_query, given_bytes)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@patient
@given(
    st.dictionaries(st.sampled_from(["startTimestamp", "aggregation", "product", "platform", "detail"]), json_values)
)
def test_any_body_is_read_or_refused(changes):
    assert read_or_refused(ctr_from_body, body(**changes))
