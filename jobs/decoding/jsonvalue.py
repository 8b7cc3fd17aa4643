r"""JSON values in bytes, read strictly: the value itself, or only where it ends.

msgspec is strict and fast, and has two limits that this module removes: it refuses numbers beyond 64 bits or a double's range,
and ``\u`` escapes of one half of a surrogate pair. Both are valid JSON (RFC 8259), and must not cost a record.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, NoReturn

import msgspec

from jobs.decoding.records import Fault, Reason

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_ANY = msgspec.json.Decoder()
_RAW = msgspec.json.Decoder(msgspec.Raw)
_AT = re.compile(r"\(byte (\d+)\)")
_DEEP_BYTES = 16_384
"""About what is read of a value before it is given up as too deep."""


class Extent(NamedTuple):
    """How far a JSON value reaches, or where and why it breaks off (``reason`` is not None)."""

    end: int
    reason: Reason | None = None
    detail: str = ""


def parse(raw: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """The one JSON value in ``raw``, strictly: no NaN, no control character in a string, no text after it.

    Of a doubled key the last counts. Numbers of any length are read (as floats beyond 18 digits).

    Raises:
        Fault: not UTF-8, not JSON, cut, or nested too deeply.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Fault(Reason.NOT_UTF8, f"byte {error.start}: {error.reason}") from None
    try:
        return _ANY.decode(raw)
    except RecursionError:
        raise Fault(Reason.TOO_DEEP) from None
    except msgspec.DecodeError:
        pass  # Python's reader is slower and has the last word: it takes numbers of any size and halves of surrogate pairs.
    try:
        return json.loads(text, parse_constant=_no_constant, parse_int=_integer)
    except RecursionError:
        raise Fault(Reason.TOO_DEEP) from None
    except json.JSONDecodeError as error:
        reason = Reason.TRUNCATED if value_end(mask_surrogates(raw)).reason is Reason.TRUNCATED else Reason.INVALID_JSON
        raise Fault(reason, f"character {error.pos}: {error.msg}") from None


def value_end(text: bytes | memoryview) -> Extent:
    """Where the JSON value at the beginning of ``text`` ends, found at the speed of msgspec.

    White space after the value belongs to it. ``TRUNCATED`` means that the text is right as far as it goes. The bytes of
    strings are not checked to be UTF-8, and ``text`` must come from ``mask_surrogates``.
    """
    try:
        _RAW.decode(text)
    except RecursionError:
        return Extent(min(len(text), _DEEP_BYTES), Reason.TOO_DEEP)
    except msgspec.DecodeError as error:
        return _extent(str(error), len(text))
    return Extent(len(text))


def _extent(error: str, length: int) -> Extent:
    """What msgspec's error says. It gives positions in its texts only: tests/jobs/test_jsonvalue.py holds it to them."""
    match = _AT.search(error)
    at = int(match[1]) if match else length
    if "trailing characters" in error:
        return Extent(at - 1)  # this one position counts from 1
    # Of a number that is cut after its sign, point or exponent msgspec says that it is wrong right behind the text.
    return Extent(at, Reason.TRUNCATED if at >= length else Reason.INVALID_JSON, error)


def _no_constant(text: str) -> NoReturn:
    raise Fault(Reason.INVALID_JSON, f"{text} is no JSON number")


def _integer(text: str) -> int | float:
    """Long integers as floats: ``int`` is quadratic in the digits and refuses more than 4,300 of them."""
    return int(text) if len(text) < 20 else float(text)


def mask_surrogates(raw: bytes) -> bytes:
    r"""``raw`` with every ``\ud8..`` to ``\udf..`` as ``\u0000``: as long as before, and read by msgspec even when unpaired."""
    if b"\\" in raw and (b"\\ud" in raw or b"\\uD" in raw):
        return _SURROGATE_ESCAPE.sub(rb"\\u0000", raw)
    return raw
