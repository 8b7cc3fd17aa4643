"""The formats of an answer, and which of them a client gets: by ``format``, else by the header ``Accept``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from serving.errors import NotAcceptable


@dataclass(frozen=True)
class Format:
    """One form in which rows are sent."""

    name: str
    """What ``format`` calls it; also the ending of a file of it."""
    media_type: str
    typed: bool = False
    """Columns have types (Arrow, Parquet); else rows are text."""
    parameters: str = ""
    """What ``Content-Type`` says beside the media type."""
    aliases: tuple[str, ...] = ()
    """Other media types that mean it in ``Accept``."""

    @property
    def content_type(self) -> str:
        """The value of ``Content-Type``."""
        return self.media_type + self.parameters


JSON = "json"
FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        Format(JSON, "application/json"),
        Format("ndjson", "application/x-ndjson", aliases=("application/ndjson", "application/jsonl")),
        Format("csv", "text/csv", parameters="; charset=utf-8; header=present"),
        Format("arrow", "application/vnd.apache.arrow.stream", typed=True),
        Format("parquet", "application/vnd.apache.parquet", typed=True),
    )
}
"""Every format by its name; of those that a client likes equally, it gets the first."""

_WEIGHT = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?", re.ASCII)


def negotiate(accept: str | None) -> Format:
    """The format that ``Accept`` likes best (RFC 9110, 12.5.1); JSON where there is no such header.

    Raises:
        NotAcceptable: the header takes none of the formats.
    """
    ranges = dict(weights(accept)) if accept is not None else {}
    if not ranges:
        return FORMATS[JSON]
    liked = {format.name: _quality(format, ranges) for format in FORMATS.values()}
    best = max(liked, key=lambda name: liked[name])
    if liked[best] == 0:
        raise NotAcceptable("Accept", [format.media_type for format in FORMATS.values()])
    return FORMATS[best]


def _quality(format: Format, ranges: dict[str, float]) -> float:
    """The weight of the most exact range that takes the format; 0 where none does."""
    kind = format.media_type.partition("/")[0]
    exact = [ranges[name] for name in (format.media_type, *format.aliases) if name in ranges]
    return max(exact) if exact else ranges.get(f"{kind}/*", ranges.get("*/*", 0.0))


def weights(header: str) -> Iterator[tuple[str, float]]:
    """The items of ``Accept`` or ``Accept-Encoding`` in lower case with their weights; malformed ones are left out."""
    for item in header.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        given = [value.strip() for key, _, value in (part.partition("=") for part in parameters) if key.strip() == "q"]
        if name and all(_WEIGHT.fullmatch(value) for value in given):
            yield name, float(given[0]) if given else 1.0
