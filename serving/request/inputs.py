"""Reads a query string or a JSON body into values, and notes every fault on the way."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar
from urllib.parse import parse_qsl

from serving.errors import InvalidRequest
from serving.faults import Fault, FaultCode
from serving.request.times import restore_plus

T = TypeVar("T")

REPEATABLE = ("product", "platform")
"""Parameters that may be given more than once, in a body also as a list."""

_MOST_DIGITS = 15
"""A whole number of more digits is taken for 10**15: what it is compared with is far smaller."""

_MOST_FAULTS = 50
"""A client learns of so many faults at once; a body of a megabyte must not be answered with ten of them."""

_MOST_VALUES = 25_000
"""A body of so many values, those of lists of texts not counted, is read: of more, Python makes objects for up to 0.2 s, in which
nothing else runs."""

_NO_STRUCTURE = bytes(set(range(256)) - set(b'":,[]{}'))
"""The bytes of a JSON text that tell nothing of how many values it has."""

_MOST_MATCHES = 5
"""For so many unknown parameters the nearest that is known is looked for: that takes longer than all else about them."""


class Faults:
    """Collects what is wrong, so that a client learns of everything at once."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def add(self, parameter: str, code: FaultCode, detail: str, hint: str) -> None:
        """Note one fault.

        Raises:
            InvalidRequest: there are enough: a worker must not look through a megabyte of them.
        """
        self.found.append(Fault(parameter, code, detail, hint))
        if len(self.found) >= _MOST_FAULTS:
            raise InvalidRequest(self.found, all_found=False)

    def check(self) -> None:
        """Raise ``InvalidRequest`` with all faults, if there is any."""
        if self.found:
            raise InvalidRequest(self.found)


class Texts:
    """Reads values of a query string, where everything is text."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def text(self, name: str, value: object) -> str | None:
        """A text; ``None`` after a fault."""
        return str(value)

    def time(self, name: str, value: object) -> str | None:
        """A time as text, with the ``+`` of its offset; ``None`` after a fault."""
        return restore_plus(str(value))

    def whole(self, name: str, value: object) -> int | None:
        """A whole number; ``None`` after a fault."""
        text = str(value)
        if not re.fullmatch(r"[0-9]+", text):
            self._faults.add(name, "not_a_whole_number", f"found {shown(value)}", "write digits only, for example 60")
            return None
        return int(text) if len(text) <= _MOST_DIGITS else 10**_MOST_DIGITS

    def number(self, name: str, value: object) -> float | None:
        """A decimal number without sign or exponent; ``None`` after a fault."""
        text = str(value)
        if not re.fullmatch(r"[0-9]{0,15}(\.[0-9]{1,30})?", text) or not text:
            self._faults.add(name, "not_a_number", f"found {shown(value)}", "write a number such as 0.95")
            return None
        return float(text)

    def flag(self, name: str, value: object) -> bool | None:
        """True or false; ``None`` after a fault."""
        text = str(value).lower()
        if text not in ("true", "false"):
            self._faults.add(name, "not_a_flag", f"found {shown(value)}", "write true or false")
            return None
        return text == "true"


class Typed:
    """Reads values of a JSON body, where each has a type of its own."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def text(self, name: str, value: object) -> str | None:
        """A text; ``None`` after a fault."""
        if not isinstance(value, str):
            self._faults.add(name, "wrong_type", f"found {shown(value)}", "write a text in double quotes")
            return None
        if not _is_unicode(value):
            self._faults.add(name, "encoding", f"found {shown(value)}", "the text has half of a surrogate pair")
            return None
        return value

    time = text

    def whole(self, name: str, value: object) -> int | None:
        """A whole number, also one that is written as 60.0, as some languages do; ``None`` after a fault."""
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self._faults.add(name, "not_a_whole_number", f"found {shown(value)}", "write a whole number without quotes")
            return None
        return value

    def number(self, name: str, value: object) -> float | None:
        """A finite number; ``None`` after a fault."""
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**_MOST_DIGITS
        if not whole and not (isinstance(value, float) and math.isfinite(value)):
            self._faults.add(name, "not_a_number", f"found {shown(value)}", "write a number such as 0.95")
            return None
        return float(value)  # type: ignore[arg-type]

    def flag(self, name: str, value: object) -> bool | None:
        """True or false; ``None`` after a fault."""
        if not isinstance(value, bool):
            self._faults.add(name, "not_a_flag", f"found {shown(value)}", "write true or false without quotes")
            return None
        return value


