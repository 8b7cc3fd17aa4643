"""jobs/sample/templates.py and the numbers that fill it: what numpy writes is what a JSON reader reads."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.sample.catalog import text_cells
from jobs.sample.events import digits
from jobs.sample.templates import compile_template, make_style

TIMES = st.lists(st.integers(10**12, 10**13 - 1), min_size=1, max_size=20)


@given(st.lists(st.integers(0, 10**18 - 1), min_size=1), st.sampled_from([18, 19, 21]))
def test_digits_are_the_decimal_text_with_leading_zeros(numbers: list[int], width: int) -> None:
    cells = digits(np.array(numbers, np.int64), width)
    assert [bytes(row).decode() for row in cells] == [f"{number:0{width}d}" for number in numbers]


@given(TIMES)
def test_a_template_puts_each_value_in_its_place(times: list[int]) -> None:
    template = compile_template('{"bare":"#time","minus":"#-time","point":"#time.fraction","text":"$time"}')
    cells = digits(np.array(times, np.int64), 13)
    texts = template.fill(len(times), {"time": cells, "fraction": text_cells(["2500"] * len(times))})
    assert [json.loads(text) for text in texts] == [
        {"bare": time, "minus": -time, "point": time + 0.25, "text": str(time)} for time in times
    ]


def test_a_template_filled_for_no_record_gives_none() -> None:
    assert compile_template('{"a":1}').fill(0, {}) == []


@pytest.mark.parametrize("pretty", [False, True])
def test_both_styles_have_the_same_events(pretty: bool) -> None:
    columns = {
        "time": text_cells(["1454284800000"]),
        "fraction": text_cells(["2500"]),
        "event": text_cells(["6" * 18]),
        "session": text_cells(["7" * 18]),
        "product": text_cells(["20001829_048"]),
        "price": text_cells(["189.9"]),
    }
    style = make_style(pretty)
    events = {name: json.loads(template.fill(1, columns)[0]) for name, template in style.events.items()}
    assert events["view"] == {
        "data": {
            "custom_event_type": "navigation",
            "event_name": "product",
            "timestamp_unixtime_ms": 1454284800000,
            "event_id": int("6" * 18),
            "session_id": -int("7" * 18),
            "custom_attributes": {"actualPrice": "189.9", "base": "p", "codeColor": "20001829_048"},
        },
        "event_type": "custom_event",
    }
    assert events["view_fractional_time"]["data"]["timestamp_unixtime_ms"] == 1454284800000.25
    assert events["view_text_time"]["data"]["timestamp_unixtime_ms"] == "1454284800000"
    assert "codeColor" not in events["no_product"]["data"]["custom_attributes"]
