"""The shapes of bodies and answers, for the OpenAPI document. Answers are written as text and tested against these."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Platform = Literal["Android", "MobileWeb", "iOS"]
LocalTime = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}$", examples=["2016-01-03 13:55:00"])]


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
        description="`partial`: the range ends inside the bucket, or a day in it has no views at all. `provisional`: "
        "the bucket ends after the older watermark of the platform, so more may come. Else `final`."
    )


class CtrBody(_Shape):
    """The parameters of `GET /v1/ctr` as a JSON object."""

    startTimestamp: str = Field(examples=["2016-01-03 13:55:00"])  # noqa: N815
    endTimestamp: str = Field(examples=["2016-01-04 13:55:00"])  # noqa: N815
    aggregation: int = Field(ge=1, examples=[60])
    product: str | list[str] | None = Field(None, json_schema_extra={"examples": ["20001829_048"]})
    platform: str | list[str] | None = Field(None, json_schema_extra={"examples": ["iOS"]})
    timezone: str = "UTC"
    detail: bool = False


class FaultShape(_Shape):
    """One thing that is wrong with a request."""

    parameter: str
    code: str = Field(description="stable, for programs")
    detail: str = Field(description="what was found, for people")
    hint: str = Field(description="what to do")


class Problem(_Shape):
    """An error (RFC 9457)."""

    type: str = Field(examples=["/docs#invalid_request"])
    title: str
    status: int
    detail: str
    code: str = Field(description="stable, for programs")
    requestId: str = Field(description="also in the header X-Request-Id and in the log")  # noqa: N815
    errors: list[FaultShape] | None = Field(None, description="every fault of the request, where the code is 422")


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
    missingDays: list[date] = Field(description="days between the first and the last that have no view")  # noqa: N815


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
    problem: str | None = Field(description="why a newer publication is not served; null while all is well")
    platforms: list[PlatformStatus] = Field(description="the platforms that ever had data")
    lastRuns: list[Run] = Field(description="the newest ten, newest first")  # noqa: N815


class Live(_Shape):
    """The process runs."""

    status: Literal["live"]


class Ready(_Shape):
    """There is a publication to answer from."""

    status: Literal["ready"]
    dataVersion: int  # noqa: N815


SHAPES: tuple[type[BaseModel], ...] = (CtrRow, CtrDetailRow, CtrBody, Problem, Status, Live, Ready)
