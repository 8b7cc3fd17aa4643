"""Decodes what was quarantined again, by the present rules: bytes in, what they are now out. No Spark, no table, no file.

A record is decoded from its own bytes, an event from the message that it stands in. What is found has the offset and the position
that a load of the whole file would give it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from jobs.decoding.collect import Collector
from jobs.decoding.lines import read_lines, take
from jobs.decoding.message import View, open_message, read_events
from jobs.decoding.records import Account, Batch, Reject, Views
from jobs.decoding.scan import Piece, Scanner
from jobs.decoding.unpack import Source

_BRACKET = b"["


@dataclass
class Decoded:
    """What the bytes of a quarantined record are now: views, rejects, and the account of the records and events in them."""

    views: Views = field(default_factory=Views)
    rejects: list[Reject] = field(default_factory=list)
    account: Account = field(default_factory=Account)

    @property
    def usable(self) -> bool:
        """Whether there is a message in them now, or nothing but white space."""
        return self.account.decoded > 0 or self.account.records == self.account.blank > 0

    @property
    def fault(self) -> Reject | None:
        """The one reject that they still are as a whole; None where they are several things."""
        return self.rejects[0] if len(self.rejects) == self.account.records == 1 else None


def decode_record(raw: bytes, offset: int, layout: str, record_bytes: int) -> Decoded:
    """What the bytes of one record are that begins at ``offset`` of a file of this ``layout`` (a column of ``files``)."""
    found = Decoded()
    collector = Collector(found.account)
    for views, rejects in _batches(raw, offset, layout, record_bytes, collector):
        _add(found, views, rejects)
    if not collector.empty:
        _add(found, *collector.take())
    return found


def decode_events(message: bytes, offset: int) -> tuple[str | None, list[View | Reject | None]]:
    """The id of a message, and what each of its events is now: a view, a reject, or None for an ignored one.

    Raises:
        Fault: the message as a whole cannot be used now.
    """
    message_id, events = open_message(message)
    return message_id, list(read_events(message, events, offset))


def extend(views: Views, more: Views) -> None:
    """Adds views to others."""
    for item in fields(Views):
        getattr(views, item.name).extend(getattr(more, item.name))


def _batches(raw: bytes, offset: int, layout: str, record_bytes: int, collector: Collector) -> Iterator[Batch]:
    kind = layout.partition("/")[0]
    if kind == "lines":
        yield from read_lines(Source(io.BytesIO(raw)), collector, record_bytes, base=offset)
        return
    # A record of an array may be followed by the bracket that closes it.
    opened = _BRACKET if kind == "array" else b""
    for piece in Scanner(None, record_bytes, array=bool(opened), data=opened + raw, base=offset - len(opened)):
        if not (isinstance(piece, Piece) and piece.length == 0):  # that the array has no end is no fault of its record
            yield from take(collector, piece)


def _add(found: Decoded, views: Views, rejects: list[Reject]) -> None:
    extend(found.views, views)
    found.rejects += rejects
