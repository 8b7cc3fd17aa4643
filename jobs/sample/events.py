"""Blocks of messages: from a random generator to the bytes of the records and an exact account of what they hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

from jobs.sample.catalog import DAY_MS, Catalog, Cells, Floats, Ints, day_offsets, pick
from jobs.sample.templates import BROKEN, IGNORED, VIEWS, Style

_EVENTS_A_MESSAGE = (0.40, 0.25, 0.15, 0.10, 0.06, 0.04)
_SHARE_WITHOUT_ID = 0.01
_SHARE_BROKEN_RECORDS = 0.006
_SHARE_BLANK_LINES = 0.001
_CLASSES = (*VIEWS, *IGNORED, *BROKEN)
_POOL = 997
"""Distinct event, session, batch and person ids in the world: few, because real ones repeat too."""


@dataclass(frozen=True)
class Span:
    """A part of one day: its first millisecond (epoch, UTC) and which share of the day's messages falls into it."""

    day: int
    begin: float = 0.0
    end: float = 1.0

    def part(self, begin: float, end: float) -> Span:
        """The part of this span from one share of it to another."""
        width = self.end - self.begin
        return Span(self.day, self.begin + begin * width, self.begin + end * width)


@dataclass
class Block:
    """Records as bytes, and their account.

    ``products``, ``times`` (epoch ms) and ``with_id`` describe the usable views, in the order of the file.
    """

    data: bytes
    messages: int
    messages_with_id: int
    events: int
    ignored: int
    products: Ints
    times: Ints
    with_id: npt.NDArray[np.bool_]
    broken_events: Counter[str] = field(default_factory=Counter)
    broken_records: Counter[str] = field(default_factory=Counter)
    blank_lines: int = 0


@dataclass(frozen=True)
class _Events:
    """Columns of a block's events, in the order of the file."""

    kind: Ints
    message: Ints
    time: Ints
    product: Ints


def make_block(
    rng: np.random.Generator, catalog: Catalog, style: Style, span: Span, count: int, *, clean: bool
) -> Block:
    """``count`` messages with times in ``span``; no broken or blank records when ``clean``."""
    sizes = pick(np.cumsum(_EVENTS_A_MESSAGE), rng, count) + 1
    events = _draw_events(rng, catalog, span, sizes, clean=clean)
    with_id = rng.random(count) >= _SHARE_WITHOUT_ID
    last = np.cumsum(sizes) - 1
    tails = _tails(rng, style, events.time[last] + rng.integers(1_000, 1_800_000, count), with_id)
    broken_records, blank_lines = (Counter[str](), 0) if clean else _break_records(rng, style, tails)
    texts = _event_texts(rng, catalog, style, events)
    pieces = np.empty(2 * len(texts) + count, dtype=object)
    places = 2 * np.arange(len(texts)) + events.message
    pieces[places] = style.comma
    pieces[places[last - sizes + 1]] = style.head
    pieces[places + 1] = texts
    pieces[2 * (last + 1) + np.arange(count)] = tails
    views = events.kind < len(VIEWS)
    numbers = np.bincount(events.kind, minlength=len(_CLASSES))
    return Block(
        data=b"".join(pieces.tolist()),
        messages=count,
        messages_with_id=int(with_id.sum()),
        events=len(texts),
        ignored=int(numbers[len(VIEWS) : len(VIEWS) + len(IGNORED)].sum()),
        products=events.product[views],
        times=events.time[views],
        with_id=with_id[events.message[views]],
        broken_events=Counter({kind: int(numbers[_CLASSES.index(kind)]) for kind in BROKEN}),
        broken_records=broken_records,
        blank_lines=blank_lines,
    )


def _draw_events(rng: np.random.Generator, catalog: Catalog, span: Span, sizes: Ints, *, clean: bool) -> _Events:
    count = int(sizes.sum())
    message = np.repeat(np.arange(len(sizes)), sizes)
    quantiles = span.begin + (span.end - span.begin) * np.sort(rng.random(len(sizes)))
    steps = np.cumsum(rng.integers(700, 20_000, count))
    first = np.cumsum(sizes) - sizes
    offset = day_offsets(quantiles)[message] + steps - steps[first][message]
    return _Events(
        kind=pick(_class_shares(clean), rng, count),
        message=message,
        time=span.day + np.minimum(offset, DAY_MS - 1),
        product=catalog.draw(rng, count),
    )


@cache
def _class_shares(clean: bool) -> Floats:
    shares = [share for share, _ in (*VIEWS.values(), *IGNORED.values())]
    shares += [] if clean else [share for share, _ in BROKEN.values()]
    return np.cumsum(shares) / sum(shares)


