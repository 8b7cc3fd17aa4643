"""The rules of one message and one event, in full: slow, and the only place that decides what is quarantined and why.

``jobs/batch.py`` reads clean messages faster by typed decoding and hands every message it has a doubt about to this module.
The order of the checks is the order of the code, so a message with two faults always gets the same reason.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

import msgspec

from jobs.jsonvalue import mask_surrogates, parse
from jobs.records import RAW_BYTES, Fault, Reason, Reject

FIRST_MS = 946_684_800_000
"""2000-01-01 UTC, the first millisecond that a view may have."""

END_MS = 4_102_444_800_000
"""2100-01-01 UTC, the first millisecond that a view may not have."""

PRODUCT_CHARACTERS = 512
"""Longest product."""

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

    message_id: str | None = None
    events: int = 0
    ignored: int = 0
    views: list[View] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


class _Events(msgspec.Struct):
    events: msgspec.Raw = msgspec.Raw(b"[]")


class _Id(msgspec.Struct):
    message_id: msgspec.Raw = msgspec.Raw(b"null")


_RAW_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_RAW_EVENTS = msgspec.json.Decoder(_Events)
_RAW_ID = msgspec.json.Decoder(_Id)


def decode_message(raw: bytes, offset: int = 0) -> Message:
    """The message in ``raw`` (the bytes of one record), with rejects for the events that cannot be used.

    Raises:
        Fault: the record as a whole cannot be used.
    """
    record = parse(raw)
    if not isinstance(record, dict):
        raise Fault(Reason.NOT_AN_OBJECT, f"found {_kind(record)}")
    events = record.get("events")
    if events is not None and not isinstance(events, list):
        raise Fault(Reason.EVENTS_TYPE, f"found {_kind(events)}")
    message = Message(_message_id(record.get("message_id"), raw))
    faults = _read_events(events or [], message)
    if faults:
        texts = _event_texts(raw)
        message.rejects = [reject(offset, fault, texts[position], position=position) for position, fault in faults]
    return message


def _read_events(events: list[object], message: Message) -> list[tuple[int, Fault]]:
    """Puts the events into ``message``; the positions and faults of those that cannot be used."""
    faults: list[tuple[int, Fault]] = []
    message.events = len(events)
    for position, event in enumerate(events):
        try:
            view = read_event(event)
        except Fault as fault:
            faults.append((position, fault))
            continue
        if view is None:
            message.ignored += 1
        else:
            message.views.append(View(*view, position))
    return faults


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
        return bytes(_RAW_ID.decode(mask_surrogates(raw)).message_id).decode("ascii")
    if _SURROGATE.search(value):
        raise Fault(Reason.MESSAGE_ID_TEXT)
    return value


def _event_texts(raw: bytes) -> list[bytes]:
    """The raw bytes of each element of the record's ``events``."""
    masked = mask_surrogates(raw)
    events = bytes(_RAW_EVENTS.decode(masked).events)
    texts: list[bytes] = []
    end = masked.rfind(events)
    for element in _RAW_LIST.decode(events):
        text = bytes(element)
        # Between two elements stand only white space and a comma, so the first match is the element itself.
        start = masked.find(text, end + (not texts))
        end = start + len(text)
        texts.append(raw[start:end])
    return texts


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
        raise Fault(Reason.TIME_RANGE, f"found {float(number):.15g} ms")
    return math.floor(number)
