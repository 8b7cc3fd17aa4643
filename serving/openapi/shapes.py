"""The shapes of bodies and answers, for the OpenAPI document. Answers are written as text and tested against these."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from serving.errors import PROBLEMS
from serving.faults import FaultCode
from serving.request.parameters import LEVELS

Platform = Literal["Android", "MobileWeb", "iOS"]
LocalTime = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}$", examples=["2016-02-02 13:55:00"])]


TIME_PATTERN = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2})?( ?([Zz]|[+\-]\d{2}(:?\d{2})?))?$"
"""How a time of a request is written. Which of these times there are, no pattern can say."""

Name = Annotated[str, Field(min_length=1)]
LeftOut = SkipJsonSchema[None]
"""Stands for a parameter that is not there: the document must not offer ``null``, which is refused."""


def _no_default(schema: dict[str, Any]) -> None:
    schema.pop("default")


def _codes(schema: dict[str, Any]) -> None:
    schema["enum"] = sorted(kind.code for kind in PROBLEMS)


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CtrRow(_Shape):
    """The CTR of one product on one platform in one bucket."""

    timestamp: LocalTime = Field(description="start of the bucket, by the clocks of `timezone`")
    platform: Platform
    product: str = Field(min_length=1, examples=["20001829_048"])
    CTR: float | None = Field(
        ge=0,
        description="purchases / views, rounded half up, always written with four digits; null without views",
        examples=[0.0150],
    )


class CtrDetailRow(CtrRow):
    """The same with the counts behind it (`detail=true`)."""

    views: int = Field(ge=0, description="views of the product; a message delivered twice counts once")
    purchases: int = Field(ge=0, description="order items with the product; quantity is not multiplied")
    bucketEnd: LocalTime = Field(description="end of the bucket, not part of it; never after `endTimestamp`")  # noqa: N815
    status: Literal["final", "provisional", "partial"] = Field(
        description="`partial`: the range ends inside the bucket, or views of a day in it are missing (see `strict`). "
        "`provisional`: the bucket ends after the older watermark of the platform, so more may come. Else `final`."
    )


_END = "of Wilson's score interval of the CTR, rounded half up to four digits; null where CTR is null or above 1"


class CtrCiRow(CtrRow):
    """The same with an interval of confidence (`ci=0.95`)."""

    ciLow: float | None = Field(ge=0, le=1, description=f"lower end {_END}")  # noqa: N815
    ciHigh: float | None = Field(ge=0, le=1, description=f"upper end {_END}")  # noqa: N815


class CtrDetailCiRow(CtrDetailRow):
    """The same with counts and an interval of confidence."""

    ciLow: float | None = Field(ge=0, le=1, description=f"lower end {_END}")  # noqa: N815
    ciHigh: float | None = Field(ge=0, le=1, description=f"upper end {_END}")  # noqa: N815


class CtrBody(_Shape):
    """The parameters of `GET /v1/ctr` as a JSON object."""

    startTimestamp: str = Field(pattern=TIME_PATTERN, examples=["2016-02-02 13:55:00"])  # noqa: N815
    endTimestamp: str = Field(pattern=TIME_PATTERN, examples=["2016-02-03 13:55:00"])  # noqa: N815
    aggregation: int = Field(ge=1, examples=[60])
    product: Name | Annotated[list[Name], Field(min_length=1)] | LeftOut = Field(None, json_schema_extra=_no_default)
    platform: Platform | Annotated[list[Platform], Field(min_length=1)] | LeftOut = Field(
        None, json_schema_extra=_no_default
    )
    timezone: str = "UTC"
    asOf: Annotated[int, Field(ge=1)] | LeftOut = Field(None, json_schema_extra=_no_default)  # noqa: N815
    detail: bool = False
    strict: bool = False
    fill: Literal["none", "zero"] = "none"
    ci: Annotated[float, Field(ge=LEVELS[0], le=LEVELS[1])] | LeftOut = Field(None, json_schema_extra=_no_default)
    format: Literal["json", "ndjson", "csv", "arrow", "parquet"] = "json"


class FaultShape(_Shape):
    """One thing that is wrong with a request."""

    parameter: str
    code: FaultCode = Field(description="stable, for programs")
    detail: str = Field(description="what was found, for people")
    hint: str = Field(description="what to do")


class MissingDaysShape(_Shape):
    """The days of a range of which a platform's views are missing."""

    platform: Platform
    days: list[date]


