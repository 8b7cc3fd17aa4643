"""What can be wrong with a parameter of a request: its code, and what the code means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FaultCode = Literal[
    "missing",
    "repeated",
    "unknown_parameter",
    "empty",
    "wrong_type",
    "encoding",
    "malformed_json",
    "not_a_whole_number",
    "not_a_number",
    "not_a_flag",
    "out_of_range",
    "unknown_platform",
    "unknown_timezone",
    "unknown_fill",
    "unknown_format",
    "time_format",
    "time_fraction",
    "time_value",
    "time_range",
    "time_in_gap",
    "reversed_range",
    "range_too_long",
    "too_many_buckets",
    "too_many_products",
    "too_many_rows",
    "too_many_values",
    "publication_unknown",
    "publication_gone",
]

FAULTS: dict[FaultCode, str] = {
    "missing": "a mandatory parameter is not given",
    "repeated": "a parameter that may be given once is given several times",
    "unknown_parameter": "there is no parameter of that name",
    "empty": "an empty text or list, where a product or platform was meant",
    "wrong_type": "a value in a body, or the body, is of another JSON type",
    "encoding": "a text is no UTF-8, or has half of a surrogate pair",
    "malformed_json": "the body is no JSON",
    "not_a_whole_number": "other than digits, or a JSON number that is not whole",
    "not_a_number": "no decimal number",
    "not_a_flag": "neither true nor false",
    "out_of_range": "a number outside of what the parameter takes",
    "unknown_platform": "none of the platforms",
    "unknown_timezone": "no IANA time zone",
    "unknown_fill": "none of the values of fill",
    "unknown_format": "none of the formats",
    "time_format": "not written like a time",
    "time_fraction": "a time with a fraction of a second",
    "time_value": "no such day, time of day or offset",
    "time_range": "a time before 2000 or after the beginning of 2100",
    "time_in_gap": "a local time that the clocks of the zone pass over",
    "reversed_range": "the end is not after the start",
    "range_too_long": "more days than one request may ask for",
    "too_many_buckets": "more buckets than one request may ask for",
    "too_many_products": "more products than one request may name",
    "too_many_rows": "the answer has more rows than its format may",
    "too_many_values": "a body of more values than are read",
    "publication_unknown": "there never was a publication of that number",
    "publication_gone": "the publication is no longer kept",
}
"""What is wrong with a parameter, by its code; ``/docs`` lists them."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a request."""

    parameter: str
    code: FaultCode
    detail: str
    hint: str
