"""Times of requests: text to an instant, instants to local text. Instants are whole seconds since 1970, UTC."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from serving.faults import FaultCode

FIRST_SECOND = 946_684_800
"""2000-01-01 00:00:00 UTC: no time of the lake lies before it."""

LAST_SECOND = 4_102_444_800
"""2100-01-01 00:00:00 UTC: every time of the lake lies before it."""

_TIME = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})[T ](?P<hour>\d{2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?"
    r"(?P<fraction>[.,]\d+)?"
    r"(?P<offset>\s?(?:[Zz]|[+-]\d{2}:?\d{2}|[+-]\d{2}))?",
    re.ASCII,
)
_LOST_PLUS = re.compile(r"(.*\d{2}:\d{2}) (\d{2}(?::?\d{2})?)", re.ASCII)
_EPOCH = datetime(1970, 1, 1)


class TimeFault(ValueError):
    """A time that cannot be used: a stable code, what is wrong, and what to do."""

    def __init__(self, code: FaultCode, detail: str, hint: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint


@lru_cache(maxsize=1)
def zones() -> frozenset[str]:
    """The names of all IANA time zones that this machine knows; not those that mean another zone on another machine, or none."""
    return frozenset(available_timezones()) - {"localtime", "Factory", "posixrules"}


def restore_plus(text: str) -> str:
    """Give ``2016-01-03 13:55:00 00:00`` its ``+`` back: unescaped in a URL, the plus of an offset means a space."""
    match = _LOST_PLUS.fullmatch(text)
    return f"{match[1]}+{match[2]}" if match else text


def parse_time(text: str, zone: ZoneInfo) -> int:
    """The instant that a time names; without an offset it is read in ``zone``.

    A local time that the clocks of the zone show twice is the first of both.

    Raises:
        TimeFault: the text is no such time, has a fraction, lies outside 2000..2100 or in a gap of the zone's clock.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise TimeFault("time_format", f"found {text[:64]!r}", "write YYYY-MM-DD HH:MM:SS, for example " + _EXAMPLE)
    if match["fraction"]:
        raise TimeFault("time_fraction", f"found {text[:64]!r} with a fraction of a second", "write whole seconds")
    try:
        parts = match.group("year", "month", "day", "hour", "minute", "second")
        year, month, day, hour, minute, second = (int(part or 0) for part in parts)
        local = datetime(year, month, day, hour, minute, second)
        offset = _offset(match["offset"])
    except ValueError:
        raise TimeFault("time_value", f"found {text[:64]!r}", "there is no such day, time or offset") from None
    outside = TimeFault("time_range", f"found {text[:64]!r}", "the time must lie between 2000-01-01 and 2100-01-01 UTC")
    if not 1999 <= local.year <= 2100:  # far from the ends of the calendar, where instants cannot be converted
        raise outside
    second = _second(local) - offset if offset is not None else _from_local(local, zone)
    if not FIRST_SECOND <= second <= LAST_SECOND:
        raise outside
    return second


_EXAMPLE = "2016-01-03 13:55:00"


def _offset(text: str | None) -> int | None:
    """Seconds east of UTC; ``None`` where the text has no offset."""
    text = (text or "").strip()
    if not text:
        return None
    if text in "Zz":
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        raise ValueError(text)
    return (hours * 3600 + minutes * 60) * (-1 if text[0] == "-" else 1)


def _from_local(local: datetime, zone: ZoneInfo) -> int:
    second = to_second(local, zone)
    if to_local(second, zone) != local:
        after = to_local(second, zone).strftime("%Y-%m-%d %H:%M:%S")
        raise TimeFault(
            "time_in_gap",
            f"{local:%Y-%m-%d %H:%M:%S} does not exist in {zone.key}: its clocks are put forward over it",
            f"the same instant by the clocks of the zone is {after}; or give an offset",
        )
    return second


def to_second(local: datetime, zone: ZoneInfo) -> int:
    """The instant of a local time: the first of two; in a gap, as if the clocks had not been put forward yet."""
    offset = local.replace(tzinfo=zone, fold=0).utcoffset()
    assert offset is not None
    return _second(local) - int(offset.total_seconds())


def to_local(second: int, zone: ZoneInfo) -> datetime:
    """What the clocks of the zone show at an instant, as a date-time without zone."""
    return (_EPOCH + timedelta(seconds=second)).replace(tzinfo=timezone.utc).astimezone(zone).replace(tzinfo=None)


@lru_cache(256)
def offsets(start: int, end: int, zone: ZoneInfo) -> tuple[tuple[int, int], ...]:
    """The offsets from UTC in force during ``[start, end)``: pairs of first second and seconds east, in order.

    They are kept: years take tens of milliseconds, in which nothing else of Python runs.
    """
    found = [(start, _offset_at(start, zone))]
    for day in range(start, end, 86_400):
        last = min(day + 86_400, end - 1)
        if _offset_at(last, zone) != found[-1][1]:
            change = _first_change(day, last, zone)
            found.append((change, _offset_at(change, zone)))
    return tuple(found)


def _first_change(low: int, high: int, zone: ZoneInfo) -> int:
    """The first second in ``(low, high]`` with another offset than ``low``; clocks change at most once a day."""
    before = _offset_at(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_at(middle, zone) == before:
            low = middle
        else:
            high = middle
    return high


def _offset_at(second: int, zone: ZoneInfo) -> int:
    return _second(to_local(second, zone)) - second


def _second(naive: datetime) -> int:
    return (naive - _EPOCH) // timedelta(seconds=1)