class Problem(_Shape):
    """An error (RFC 9457)."""

    type: str = Field(examples=["/docs#invalid_request"])
    title: str
    status: int
    detail: str
    code: str = Field(description="stable, for programs", json_schema_extra=_codes)
    requestId: str = Field(description="also in the header X-Request-Id and in the log")  # noqa: N815
    errors: list[FaultShape] | None = Field(
        None,
        description="what is wrong with which parameter: every fault where the status is 422, the one publication where "
        "it is 404 or 410",
    )
    missingDays: list[MissingDaysShape] | None = Field(None, description="all of them, where the code is missing_days")  # noqa: N815


class Change(_Shape):
    """One UTC day of one platform."""

    date: date
    platform: Platform


class Changes(_Shape):
    """The days whose counts changed between two publications."""

    since: int
    dataVersion: int = Field(description="the newest publication, up to which changes are listed")  # noqa: N815
    changed: list[Change] = Field(
        description="by date and platform; after a clean-up of files a day may be listed whose counts are the same"
    )


class Watermarks(_Shape):
    """Up to when the data of each source are known; null while there are none."""

    views: datetime | None
    purchases: datetime | None


class PlatformStatus(_Shape):
    """How far the data of one platform reach."""

    platform: Platform
    watermarks: Watermarks
    firstDay: date | None = Field(description="first day with views, UTC")  # noqa: N815
    lastDay: date | None = Field(description="last day with views, UTC")  # noqa: N815
    days: int = Field(ge=0, description="days with views")
    missingDays: list[date] = Field(  # noqa: N815
        description="days between the first and the last that have no view, and days of which event files are still to be loaded"
    )


class Run(_Shape):
    """One run of the jobs that published."""

    dataVersion: int  # noqa: N815
    publishedAt: datetime  # noqa: N815
    job: str
    report: dict[str, Any] = Field(description="what the run counted; docs/lake.md lists it")


class Status(_Shape):
    """What is served, how far it reaches, and what the last runs did."""

    dataVersion: int = Field(description="number of the publication that answers come from")  # noqa: N815
    publishedAt: datetime  # noqa: N815
    serviceVersion: str  # noqa: N815
    problem: str | None = Field(
        description="why a newer publication is not served, or cannot be looked for; null while all is well"
    )
    platforms: list[PlatformStatus] = Field(description="the platforms that ever had data")
    lastRuns: list[Run] = Field(description="the newest ten, newest first; none for a key that is bound to platforms")  # noqa: N815


class Live(_Shape):
    """The process runs."""

    status: Literal["live"]


class ReplicaShape(_Shape):
    """How much of the local copy is there. What is not is answered from the Delta tables, more slowly."""

    wanted: int = Field(ge=0, description="segments of a whole copy")
    held: int = Field(ge=0, description="segments that answer already")


class Ready(_Shape):
    """There is a publication to answer from."""

    status: Literal["ready", "degraded"] = Field(
        description="`degraded`: a newer publication is there and cannot be served, or the lake is out of reach; what was "
        "served before is meanwhile; or the local copy cannot be built or used as a whole; answers are right, but slower"
    )
    dataVersion: int = Field(description="number of the publication that answers come from")  # noqa: N815
    problem: str | None = Field(
        description="why a newer one is not served or looked for, or the local copy not built or used as a whole; "
        "null while all is well"
    )
    replica: ReplicaShape | None = Field(description="null: the service keeps no local copy (setting replica)")


SHAPES: tuple[type[BaseModel], ...] = (
    CtrRow,
    CtrDetailRow,
    CtrCiRow,
    CtrDetailCiRow,
    CtrBody,
    Problem,
    Changes,
    Status,
    Live,
    Ready,
)