def one(
    values: Mapping[str, list[object]],
    name: str,
    default: T | None,
    read: Callable[[str, object], T | None],
    faults: Faults,
) -> T | None:
    """The only value of a parameter; the default where it is left out; ``None`` after a fault."""
    given = values.get(name, [])
    if len(given) > 1:
        faults.add(name, "repeated", f"found {len(given)} times", "give it once")
        return None
    if given:
        return read(name, given[0])
    if default is None:
        faults.add(name, "missing", "not given", "it is mandatory")
    return default


def many(
    values: Mapping[str, list[object]],
    name: str,
    read: Callable[[str, object], str | None],
    check: Callable[[str, Faults], str | None],
    faults: Faults,
) -> tuple[str, ...]:
    """The good values of a repeatable parameter, sorted, each once, so that their order does not matter."""
    texts = (read(name, value) for value in values.get(name, []))
    checked = (check(text, faults) for text in texts if text is not None)
    return tuple(sorted({value for value in checked if value is not None}))


def refuse_others(values: Iterable[str], known: tuple[str, ...], faults: Faults) -> None:
    """Note every parameter that is not known, the first ones with the nearest that is."""
    there = f"the parameters are {', '.join(known)}" if known else "this address takes no parameter"
    for number, name in enumerate(name for name in values if name not in known):
        told = name[:64].encode("utf-8", "backslashreplace").decode()
        near = get_close_matches(told, known, 1) if number < _MOST_MATCHES else []
        faults.add(
            told, "unknown_parameter", "there is no such parameter", f"did you mean {near[0]}?" if near else there
        )


def query_values(query: bytes, faults: Faults) -> dict[str, list[object]]:
    """The values of each parameter of a query string, as text.

    Raises:
        InvalidRequest: the query string is not UTF-8.
    """
    try:
        pairs = parse_qsl(query.decode("utf-8"), keep_blank_values=True, encoding="utf-8", errors="strict")
    except ValueError:
        faults.add("query", "encoding", "the query string is not UTF-8", "escape every byte of UTF-8 as %XX")
        raise InvalidRequest(faults.found) from None
    values: dict[str, list[object]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


class _Pairs(list[tuple[str, object]]):
    """A JSON object as its pairs, so that a name given twice is seen."""


def body_values(body: bytes, faults: Faults) -> dict[str, list[object]]:
    """The values of each member of a JSON object, of whatever type; a name given twice has two, each text of a list once.

    Raises:
        InvalidRequest: the body is no JSON object in UTF-8, or one of very many values, which are not read.
    """
    hint = 'write a JSON object, for example {"aggregation": 60, ...}'
    count = _values_besides_texts(body) if len(body) > _MOST_VALUES else 0
    if count > _MOST_VALUES:
        detail = f"found {count} values besides the texts of lists; more than {_MOST_VALUES} are not read"
        faults.add("body", "too_many_values", detail, hint)
        raise InvalidRequest(faults.found)
    try:
        pairs = json.loads(body.decode("utf-8"), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        faults.add("body", "malformed_json", "the body is not JSON in UTF-8", hint)
        raise InvalidRequest(faults.found) from None
    if not isinstance(pairs, _Pairs):
        faults.add("body", "wrong_type", f"found {shown(pairs)}", hint)
        raise InvalidRequest(faults.found)
    values: dict[str, list[object]] = {}
    for name, value in pairs:
        values.setdefault(name, []).extend(_items(name, value, faults))
    return {name: _each_once(given) if name in REPEATABLE else given for name, given in values.items()}


def _values_besides_texts(body: bytes) -> int:
    """How many values a JSON text has, those not counted that are texts of a list; found without making any of them.

    After each value stands a comma or the end of what holds it. Of each text only one quotation mark is looked at.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = b'"'.join(body.split(b'"')[::2]).translate(None, _NO_STRUCTURE)
    values = marks.count(b",") + marks.count(b"]") + marks.count(b"}")
    texts = marks.count(b'",') + marks.count(b'"]') + marks.count(b'"}')
    return values - texts + marks.count(b':"')


def _each_once(given: list[object]) -> list[object]:
    """Each text once: a body holds 250,000 times the same, and each is looked at."""
    if set(map(type, given)) == {str}:
        return [*dict.fromkeys(given)]
    texts = dict.fromkeys(value for value in given if isinstance(value, str))
    return [*texts, *(value for value in given if not isinstance(value, str))]


def _items(name: str, value: object, faults: Faults) -> list[object]:
    """The values of one member of the body: the items of a list, where a parameter may repeat."""
    if name not in REPEATABLE or not isinstance(value, list) or isinstance(value, _Pairs):
        return [value]
    if not value:
        faults.add(name, "empty", "found an empty list", "leave the parameter out to get all of them")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown(value: object) -> str:
    """A value as it may be told back: short, printable."""
    if isinstance(value, _Pairs):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**30:
        return "a very large number"
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
