"""One event file, read in the simplest way: the standard library's json, one record after another, in bounded memory.

It finds the views of a file (design, section 1) and counts the records that are broken. After damage it goes on at the next text
that looks like the beginning of a message. That is less than what decoding does, so the caller compares the number of broken
records with the ledger's: where they differ, the file was not understood, and nothing is said about it.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Generator, Iterator
from decimal import Decimal
from typing import Any, BinaryIO, NamedTuple, NoReturn, TextIO

import zstandard

from jobs.errors import UnreadableFile

BROKEN = None
"""Stands for a record that is no JSON object."""

_FIRST_MS, _END_MS = 946_684_800_000, 4_102_444_800_000
_PRODUCT_CHARACTERS = 512
_CHUNK = 1 << 20
_KEPT = 1024
_GAP = re.compile(r"[\s,\[\]]*")
_OPENING = re.compile(
    r'\{\s{0,99}"(?:events|mpid|batch_id|message_id|message_type|schema_version|timestamp_unixtime_ms)"'
)
_TIME = re.compile(r"\s*-?[0-9]+(\.[0-9]+)?\s*", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")


class View(NamedTuple):
    """One view of a file."""

    message_id: str | None
    position: int
    time_ms: int
    product: str


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse)


def read_records(stream: BinaryIO, layout: str, record_bytes: int) -> Generator[dict[str, Any] | None, None, None]:
    """Every record of a file that the ledger says is laid out so (``lines/gzip``), ``BROKEN`` for one that is no object.

    Raises:
        UnreadableFile: it cannot be unpacked, or is no text.
    """
    kind, *wrappers = layout.split("/")
    text = _text(stream, wrappers)
    try:
        yield from _lines(text, record_bytes) if kind == "lines" else _values(text, record_bytes)
    except (EOFError, OSError, zlib.error, zstandard.ZstdError, UnicodeError) as error:
        raise UnreadableFile(f"cannot be unpacked: {error}") from error
    finally:
        text.detach()  # else it closes the stream, which is the caller's


def views_of(record: dict[str, Any]) -> list[View] | None:
    """The views in a record, ``BROKEN`` for one that is no message."""
    events, message_id = record.get("events"), record.get("message_id")
    if events is not None and not isinstance(events, list):
        return BROKEN
    if isinstance(message_id, bool | list | dict) or (isinstance(message_id, str) and _SURROGATE.search(message_id)):
        return BROKEN
    key = None if message_id is None or message_id == "" else str(message_id)
    found = ((position, _product_view(event)) for position, event in enumerate(events or []))
    return [View(key, position, *view) for position, view in found if view]


def _product_view(event: Any) -> tuple[int, str] | None:  # noqa: ANN401 - any JSON value
    try:
        if event["event_type"] != "custom_event" or event["data"]["event_name"] != "product":
            return None
        product = event["data"]["custom_attributes"]["codeColor"]
        time = event["data"]["timestamp_unixtime_ms"]
    except (KeyError, TypeError, IndexError):
        return None
    if isinstance(time, str) and _TIME.fullmatch(time):
        time = Decimal(time.strip())
    if isinstance(time, bool) or not isinstance(time, int | float | Decimal) or not _FIRST_MS <= time < _END_MS:
        return None
    if not isinstance(product, str) or not product.strip() or len(product) > _PRODUCT_CHARACTERS:
        return None
    if "\0" in product or _SURROGATE.search(product):
        return None
    return math.floor(time), product


def _text(stream: BinaryIO, wrappers: list[str]) -> io.TextIOWrapper:
    unpacked: Any = stream
    encoding = "utf-8-sig"
    for wrapper in wrappers:
        if wrapper == "gzip":
            unpacked = gzip.GzipFile(fileobj=unpacked)
        elif wrapper == "zstd":
            unpacked = zstandard.ZstdDecompressor().stream_reader(unpacked, read_across_frames=True)
        else:
            encoding = codecs.lookup(wrapper).name
    # Bytes that are no UTF-8 stay recognisable, and cost only the record that they stand in.
    errors = "surrogateescape" if encoding == "utf-8-sig" else "strict"
    return io.TextIOWrapper(unpacked, encoding, errors, newline="\n")


def _lines(text: TextIO, longest: int) -> Iterator[dict[str, Any] | None]:
    """Records of JSON lines; a line that is not one value may hold several."""
    while line := text.readline(longest + 2):
        if len(line) > longest + 1 and not line.endswith("\n"):
            while (rest := text.readline(_CHUNK)) and not rest.endswith("\n"):
                pass
            yield BROKEN
            continue
        line = line.strip("\ufeff \t\r\n")
        if not line:
            continue
        try:
            yield _as_record(_JSON.decode(line), line)
        except (ValueError, RecursionError):
            yield from _values(io.StringIO(line), longest)


def _values(text: TextIO, longest: int) -> Iterator[dict[str, Any] | None]:
    """Records that stand one after another, in an array or not; never much more than ``longest`` is held."""
    held, at, ended, lost, brackets = "", 0, False, False, 0
    while True:
        if lost:
            opening = _OPENING.search(held, at)
            at = opening.start() if opening else max(at, len(held) - _KEPT)
            lost = opening is None
        if not lost:
            at, opened = _pass_gap(held, at)
            brackets += opened
            found = _value(held, at)
            if found and (isinstance(found[0], dict) or found[1] < len(held) or ended):
                yield _as_record(found[0], held[at : found[1]])
                at = found[1]
                continue
            if not found and at < len(held) and (ended or len(held) - at > longest):
                yield BROKEN
                at, lost = at + 1, True
                continue
        if ended:
            break
        chunk = text.read(max(_CHUNK, min(len(held) - at, longest)))
        held, at, ended = held[at:] + chunk, 0, not chunk
    if brackets > 0 and not lost:
        yield BROKEN  # an array without its end


def _pass_gap(held: str, at: int) -> tuple[int, int]:
    """Where the next value may begin, and how many brackets were opened on the way."""
    gap = _GAP.match(held, at)
    assert gap is not None  # it may be empty
    return gap.end(), gap[0].count("[") - gap[0].count("]")


def _value(held: str, at: int) -> tuple[Any, int] | None:
    """The JSON value at a position and its end; None where there is none, or not all of one."""
    try:
        return _JSON.raw_decode(held, at)
    except (ValueError, RecursionError):
        return None


def _as_record(value: Any, text: str) -> dict[str, Any] | None:  # noqa: ANN401 - any JSON value
    if not isinstance(value, dict):
        return BROKEN
    try:
        text.encode()
    except UnicodeEncodeError:
        return BROKEN
    return value
