"""What decoding gives: columns of views, rejects with a reason, and the account of every record and event.

Nothing here reads or decides: the rules are in ``message``, the layouts in ``lines`` and ``scan``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum

from jobs.errors import AccountError

RAW_BYTES = 65_536
"""Most bytes of a reject's raw text that are kept; its true length is always counted."""


class Reason(str, Enum):
    """Why a record or an event was quarantined. A closed list: a new reason is a new member with one line of text."""

    text: str

    def __new__(cls, code: str, text: str) -> Reason:
        """A reason is its code (a string) and carries one line that explains it."""
        self = str.__new__(cls, code)
        self._value_ = code
        self.text = text
        return self

    def __str__(self) -> str:
        return str(self.value)

    # Faults of a record: it is not a message. In the order in which they are looked for.
    TOO_LONG = ("too_long", "the record is longer than the setting record_bytes")
    NOT_UTF8 = ("not_utf8", "the record holds bytes that are no UTF-8 (or no UTF-16) text")
    TRUNCATED = (
        "truncated",
        "the record or its array ends too early: it was cut, or a closing bracket or quote is missing",
    )
    TOO_DEEP = ("too_deep", "the record nests arrays or objects too deeply")
    INVALID_JSON = ("invalid_json", "the record begins like an object and is no valid JSON")
    STRAY_TEXT = ("stray_text", "text where a record should begin that is no JSON value")
    NOT_AN_OBJECT = ("not_an_object", "the record is valid JSON and no object")
    EVENTS_TYPE = ("events_type", "the message's events is neither a list nor null")
    MESSAGE_ID_TYPE = ("message_id_type", "the message's message_id is neither text nor a number nor null")
    MESSAGE_ID_TEXT = ("message_id_text", "the message's message_id holds half of a surrogate pair")

    # Faults of one event, likewise.
    EVENT_TYPE = ("event_not_an_object", "the element of events is no object")
    DATA_TYPE = ("data_type", "a custom_event's data is missing or no object")
    EVENT_NAME_TYPE = ("event_name_type", "a custom_event's event_name is neither text nor null")
    ATTRIBUTES_TYPE = ("attributes_type", "a product event's custom_attributes is missing or no object")
    PRODUCT_MISSING = ("product_missing", "a product event's codeColor is missing or null")
    PRODUCT_TYPE = ("product_type", "a product event's codeColor is not text")
    PRODUCT_EMPTY = ("product_empty", "a product event's codeColor is empty or white space only")
    PRODUCT_LENGTH = ("product_length", "a product event's codeColor is longer than 512 characters")
    PRODUCT_TEXT = ("product_text", "a product event's codeColor holds a NUL or half of a surrogate pair")
    TIME_MISSING = ("time_missing", "a product event's timestamp_unixtime_ms is missing or null")
    TIME_TYPE = ("time_type", "a product event's timestamp_unixtime_ms is neither a number nor text")
    TIME_TEXT = ("time_text", "a product event's timestamp_unixtime_ms is text and no plain decimal number")
    TIME_RANGE = ("time_range", "a product event's time is not in 2000-01-01 <= time < 2100-01-01 UTC")


class Fault(Exception):
    """A record or an event cannot be used: the reason and a short detail that never repeats the data of a person."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass
class Account:
    """The account of one file or of one piece of it; pieces add up by ``+``.

    ``bytes`` and ``lines`` count the unpacked stream as UTF-8. ``first_ms`` and ``last_ms`` are of the views.
    ``layout`` is ``empty``, ``lines``, ``objects`` or ``array``, with what it was wrapped in: ``array/gzip``.
    """

    bytes: int = 0
    lines: int = 0
    records: int = 0
    decoded: int = 0
    quarantined_records: int = 0
    blank: int = 0
    events: int = 0
    views: int = 0
    ignored: int = 0
    quarantined_events: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    layout: str = "empty"

    def __add__(self, other: Account) -> Account:
        """The account of both."""
        names = [item.name for item in fields(Account) if item.name not in ("first_ms", "last_ms", "layout")]
        layouts = {one.layout for one in (self, other) if one.layout != "empty"}
        return Account(
            **{name: getattr(self, name) + getattr(other, name) for name in names},
            first_ms=min((ms for ms in (self.first_ms, other.first_ms) if ms is not None), default=None),
            last_ms=max((ms for ms in (self.last_ms, other.last_ms) if ms is not None), default=None),
            layout="+".join(sorted(layouts)) or "empty",
        )

    def check(self, name: str) -> None:
        """Prove that every record and every event of the file ``name`` is accounted for.

        Raises:
            AccountError: one of the two sums is wrong.
        """
        if self.records != self.decoded + self.quarantined_records + self.blank:
            raise AccountError(
                f"{name}: {self.records} records read, but {self.decoded} decoded + {self.quarantined_records} quarantined"
                f" + {self.blank} blank; this is a defect of the decoder, nothing of the file was kept"
            )
        if self.events != self.views + self.ignored + self.quarantined_events:
            raise AccountError(
                f"{name}: {self.events} events read, but {self.views} views + {self.ignored} ignored"
                f" + {self.quarantined_events} quarantined; this is a defect of the decoder, nothing of the file was kept"
            )


@dataclass
class Views:
    """Columns of some views: plain lists of equal length. ``offset`` is where the view's record begins."""

    product: list[str] = field(default_factory=list)
    time_ms: list[int] = field(default_factory=list)
    message_id: list[str | None] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.product)


@dataclass(frozen=True)
class Reject:
    """One record (``position`` None) or one event that could not be used, with its raw bytes cut at ``RAW_BYTES``."""

    offset: int
    position: int | None
    reason: Reason
    detail: str
    raw: bytes
    raw_bytes: int


Batch = tuple[Views, list[Reject]]
"""What decoding yields again and again."""
