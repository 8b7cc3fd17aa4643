"""JSON texts of the sample as fixed-width templates, so that numpy fills thousands of records at once.

A template is written as a plain object whose variable values are marks: ``"#time"`` becomes a bare number,
``"$time"`` a quoted text; ``"#-mpid"`` has a fixed minus sign, ``"#time.fraction"`` is two marks with a point between.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from jobs.sample.catalog import Cells

WIDTHS = {"time": 13, "fraction": 4, "sent": 13, "event": 18, "session": 18, "mpid": 18, "batch": 18}
WIDTHS |= {"product": 12, "price": 5, "message": 36}

_MARK = re.compile(r'"#(?P<bare>[a-z.-]+)"|\$(?P<quoted>[a-z]+)')


@dataclass(frozen=True)
class Template:
    """One record's bytes with the places (name, begin, end) of its variable values."""

    row: Cells
    places: tuple[tuple[str, int, int], ...]

    @property
    def width(self) -> int:
        """Bytes of one record."""
        return len(self.row)

    def fill(self, count: int, columns: Mapping[str, Cells]) -> list[bytes]:
        """``count`` records with the columns' values in their places."""
        rows = np.tile(self.row, (count, 1))
        for name, begin, end in self.places:
            rows[:, begin:end] = columns[name]
        return [] if count == 0 else list(rows.view(f"V{self.width}").ravel().tolist())


def compile_template(text: str) -> Template:
    """The template of a JSON text with marks."""
    row = bytearray()
    places: list[tuple[str, int, int]] = []
    end = 0
    for mark in _MARK.finditer(text):
        row += text[end : mark.start()].encode()
        end = mark.end()
        for part in re.split(r"([.-])", mark["bare"] or mark["quoted"]):
            if part in WIDTHS:
                places.append((part, len(row), len(row) + WIDTHS[part]))
                row += b"0" * WIDTHS[part]
            else:
                row += part.encode()
    row += text[end:].encode()
    return Template(np.frombuffer(bytes(row), np.uint8), tuple(places))


def _event(attributes: object, time: object = "#time", *, name: str = "product", kind: str = "custom_event") -> object:
    data = {
        "custom_event_type": "navigation",
        "event_name": name,
        "timestamp_unixtime_ms": time,
        "event_id": "#event",
        "session_id": "#-session",
        "custom_attributes": attributes,
    }
    return {"data": {key: value for key, value in data.items() if value is not None}, "event_type": kind}


_ATTRIBUTES = {"actualPrice": "$price", "base": "p", "codeColor": "$product"}
_SESSION = {"timestamp_unixtime_ms": "#time", "event_id": "#event", "session_id": "#-session"}

VIEWS: dict[str, tuple[float, object]] = {
    "view": (0.52, _event(_ATTRIBUTES)),
    "view_fractional_time": (0.09, _event(_ATTRIBUTES, "#time.fraction")),
    "view_text_time": (0.02, _event(_ATTRIBUTES, "$time")),
}
"""Product views by spelling of their time: share of events, event."""

IGNORED: dict[str, tuple[float, object]] = {
    "session_start": (0.07, {"data": _SESSION, "event_type": "session_start"}),
    "screen_view": (0.12, {"data": {**_SESSION, "screen_name": "catalog"}, "event_type": "screen_view"}),
    "category": (0.09, _event({"base": "p", "category": "vestidos"}, name="category")),
    "add_to_cart": (0.06, _event(_ATTRIBUTES, name="addToCart")),
    "home": (0.02, _event(None, name="home")),
    "product_screen": (0.01, _event(_ATTRIBUTES, kind="screen_view")),
}
"""Events that are no product views; some carry a product or the name ``product`` all the same."""

BROKEN: dict[str, tuple[float, object]] = {
    "no_product": (0.0005, _event({"actualPrice": "$price", "base": "p"})),
    "empty_product": (0.0005, _event({**_ATTRIBUTES, "codeColor": ""})),
    "product_not_text": (0.0005, _event({**_ATTRIBUTES, "codeColor": 20001829})),
    "attributes_not_an_object": (0.0005, _event("none")),
    "no_time": (0.0005, _event(_ATTRIBUTES, None)),
    "time_not_a_number": (0.0005, _event(_ATTRIBUTES, "yesterday")),
    "time_out_of_range": (0.0005, _event(_ATTRIBUTES, 0)),
}
"""Product events that cannot be used."""

_MESSAGE = {
    "events": ["EVENTS"],
    "mpid": "#-mpid",
    "timestamp_unixtime_ms": "#sent",
    "batch_id": "#batch",
    "message_id": "$message",
    "message_type": "events",
    "schema_version": 1,
}


@dataclass(frozen=True)
class Style:
    """The templates of one layout (JSON lines, or the elements of a pretty array) and what stands between records."""

    head: bytes
    events: dict[str, Template]
    comma: bytes
    tail: Template
    tail_without_id: Template
    separator: bytes
    begin: bytes
    end: bytes


@cache
def make_style(pretty: bool) -> Style:
    """The style of JSON lines, or of an array printed over many lines."""
    outer, inner = (" " * 2, " " * 6) if pretty else ("", "")
    head, tail = _render(_MESSAGE, pretty, outer).split('"EVENTS"')
    no_id = {key: value for key, value in _MESSAGE.items() if key != "message_id"}
    return Style(
        head=head.encode(),
        events={
            name: compile_template(_render(event, pretty, inner).lstrip())
            for name, (_, event) in {**VIEWS, **IGNORED, **BROKEN}.items()
        },
        comma=b",\n" + inner.encode() if pretty else b",",
        tail=compile_template(tail),
        tail_without_id=compile_template(_render(no_id, pretty, outer).split('"EVENTS"')[1]),
        separator=b",\n" if pretty else b"\n",
        begin=b"[\n" if pretty else b"",
        end=b"\n]\n" if pretty else b"\n",
    )


def _render(value: object, pretty: bool, indent: str) -> str:
    if not pretty:
        return json.dumps(value, separators=(",", ":"))
    return "\n".join(indent + line for line in json.dumps(value, indent=2).split("\n"))
