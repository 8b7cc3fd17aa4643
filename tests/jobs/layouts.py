"""The layouts that the same messages come in, and the damages that one message can have: for tests of decoding."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.jobs.messages import text


def pretty(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()


def _indented(raw: bytes) -> bytes:
    return raw.replace(b"\n", b"\n  ")


LAYOUTS: dict[str, tuple[Callable[[Any], bytes], Callable[[list[bytes]], bytes]]] = {
    # how a message is written, and how the messages make a document
    "lines": (text, lambda parts: b"".join(part + b"\n" for part in parts)),
    "lines, CRLF, no last break": (text, b"\r\n".join),
    "array": (text, lambda parts: b"[" + b",".join(parts) + b"]"),
    "array, one a line": (text, lambda parts: b"[\n" + b",\n".join(parts) + b"\n]\n"),
    "array, pretty": (pretty, lambda parts: b"[\n  " + b",\n  ".join(map(_indented, parts)) + b"\n]"),
    "array, pretty, spaces": (pretty, lambda parts: b" [ " + b" , ".join(parts) + b" ] \n"),
    "objects": (text, b"".join),
    "objects, a space between": (text, b" ".join),
    "objects, pretty": (pretty, b"\n".join),
    "objects, pretty, no break between": (pretty, b"".join),
}


def write(layout: str, messages: list[Any], damage: Callable[[bytes], bytes] = bytes, at: int = -1) -> bytes:
    """A document of ``messages`` in ``layout``; the one at index ``at`` goes through ``damage``."""
    one, all_of = LAYOUTS[layout]
    return all_of([damage(one(value)) if index == at else one(value) for index, value in enumerate(messages)])


ORDERS: dict[str, list[list[str]]] = {
    # in which order the messages of a document hold their keys
    "a key that objects inside begin with as well": [["timestamp_unixtime_ms", "events", "mpid", "message_id"]],
    "a key of its own": [["application", "mpid", "events", "message_id"]],
    "another key each time": [
        ["timestamp_unixtime_ms", "events", "mpid", "message_id"],
        ["application", "mpid", "events", "message_id"],
        ["message_id", "events", "mpid"],
    ],
}


def order(messages: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """``messages`` with their keys in the order of this name, and the keys that it adds."""
    more = {"timestamp_unixtime_ms": 1, "application": {"timestamp_unixtime_ms": 2}}
    orders = ORDERS[name]
    return [{key: (more | one)[key] for key in orders[index % len(orders)]} for index, one in enumerate(messages)]


Damage = Callable[[bytes], bytes]

LOST: dict[str, tuple[Damage, str]] = {
    # damages that cost the message (it has the product "b"), and the reason
    "cut in the middle": (lambda raw: raw[: len(raw) // 2], "truncated"),
    "cut after the events": (lambda raw: raw[: raw.index(b"]")], "truncated"),
    "last brace lost": (lambda raw: raw[:-1], "truncated"),
    "beginning lost": (lambda raw: raw[len(raw) // 2 :], "stray_text"),
    "first brace lost": (lambda raw: raw[1:], "stray_text"),
    "quote not closed": (lambda raw: raw.replace(b'"b"', b'"b', 1), "invalid_json"),
    "quote not opened": (lambda raw: raw.replace(b'"b"', b'b"', 1), "invalid_json"),
    "inner brace lost": (lambda raw: raw.replace(b"}", b"", 1), "invalid_json"),
    "bracket lost": (lambda raw: raw.replace(b"]", b"", 1), "invalid_json"),
    "colon lost": (lambda raw: raw.replace(b":", b"", 1), "invalid_json"),
    "comma too many": (lambda raw: raw[:-1] + b",}", "invalid_json"),
    "apostrophes": (lambda raw: raw.replace(b'"', b"'"), "invalid_json"),
    "NaN": (lambda raw: raw.replace(b"1515546904352", b"NaN"), "invalid_json"),
    "Infinity": (lambda raw: raw.replace(b"-1", b"-Infinity"), "invalid_json"),
    "hexadecimal": (lambda raw: raw.replace(b"-1", b"0x10"), "invalid_json"),
    "leading zero": (lambda raw: raw.replace(b"-1", b"-01"), "invalid_json"),
    "wrong escape": (lambda raw: raw.replace(b'"b"', b'"\\b\\q"', 1), "invalid_json"),
    "NUL in a string": (lambda raw: raw.replace(b'"b"', b'"b\0"', 1), "invalid_json"),
    "NUL between": (lambda raw: raw.replace(b":", b":\0", 1), "invalid_json"),
    "tab in a string": (lambda raw: raw.replace(b'"b"', b'"b\t"', 1), "invalid_json"),
    "comment inside": (lambda raw: raw.replace(b":", b":/* */", 1), "invalid_json"),
    "bad UTF-8 in a value": (lambda raw: raw.replace(b'"b"', b'"b\xff"', 1), "not_utf8"),
    "bad UTF-8 in a key that is passed over": (lambda raw: raw.replace(b'"mpid"', b'"mp\xc3"', 1), "not_utf8"),
    "a surrogate as UTF-8": (lambda raw: raw.replace(b'"b"', b'"\xed\xa0\x80"', 1), "not_utf8"),
    "bad UTF-8 between": (lambda raw: raw.replace(b":", b"\xff:", 1), "not_utf8"),
    "deep nesting": (lambda raw: raw.replace(b"-1", b"[" * 5000 + b"]" * 5000), "too_deep"),
    "deep objects": (lambda raw: raw.replace(b"-1", b'{"a":' * 5000 + b"1" + b"}" * 5000), "too_deep"),
    "null": (lambda raw: b"null", "not_an_object"),
    "a number": (lambda raw: b"5", "not_an_object"),
    "text in quotes": (lambda raw: b'"{\\"events\\":[]}"', "not_an_object"),
    "plain text": (lambda raw: b"hello, world", "stray_text"),
    "events is no list": (lambda raw: b'{"events":{"0":' + raw + b"}}", "events_type"),
    "message_id is a list": (lambda raw: raw[:-1] + b',"message_id":["b"]}', "message_id_type"),
    "message_id is half a pair": (lambda raw: raw[:-1] + b',"message_id":"\\udc00"}', "message_id_text"),
    "too long": (lambda raw: raw.replace(b"-1", b'"' + b"x" * 300_000 + b'"'), "too_long"),
}

BESIDE: dict[str, tuple[Damage, str]] = {
    # what stands beside a whole message, is a record of its own, and its reason
    "brace too many": (lambda raw: raw + b"}", "stray_text"),
    "bracket too many": (lambda raw: raw + b"]", "stray_text"),
    "text after it": (lambda raw: raw + b" trailing", "stray_text"),
    "text right after it": (lambda raw: raw + b"trailing", "stray_text"),
    "bad UTF-8 after it": (lambda raw: raw + b" \xff\xfe", "not_utf8"),
    "a number after it": (lambda raw: raw + b" 5", "not_an_object"),
    "half of itself before it": (lambda raw: raw[: len(raw) // 2] + raw, "truncated"),
    "half of itself after it": (lambda raw: raw + raw[: len(raw) // 2], "truncated"),
    "text before it": (lambda raw: b"text" + raw, "stray_text"),
    "a comment before it": (lambda raw: b"/*{*/" + raw, "stray_text"),
    "a control character before it": (lambda raw: b"\x0b" + raw, "stray_text"),
    "a byte order mark before it": (lambda raw: b" \xef\xbb\xbf" + raw, "stray_text"),
}

HARMLESS: dict[str, tuple[Damage, int]] = {
    # what costs nothing, and how many messages it makes of the one
    "twice": (lambda raw: raw + raw, 2),
    "twice with a comma": (lambda raw: raw + b" , " + raw, 2),
    "a comma after it": (lambda raw: raw + b",", 1),
    "a huge string": (lambda raw: raw.replace(b"-1", b'"' + b"x" * 100_000 + b'"'), 1),
    "a huge number": (lambda raw: raw.replace(b"-1", b"9" * 5000), 1),
    "a number beyond doubles": (lambda raw: raw.replace(b"-1", b"1e999"), 1),
    "a doubled key": (lambda raw: raw[:-1] + b',"mpid":{}}', 1),
    "a doubled events": (lambda raw: b'{"events":5,' + raw[1:], 1),
    "an escaped key": (lambda raw: raw.replace(b'"events"', b'"ev\\u0065nts"'), 1),
    "half a surrogate pair where nobody looks": (lambda raw: raw.replace(b"-1", b'"\\ud800"'), 1),
    "text that looks like a record": (lambda raw: raw.replace(b"-1", b'"}\\n{\\"events\\":[{"'), 1),
    "what looks like a record inside": (lambda raw: raw.replace(b"-1", b'[{"events":[]},{"events":[]}]'), 1),
    "white space": (lambda raw: raw.replace(b":", b" \t: "), 1),
}
