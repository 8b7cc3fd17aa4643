import pytest

from jobs.siblings import Siblings


def test_a_message_is_known_by_its_first_key_before_anything_was_seen():
    data = b'x{"a":1}{ "events" :[]}'
    assert Siblings().find(data, 0) == data.index(b'{ "events"')


def test_nothing_is_found_where_nothing_begins():
    assert Siblings().find(b'{"a":1},{"b":2}', 0) == -1


def test_the_first_key_of_a_whole_record_is_learned():
    siblings = Siblings()
    data = b'{"id":1}{"id":2}'
    siblings.learn(data, 0, 8)
    assert siblings.find(data, 1) == 8


def test_a_key_that_also_begins_objects_inside_the_record_is_not_learned():
    siblings = Siblings()
    data = b'{"id":{"id":1}} {"id":{"id":2}}'
    siblings.learn(data, 0, 15)
    assert siblings.find(data, 1) == -1


def test_the_indentation_of_a_whole_record_is_learned():
    siblings = Siblings()
    data = b'[\n  {\n    "a": [\n      {}\n    ]\n  },\n  {?'
    siblings.learn(data, 4, data.index(b",\n  {?"))
    assert siblings.find(data, 5) == data.index(b"{?")


@pytest.mark.parametrize(
    "data",
    [
        b'[{"a":1}\n  {?',  # the record begins no line
        b'[\n{"a":[\n{}]}\n{?',  # lines inside the record begin alike
    ],
)
def test_an_indentation_that_tells_nothing_is_not_learned(data):
    siblings = Siblings()
    start = data.index(b'{"a"')
    siblings.learn(data, start, data.index(b"\n", data.index(b"}")))
    assert siblings.find(data, start + 1) == -1


def test_a_broken_record_is_an_example_only_until_there_is_a_whole_one():
    data = b'{"wrong" {"wrong"{"right":1}{"right":1}'
    siblings = Siblings()
    siblings.suppose(data, 0)
    assert siblings.find(data, 1) == 9
    late = Siblings()
    late.learn(data, 17, 28)
    late.suppose(data, 0)
    assert late.find(data, 0) == 17
