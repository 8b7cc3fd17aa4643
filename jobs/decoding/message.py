"""The rules of one message and one event, in full: slow, and the only place that decides what is quarantined and why.

``collect`` reads clean messages faster by typed decoding and hands every message it has a doubt about to this module.
The order of the checks is the order of the code, so a message with two faults always gets the same reason.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import NamedTuple

import msgspec

from jobs.decoding.jsonvalue import mask_surrogates, parse, value_end
from jobs.decoding.records import RAW_BYTES, Fault, Reason, Reject

FIRST_MS = 946_684_800_000
"""2000-01-01 UTC, the first millisecond that a view may have."""

END_MS = 4_102_444_800_000
"""2100-01-01 UTC, the first millisecond that a view may not have."""

PRODUCT_CHARACTERS = 512
"""Longest product."""

ID_BYTES = 256
"""Longest message id, in UTF-8, that is kept as it is: it stands in the row of each of the message's views."""

_DECIMAL = re.compile(r"\s*-?[0-9]+(?:\.[0-9]+)?\s*", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")


class View(NamedTuple):
    """One view: the product, its time in epoch milliseconds, and its index in the message's ``events``."""

    product: str
    time_ms: int
    position: int


@dataclass
class Message:
    """What one message holds: its id, its views, how many events were ignored, and the rejected events."""

    message_id: str | None
    views: list[View] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    ignored: int = 0

    @property
    def events(self) -> int:
        """How many events the message has in all."""
        return len(self.views) + len(self.rejects) + self.ignored


class _Events(msgspec.Struct):
    events: msgspec.Raw = msgspec.Raw(b"[]")


class _Id(msgspec.Struct):
    message_id: msgspec.Raw = msgspec.Raw(b"null")


_NOT_GAP = re.compile(rb"[^ \t\r\n,]")
_RAW_EVENTS = msgspec.json.Decoder(_Events)
_RAW_ID = msgspec.json.Decoder(_Id)


def decode_message(raw: bytes, offset: int = 0) -> Message:
    """The message in ``raw`` (the bytes of one record), with rejects for the events that cannot be used.

    Raises:
        Fault: the record as a whole cannot be used.
    """
    message_id, events = open_message(raw)
    message = Message(message_id)
    for found in read_events(raw, events, offset):
        if found is None:
            message.ignored += 1
        elif isinstance(found, View):
            message.views.append(found)
        else:
            message.rejects.append(found)
    return message


def open_message(raw: bytes) -> tuple[str | None, list[object]]:
    """The id and the parsed events of the message in ``raw``.

    Raises:
        Fault: the record as a whole cannot be used.
    """
    record = parse(raw)
    if not isinstance(record, dict):
        raise Fault(Reason.NOT_AN_OBJECT, f"found {_kind(record)}")
    events = record.get("events")
    if events is not None and not isinstance(events, list):
        raise Fault(Reason.EVENTS_TYPE, f"found {_kind(events)}")
    return _message_id(record.get("message_id"), raw), events or []


def read_events(raw: bytes, events: list[object], offset: int) -> Iterator[View | Reject | None]:
    """What each of the events of the message in ``raw`` is: a view, a reject, or None for an ignored one."""
    texts, passed = _event_texts(raw), 0
    for position, event in enumerate(events):
        try:
            view = read_event(event)
        except Fault as fault:
            text = next(islice(texts, position - passed, None))
            passed = position + 1
            yield reject(offset, fault, text, position=position)
        else:
            yield None if view is None else View(*view, position)


def decode_event(raw: bytes) -> tuple[str, int] | None:
    """Product and time (epoch milliseconds) of the event in ``raw``, or None for an event that is no product view.

    Raises:
        Fault: the event cannot be used.
    """
    return read_event(parse(raw))


def read_event(event: object) -> tuple[str, int] | None:
    """As ``decode_event``, of an event that is parsed already (design.md, section 1)."""
    if not isinstance(event, dict):
        raise Fault(Reason.EVENT_TYPE, f"found {_kind(event)}")
    if event.get("event_type") != "custom_event":
        return None
    data = event.get("data")
    if not isinstance(data, dict):
        raise Fault(Reason.DATA_TYPE, f"found {_kind(data)}")
    name = data.get("event_name")
    if name is not None and not isinstance(name, str):
        raise Fault(Reason.EVENT_NAME_TYPE, f"found {_kind(name)}")
    if name != "product":
        return None
    attributes = data.get("custom_attributes")
    if not isinstance(attributes, dict):
        raise Fault(Reason.ATTRIBUTES_TYPE, f"found {_kind(attributes)}")
    return _product(attributes.get("codeColor")), _time_ms(data.get("timestamp_unixtime_ms"))


def short_id(message_id: str) -> str:
    """The id as ``views`` keeps it: a long one by its digest, so that equal ids stay equal and others differ."""
    text = message_id.encode()
    return message_id if len(text) <= ID_BYTES else f"sha256:{hashlib.sha256(text).hexdigest()}"


def reject(offset: int, fault: Fault, raw: bytes, *, length: int | None = None, position: int | None = None) -> Reject:
    """The reject for ``fault``; ``length`` is the true length where ``raw`` is cut already."""
    return Reject(
        offset, position, fault.reason, fault.detail, bytes(raw[:RAW_BYTES]), len(raw) if length is None else length
    )


def _kind(value: object) -> str:
    """The JSON name of the type of a parsed value; None is what a missing key gives too."""
    if value is None:
        return "nothing or null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "an array", dict: "an object"}
    return names[type(value)]


def _message_id(value: object, raw: bytes) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Fault(Reason.MESSAGE_ID_TYPE, f"found {_kind(value)}")
    if not isinstance(value, str):
        return short_id(bytes(_RAW_ID.decode(mask_surrogates(raw)).message_id).decode("ascii"))
    if _SURROGATE.search(value):
        raise Fault(Reason.MESSAGE_ID_TEXT)
    return short_id(value)


def _event_texts(raw: bytes) -> Iterator[bytes]:
    """The raw bytes of each element of the record's ``events``, found one by one."""
    masked = mask_surrogates(raw)
    events = bytes(_RAW_EVENTS.decode(masked).events)
    at = masked.rfind(events) + 1
    view = memoryview(masked)
    while True:
        at = _NOT_GAP.search(masked, at).start()  # type: ignore[union-attr]  # a bracket ends the list
        if masked[at] == ord("]"):
            return
        end = at + value_end(view[at:]).end
        yield raw[at:end].rstrip(b" \t\r\n")
        at = end


def _product(value: object) -> str:
    if value is None:
        raise Fault(Reason.PRODUCT_MISSING)
    if not isinstance(value, str):
        raise Fault(Reason.PRODUCT_TYPE, f"found {_kind(value)}")
    if not value.strip():
        raise Fault(Reason.PRODUCT_EMPTY)
    if len(value) > PRODUCT_CHARACTERS:
        raise Fault(Reason.PRODUCT_LENGTH, f"found {len(value)} characters")
    if "\0" in value or _SURROGATE.search(value):
        raise Fault(Reason.PRODUCT_TEXT)
    return value


def _time_ms(value: object) -> int:
    """Whole milliseconds since 1970, rounded down: JSON numbers as IEEE doubles, text exactly."""
    if value is None:
        raise Fault(Reason.TIME_MISSING)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Fault(Reason.TIME_TYPE, f"found {_kind(value)}")
    if isinstance(value, str):
        if not _DECIMAL.fullmatch(value):
            raise Fault(Reason.TIME_TEXT, f"found {len(value)} characters")
        number: int | float | Decimal = Decimal(value.strip())
    else:
        number = value
    if not FIRST_MS <= number < END_MS:
        raise Fault(Reason.TIME_RANGE, f"found {str(number)[:24]} ms")
    return math.floor(number)
