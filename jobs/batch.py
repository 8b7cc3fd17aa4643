"""Collects what decoding finds, batch by batch, and keeps the account. Clean messages take the fast way in here.

A typed decoder reads only the fields that count. Whatever it does not read as a plainly good message goes to
``jobs/message.py``, which holds the rules; so both ways give the same result for every record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from jobs.message import END_MS, FIRST_MS, PRODUCT_CHARACTERS, Fault, decode_message, reject
from jobs.records import Account, Batch, Reject, Views

BATCH_VIEWS = 20_000
BATCH_REJECTS = 5_000
BATCH_RAW_BYTES = 16 << 20
"""A batch is handed on as soon as it holds this much of one of the three."""

_KNOWN_PRODUCTS = 100_000


class _Attributes(msgspec.Struct, gc=False):
    product: str | None = msgspec.field(name="codeColor", default=None)


class _Data(msgspec.Struct, gc=False):
    event_name: str | None = None
    time: int | float | str | None = msgspec.field(name="timestamp_unixtime_ms", default=None)
    attributes: _Attributes | None = msgspec.field(name="custom_attributes", default=None)


class _Event(msgspec.Struct, gc=False):
    event_type: str | None = None
    data: _Data | None = None


class Typed(msgspec.Struct, gc=False):
    """A message whose fields all have the types that they should have."""

    events: list[_Event] | None = None
    message_id: str | int | None = None


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


class Collector:
    """The batch that is being filled, and the account that is kept with it."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._known: dict[str, str] = {}
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

    def record(self, raw: bytes, offset: int) -> None:
        """Takes one record by the full rules."""
        try:
            message = decode_message(raw, offset)
        except Fault as fault:
            self.quarantine(offset, fault, raw)
            return
        account = self.account
        account.records += 1
        account.decoded += 1
        account.events += message.events
        account.views += len(message.views)
        account.ignored += message.ignored
        account.quarantined_events += len(message.rejects)
        for product, time_ms, position in message.views:
            self._views.product.append(product)
            self._views.time_ms.append(time_ms)
            self._views.message_id.append(message.message_id)
            self._views.position.append(position)
            self._views.offset.append(offset)
        for event in message.rejects:
            self._reject(event)

    def typed(self, messages: Sequence[Typed], offsets: Sequence[int], raw_of: Callable[[int], bytes]) -> None:
        """Takes messages that the typed decoder has read; ``raw_of(i)`` gives the bytes of the i-th where they are needed."""
        views, known = self._views, self._known
        products, times, ids, positions, starts = (
            views.product,
            views.time_ms,
            views.message_id,
            views.position,
            views.offset,
        )
        begin, events_seen, doubtful = len(products), 0, []
        for index, message in enumerate(messages):
            events = message.events
            message_id = message.message_id
            if message_id.__class__ is int and message_id:
                message_id = str(message_id)
            elif message_id == 0:
                doubtful.append(index)
                continue
            if not events:
                continue
            mark = len(products)
            for position, event in enumerate(events):
                if event.event_type != "custom_event":
                    continue
                data = event.data
                if data is None:
                    break
                if data.event_name != "product":
                    continue
                attributes = data.attributes
                if attributes is None:
                    break
                product = known.get(attributes.product)  # type: ignore[arg-type]
                if product is None:
                    product = self._learn(attributes.product)
                    if product is None:
                        break
                time = data.time
                if time.__class__ is str:
                    if not (len(time) < 16 and time.isdecimal() and time.isascii()):
                        break
                    time = int(time)
                if time is None or not FIRST_MS <= time < END_MS:  # type: ignore[operator]
                    break
                products.append(product)
                times.append(int(time))
                ids.append(message_id or None)  # type: ignore[arg-type]
                positions.append(position)
                starts.append(offsets[index])
            else:
                events_seen += len(events)
                continue
            for column in (products, times, ids, positions, starts):
                del column[mark:]
            doubtful.append(index)
        account = self.account
        account.records += len(messages) - len(doubtful)
        account.decoded += len(messages) - len(doubtful)
        account.events += events_seen
        account.views += len(products) - begin
        account.ignored += events_seen - (len(products) - begin)
        for index in doubtful:
            self.record(raw_of(index), offsets[index])

    def _learn(self, product: str | None) -> str | None:
        """``product`` if it is plainly a good one; equal texts become one object, which later steps compare faster."""
        if not product or len(product) > PRODUCT_CHARACTERS or "\0" in product or not product.strip():
            return None
        if len(self._known) >= _KNOWN_PRODUCTS:
            self._known.clear()
        return self._known.setdefault(product, product)

    def _reject(self, item: Reject) -> None:
        self._rejects.append(item)
        self._raw_bytes += len(item.raw)