def _event_texts(rng: np.random.Generator, catalog: Catalog, style: Style, events: _Events) -> list[bytes]:
    texts = np.empty(len(events.kind), dtype=object)
    for kind, name in enumerate(_CLASSES):
        rows = np.flatnonzero(events.kind == kind)
        if not len(rows):
            continue
        product = events.product[rows]
        columns = {
            "time": digits(events.time[rows], 13),
            "fraction": digits(rng.integers(0, 9_990, len(rows)), 4),
            "event": _pool_cells()[rng.integers(0, _POOL, len(rows))],
            "session": _pool_cells()[rng.integers(0, _POOL, len(rows))],
            "product": catalog.product_cells[product],
            "price": catalog.price_cells[product],
        }
        texts[rows] = style.events[name].fill(len(rows), columns)
    return list(texts)


def _tails(
    rng: np.random.Generator, style: Style, sent: Ints, with_id: npt.NDArray[np.bool_]
) -> npt.NDArray[np.object_]:
    """The ends of the messages: person, time of sending, batch, and on most a message id."""
    count = len(sent)
    columns = {
        "sent": digits(sent, 13),
        "mpid": _pool_cells()[rng.integers(0, _POOL, count)],
        "batch": _pool_cells()[rng.integers(0, _POOL, count)],
        "message": _uuids(rng, count),
    }
    tails = np.empty(count, dtype=object)
    for chosen, template in ((with_id, style.tail), (~with_id, style.tail_without_id)):
        subset = {name: cells[chosen] for name, cells in columns.items()}
        tails[chosen] = template.fill(int(chosen.sum()), subset)
    tails += style.separator
    return tails


def _break_records(rng: np.random.Generator, style: Style, tails: npt.NDArray[np.object_]) -> tuple[Counter[str], int]:
    """Puts broken records and blank lines behind some messages; a broken record is never the first of a file."""
    texts = broken_record_texts()
    lines = style.separator == b"\n"
    kinds = list(texts) if lines else [kind for kind in texts if kind in PARSEABLE]
    found: Counter[str] = Counter(dict.fromkeys(kinds, 0))
    for row in np.flatnonzero(rng.random(len(tails)) < _SHARE_BROKEN_RECORDS):
        kind = kinds[rng.integers(0, len(kinds))]
        text = texts[kind]
        if kind == "cut":
            text = text[: rng.integers(text.index(b"product") + 7, len(text))]
        tails[row] += text + style.separator
        found[kind] += 1
    blanks = np.flatnonzero(rng.random(len(tails)) < _SHARE_BLANK_LINES) if lines else np.empty(0, np.int64)
    for row in blanks:
        tails[row] += b"\n"
    return found, len(blanks)


PARSEABLE = ("not_an_object", "events_not_a_list")
"""Broken records that are JSON all the same, so that an array around them stays one."""


@cache
def broken_record_texts() -> dict[str, bytes]:
    """An example of each kind of record that is no message (``cut`` is shortened further)."""
    event = b'{"data":{"event_name":"product","timestamp_unixtime_ms":1454284800000,"custom_attributes":'
    event += b'{"codeColor":"20001829_048"}},"event_type":"custom_event"}'
    return {
        "cut": b'{"events":[' + event + b'],"mpid":-196509116834317511',
        "not_json": b"<html><body>502 Bad Gateway</body></html>",
        "not_an_object": b"42",
        "bad_utf8": b'{"events":[' + event.replace(b"_048", b"_\xff\xfe") + b"]}",
        "events_not_a_list": b'{"events":' + event + b',"mpid":-196509116834317511}',
    }


def digits(numbers: Ints, width: int) -> Cells:
    """Decimal digits of numbers, with leading zeros."""
    cells = np.empty((len(numbers), width), np.uint8)
    rest = numbers
    for end in range(width, 0, -4):
        begin = max(0, end - 4)
        rest, group = np.divmod(rest, 10_000)
        cells[:, begin:end] = _groups()[group, 4 - (end - begin) :]
    return cells


@cache
def _groups() -> Cells:
    numbers = np.arange(10_000)
    return np.stack([numbers // 10**power % 10 for power in (3, 2, 1, 0)], axis=1).astype(np.uint8) + ord("0")


@cache
def _pool_cells() -> Cells:
    return digits(np.random.default_rng(_POOL).integers(10**17, 10**18, _POOL), 18)


def _uuids(rng: np.random.Generator, count: int) -> Cells:
    """Random identifiers in the form of UUIDs of version 4."""
    raw = np.frombuffer(rng.bytes(16 * count), np.uint8).reshape(count, 16)
    half = np.frombuffer(b"0123456789abcdef", np.uint8)
    letters = np.empty((count, 32), np.uint8)
    letters[:, 0::2], letters[:, 1::2] = half[raw >> 4], half[raw & 15]
    letters[:, 12], letters[:, 16] = ord("4"), half[8 + (raw[:, 8] & 3)]
    cells = np.full((count, 36), ord("-"), np.uint8)
    for begin, end, shift in ((0, 8, 0), (8, 12, 1), (12, 16, 2), (16, 20, 3), (20, 32, 4)):
        cells[:, begin + shift : end + shift] = letters[:, begin:end]
    return cells
