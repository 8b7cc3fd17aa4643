import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.decoding.siblings import Search, Siblings, find_message
from tests.jobs.messages import event, message, text


def find(data, *, longest=1 << 20, budget=1 << 20):
    return find_message(data, 0, len(data), len(data), longest=longest, budget=budget)


def test_a_message_is_known_by_its_first_key_before_anything_was_seen():
    data = b'x{"a":1}{ "events" :[]}'
    assert Siblings().find(data, 0) == data.index(b'{ "events"')


def test_nothing_is_found_where_nothing_begins():
    assert Siblings().find(b'{"a":1},{"b":2}', 0) == -1


def test_nothing_is_found_behind_the_end():
    data = b'x{"events":[]}'
    assert Siblings().find(data, 0, len(data)) == 1
    assert Siblings().find(data, 0, 9) == -1


def test_the_first_key_of_a_whole_message_is_learned():
    siblings = Siblings()
    data = b'{"id":1,"events":[]}{"id":2'
    siblings.learn(data, 0, 20)
    assert siblings.learned
    assert siblings.find(data, 1) == 20


def test_nothing_is_learned_from_what_is_no_message():
    siblings = Siblings()
    data = b'[\n{"id":1,"x":{"events":[]}}\n,{"id":2}\n{"other":3}'
    siblings.learn(data, 2, data.index(b"\n,"))
    assert not siblings.learned
    assert siblings.find(data, 20) == -1


def test_a_key_that_also_begins_objects_inside_the_message_is_not_learned():
    siblings = Siblings()
    data = b'{"id":{"id":1},"events":[]} {"id":{"id":2}}'
    siblings.learn(data, 0, data.index(b" {"))
    assert siblings.find(data, 1) == -1


@pytest.mark.parametrize("before", [b":", b": ", b"["])
def test_a_member_or_the_first_of_a_list_is_no_record_by_its_key_alone(before):
    siblings = Siblings()
    data = b'{"id":1,"events":[]}{"x"' + before + b'{"id":2},{"id":3}'
    siblings.learn(data, 0, 20)
    assert siblings.find(data, 1) == data.index(b'{"id":3}')


def test_the_indentation_of_a_whole_message_is_learned():
    siblings = Siblings()
    data = b'[\n  {\n    "events": [\n      {}\n    ]\n  },\n  {?'
    siblings.learn(data, 4, data.index(b",\n  {?"))
    assert siblings.find(data, 5) == data.index(b"{?")


@pytest.mark.parametrize(
    "data",
    [
        b'[{"a":1,"events":[]}\n  {?',  # the record begins no line
        b'[\n{"a":1,"events":[\n{}]}\n{?',  # lines inside the record begin alike
        b"[\n" + b" " * 600 + b'{"a":1,"events":[]}\n' + b" " * 600 + b"{?",  # too far to look back
    ],
)
def test_an_indentation_that_tells_nothing_is_not_learned(data):
    siblings = Siblings()
    start = data.index(b'{"a"')
    siblings.learn(data, start, data.index(b"]}", start) + 2)
    assert siblings.find(data, start + 1) == -1


def test_a_broken_record_is_an_example_only_until_there_is_a_whole_one():
    data = b'{"wrong" {"wrong"{"right":1,"events":[]}{"right":1}'
    siblings = Siblings()
    siblings.suppose(data, 0)
    assert not siblings.learned
    assert siblings.find(data, 1) == 9
    siblings.learn(data, 17, 40)
    assert siblings.find(data, 0) == 17
    siblings.suppose(data, 0)
    assert siblings.find(data, 0) == 17


def test_a_message_is_found_by_what_it_holds_whatever_key_it_begins_with():
    data = b'"lost":{"a":[{"b":1}]}}, {"time":1,"x":{"time":2},"events":[{"time":3}]} ,{"c":1}'
    assert find(data).at == data.index(b'{"time":1')


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"x":{"events":[]}}',
        b'{"events":{}}',
        b'{"events":null}',
        b'{"x":"{\\"events\\":[]}"}',
        b'{"events":[]',
    ],
)
def test_what_holds_no_list_of_events_itself_is_no_message(data):
    assert find(data).at == -1


def test_the_end_of_the_text_may_cut_a_message():
    data = b'{"x":1} {"time":1, {"time":2,"events":['
    assert find(data)[:2] == (-1, data.index(b'{"time":2'))
    assert find(data + b"]}")[:2] == (data.index(b'{"time":2'), -1)


def test_a_message_must_begin_and_end_where_it_is_looked_for():
    data = b' {"time":1,"events":[]}'
    assert find_message(data, 0, 9, len(data), longest=99, budget=9999).at == 1
    assert find_message(data, 0, 1, len(data), longest=99, budget=9999).at == -1
    assert find_message(data, 0, 9, len(data) - 1, longest=99, budget=9999)[:2] == (-1, 1)


def test_a_message_that_is_too_long_is_none():
    data = b' {"time":1,"events":[]}  '
    assert find(data, longest=22).at == 1
    assert find(data, longest=21)[:2] == (-1, -1)
    assert find(data[:-4], longest=5).cut == -1


@pytest.mark.parametrize("before", [b'{"a":' * 1000, b'{"a":1}' * 10_000], ids=["deep", "many"])
def test_a_search_ends_where_it_has_cost_too_much(before):
    data = before + b'{"events":[]}'
    assert find(data, budget=1 << 30).at == len(before)
    search = find(data, budget=200_000)
    assert search.at == -1
    assert 200_000 < search.cost < 220_000
    assert find(data, budget=-1) == Search(-1, -1, 0)


@given(st.binary(max_size=30), st.lists(st.sampled_from(["events", "mpid", "time", "x"]), unique=True), st.booleans())
def test_a_whole_message_behind_anything_is_found_there_or_before(before, keys, pretty):
    written = dict.fromkeys(keys, 1) | message(event()) | {"time": {"x": 1}}
    data = before + (json.dumps(written, indent=1).encode() if pretty else text(written))
    assert 0 <= find(data).at <= len(before)
