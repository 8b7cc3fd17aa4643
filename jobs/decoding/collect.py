"""Collects what decoding finds, batch by batch, and keeps the account. Clean messages take the fast way in here.

A typed decoder reads only the fields that count. Whatever it does not read as a plainly good message goes to
``message``, which holds the rules; so both ways give the same result for every record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, cast

import msgspec
import numpy as np

from jobs.decoding.message import (
    END_MS,
    FIRST_MS,
    ID_BYTES,
    PRODUCT_CHARACTERS,
    View,
    open_message,
    read_events,
    reject,
    short_id,
)
from jobs.decoding.records import Account, Batch, Fault, Reject, Views

BATCH_VIEWS = 20_000
BATCH_REJECTS = 5_000
BATCH_RAW_BYTES = 16 << 20
"""A batch is handed on as soon as it holds this much of one of the three."""

_KNOWN_PRODUCTS = 100_000


class _Attributes(msgspec.Struct, gc=False):
    product: str | None = msgspec.field(name="codeColor", default=None)


class _Data(msgspec.Struct, gc=False):
    event_name: str | None = None
    time: float | str | None = msgspec.field(name="timestamp_unixtime_ms", default=None)
    attributes: _Attributes | None = msgspec.field(name="custom_attributes", default=None)


class _Event(msgspec.Struct, gc=False):
    event_type: str | None = None
    data: _Data | None = None


class Typed(msgspec.Struct, gc=False):
    """A message whose fields all have the types that they should have."""

    events: list[_Event] | None = None
    message_id: Annotated[str, msgspec.Meta(max_length=ID_BYTES)] | int | None = None


DECODER = msgspec.json.Decoder(Typed)
"""Strict in all but two points: strings that it skips may hold bytes that are no UTF-8, and a ``-0`` becomes 0."""


def is_utf8(text: bytes) -> bool:
    """Whether ``text`` is UTF-8 (most is ASCII, which is told at memory speed)."""
    if text.isascii():
        return True
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def decode_typed(text: bytes) -> Typed | None:
    """The message in ``text``, or None when it needs the slow way."""
    try:
        return DECODER.decode(text) if is_utf8(text) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _plain_number(text: str | None) -> int | None:
    """The number in ``text`` if it is nothing but some digits."""
    return int(text) if text is not None and text.isdecimal() and text.isascii() and len(text) < 16 else None


def _plain_times(times: Sequence[float | str | None]) -> list[int] | None:
    """Epoch milliseconds if all are plainly good times (whole numbers so small are exact as floats), else None."""
    plain: Sequence[float | str | None] = times
    if set(map(type, times)) != {float}:
        plain = [time if isinstance(time, float) else _plain_number(time) for time in times]
        if None in plain:
            return None
    values = np.array(plain, np.float64)
    if values.min() < FIRST_MS or values.max() >= END_MS:
        return None
    whole: list[int] = values.astype(np.int64).tolist()
    return whole


def _plain_ids(ids: Sequence[str | int | None]) -> Sequence[str | None] | None:
    """The ids as ``views`` keeps them, None for an empty one; None in all for a doubtful one: a 0 may have been written -0."""
    if int in set(map(type, ids)):
        if 0 in ids:
            return None
        numbers = {number: short_id(str(number)) for number in set(ids) if isinstance(number, int)}
        ids = [numbers[text] if isinstance(text, int) else text for text in ids]
    if "" in ids:
        ids = [text or None for text in ids]
    texts = cast("Sequence[str | None]", ids)
    if not "".join(filter(None, texts)).isascii():  # the decoder counted characters; these may have more bytes
        texts = [text and short_id(text) for text in texts]
    return texts


class Collector:
    """The batch that is being filled, and the account that is kept with it."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._known: set[str] = set()
        self._start()

    def _start(self) -> None:
        self._views = Views()
        self._rejects: list[Reject] = []
        self._raw_bytes = 0

    @property
    def full(self) -> bool:
        """Whether the batch should be taken now."""
        return (
            len(self._views.product) >= BATCH_VIEWS
            or len(self._rejects) >= BATCH_REJECTS
            or self._raw_bytes >= BATCH_RAW_BYTES
        )

    @property
    def empty(self) -> bool:
        """Whether there is nothing to take."""
        return not self._views.product and not self._rejects

    def take(self) -> Batch:
        """The batch; a new one begins."""
        batch = self._views, self._rejects
        times = self._views.time_ms
        if times:
            account, first, last = self.account, min(times), max(times)
            account.first_ms = first if account.first_ms is None else min(account.first_ms, first)
            account.last_ms = last if account.last_ms is None else max(account.last_ms, last)
        self._start()
        return batch

    def blank(self, count: int = 1) -> None:
        """Counts records of nothing but white space."""
        self.account.records += count
        self.account.blank += count

    def quarantine(self, offset: int, fault: Fault, raw: bytes, length: int | None = None) -> None:
        """Takes a record that cannot be used."""
        self.account.records += 1
        self.account.quarantined_records += 1
        self._reject(reject(offset, fault, raw, length=length))

    def record(self, raw: bytes, offset: int) -> Iterator[Batch]:
        """Takes one record by the full rules.

        Raises:
            Fault: the record as a whole cannot be used; nothing of it was taken.
        """
        message_id, events = open_message(raw)
        account, views = self.account, self._views
        account.records += 1
        account.decoded += 1
        account.events += len(events)
        for found in read_events(raw, events, offset):
            if found is None:
                account.ignored += 1
                continue
            if isinstance(found, View):
                account.views += 1
                views.product.append(found.product)
                views.time_ms.append(found.time_ms)
                views.message_id.append(message_id)
                views.position.append(found.position)
                views.offset.append(offset)
            else:
                account.quarantined_events += 1
                self._reject(found)
            if self.full:
                yield self.take()
                views = self._views

    def any_record(self, raw: bytes, offset: int) -> Iterator[Batch]:
        """Takes one record; one that cannot be used is quarantined."""
        try:
            yield from self.record(raw, offset)
        except Fault as fault:
            self.quarantine(offset, fault, raw)

    def typed(
        self, messages: Sequence[Typed], offsets: Sequence[int], raw_of: Callable[[int], bytes]
    ) -> Iterator[Batch]:
        """Takes messages that the typed decoder has read; ``raw_of(i)`` gives the bytes of the i-th if they are needed.

        Messages are halved until those that are not plainly good stand alone.
        """
        spans = [(0, len(messages))]
        while spans:
            low, high = spans.pop()
            if self._all_plain(messages[low:high], offsets[low:high]):
                continue
            if high - low == 1:
                yield from self.any_record(raw_of(low), offsets[low])
                continue
            middle = (low + high) // 2
            spans += [(middle, high), (low, middle)]
        if self.full:
            yield self.take()

    def _all_plain(self, messages: Sequence[Typed], offsets: Sequence[int]) -> bool:
        """Takes messages at once, column by column, if all of them are plainly good; else takes nothing."""
        try:  # what may be null is not looked at: ``AttributeError`` says that something is
            rows = [
                (data.attributes.product, data.time, message.message_id, position, offset)  # type: ignore[union-attr]
                for message, offset in zip(messages, offsets, strict=True)
                for position, event in enumerate(message.events or ())
                if event.event_type == "custom_event" and (data := event.data).event_name == "product"  # type: ignore[union-attr]
            ]
        except AttributeError:  # something is null or missing
            return False
        if rows:
            products, times, ids, positions, starts = zip(*rows, strict=True)
            milliseconds, texts = _plain_times(times), _plain_ids(ids)
            if milliseconds is None or texts is None or not self._all_known(products):
                return False
            views = self._views
            views.product += products
            views.time_ms += milliseconds
            views.message_id += texts
            views.position += positions
            views.offset += starts
        events = sum([len(message.events or ()) for message in messages])
        self._count(len(messages), events, len(rows))
        return True

    def _all_known(self, products: Sequence[str | None]) -> bool:
        return self._known.issuperset(products) or all(
            product is not None and self._learn(product) for product in set(products) - self._known
        )

    def _count(self, messages: int, events: int, views: int) -> None:
        """Counts messages whose events are all views or ignored."""
        account = self.account
        account.records += messages
        account.decoded += messages
        account.events += events
        account.views += views
        account.ignored += events - views

    def _learn(self, product: str) -> bool:
        """Whether ``product`` is plainly a good one; if so it is known from now on."""
        if len(product) > PRODUCT_CHARACTERS or "\0" in product or not product.strip():
            return False
        if len(self._known) >= _KNOWN_PRODUCTS:
            self._known.clear()
        self._known.add(product)
        return True

    def _reject(self, item: Reject) -> None:
        self._rejects.append(item)
        self._raw_bytes += len(item.raw)
