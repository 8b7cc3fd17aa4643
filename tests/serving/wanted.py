"""Random requests with every parameter, how each is sent, and the plain answer that it has to get."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from hypothesis import strategies as st

from serving.request.formats import FORMATS
from tests.serving.lake import Lake, at, purchase, view
from tests.serving.oracle import ALL_PLATFORMS, answer, refused_days, watermark
from tests.serving.reading import rows_of

UTC = timezone.utc
PRODUCTS = [
    "20001829_048",
    "20001829_002",
    "P",
    "p",
    "é",
    'quo"te\\',
    "%",
    "tab\t\x01",
    "日本",
    "\U0001f600",
    "a,\r\nb",
]
ZONES = ["UTC", "America/Sao_Paulo", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"]
CODINGS = [None, "identity", "gzip", "zstd"]
PERIODS = [date(2016, 10, 1), date(2016, 10, 14), date(2016, 10, 29)]
"""Three times three days with data: clocks change in Lord Howe on the 2nd, in Sao Paulo on the 16th, in Berlin on the 30th."""

PUBLISHED = at("2016-10-30 20:00:00")
"""In the middle of the last period, so that rows are final, provisional and partial."""


@dataclass(frozen=True)
class Content:
    """The rows that one publication was made from."""

    views: list[dict[str, Any]]
    purchases: list[dict[str, Any]]
    published_at: datetime = PUBLISHED

    @classmethod
    def random(cls, seed: int, count: int = 600) -> Content:
        """Views with copies of every kind (other time, other product, other position, no id), and purchases."""
        chance = random.Random(seed)

        def drawn() -> tuple[str, str, str]:
            first = datetime.combine(chance.choice(PERIODS), datetime.min.time())
            time = first + timedelta(milliseconds=chance.randrange(3 * 86_400_000))
            if chance.random() < 0.3:
                time = time.replace(second=chance.choice([0, 59]), microsecond=chance.choice([0, 999_999]))
            if chance.random() < 0.1:
                time = time.replace(minute=0, second=0, microsecond=0, hour=chance.randrange(24))
            return time.isoformat(), chance.choice(PRODUCTS), chance.choice(ALL_PLATFORMS)

        views = []
        for number in range(count):
            row = view(*drawn(), f"m{number * 2 // 3}", chance.randrange(2))
            views.append({**row, "message_id": None} if chance.random() < 0.3 else row)
        for row in chance.sample(views, count // 4):
            same_day = row["time"].replace(hour=chance.randrange(24), second=chance.randrange(60))
            change: dict[str, Any] = chance.choice(
                [{}, {"product": chance.choice(PRODUCTS)}, {"time": same_day}, {"position": 1 - row["position"]}]
            )
            views.append({**row, **change})
        views = [row for row in views if row["date"].day % 7 or row["platform"] == "iOS"]
        return cls(views, [purchase(*drawn()) for _ in range(count // 3)])

    def publish(self, lake: Lake) -> int:
        """Publish the rows; gives the number of the publication."""
        return lake.publish(self.views, self.purchases, f"{self.published_at:%Y-%m-%d %H:%M:%S}")


@dataclass(frozen=True)
class Wanted:
    """One request: what is asked for, and how it is sent."""

    start: datetime
    end: datetime
    aggregation: int
    products: tuple[str, ...]
    platforms: tuple[str, ...]
    zone: str
    detail: bool
    ci: float | None
    fill: bool
    strict: bool
    as_of: int | None
    format: str
    coding: str | None
    spelling: str
    post: bool
    by_accept: bool

    def send(self, client: httpx.Client, tag: str | None = None) -> httpx.Response:
        """The answer of the service."""
        headers = {"Accept": FORMATS[self.format].media_type} if self.by_accept else {}
        if tag is not None:
            headers["If-None-Match"] = tag
        if self.post:
            request = client.build_request("POST", "/v1/ctr", json=self._values(), headers=headers)
        else:
            texts = {
                name: str(value).lower() if isinstance(value, bool) else value for name, value in self._values().items()
            }
            request = client.build_request("GET", "/v1/ctr", params=texts, headers=headers)
        del request.headers["accept-encoding"]
        if self.coding is not None:
            request.headers["accept-encoding"] = self.coding
        return client.send(request)

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            "startTimestamp": self._written(self.start),
            "endTimestamp": self._written(self.end),
            "aggregation": self.aggregation,
        }
        options = {
            "product": self.products[0] if len(self.products) == 1 else list(self.products),
            "platform": [name.lower() if self.post else name for name in self.platforms],
            "timezone": self.zone if self.zone != "UTC" else None,
            "detail": self.detail or None,
            "ci": self.ci,
            "fill": "zero" if self.fill else None,
            "strict": self.strict or None,
            "asOf": self.as_of,
            "format": None if self.by_accept else self.format,
        }
        return values | {name: value for name, value in options.items() if value not in (None, [])}

    def _written(self, time: datetime) -> str:
        """The instant by the clocks of the zone, without an offset where it can be told without."""
        local = time.astimezone(ZoneInfo(self.zone))
        plain = local.replace(tzinfo=None)
        shown = plain.isoformat("T" if "T" in self.spelling else " ")
        if "short" in self.spelling:
            shown = shown.removesuffix(":00") if plain.second == 0 else shown
        if "Z" in self.spelling:
            return f"{time.replace(tzinfo=None).isoformat()}Z"
        if "offset" in self.spelling or plain.replace(tzinfo=ZoneInfo(self.zone), fold=0).astimezone(UTC) != time:
            return shown + local.strftime("%z")
        return shown

    def refused(self, content: Content) -> dict[str, list[str]]:
        """The missing days for which the request has to be refused."""
        if not self.strict:
            return {}
        return refused_days(content.views, content.published_at, self.start, self.end, self.platforms)

    def check(self, response: httpx.Response, content: Content) -> None:
        """Fail if the answer is not, digit for digit, the one that the content gives."""
        version = int(response.headers["x-data-version"])
        refused = self.refused(content)
        assert response.status_code == (409 if refused else 200), response.text
        if refused:
            missing = response.json()["missingDays"]
            assert {entry["platform"]: entry["days"] for entry in missing} == refused
            return
        expected = answer(
            content.views,
            content.purchases,
            self.start,
            self.end,
            self.aggregation,
            self.products,
            self.platforms,
            self.zone,
            self.detail,
            self.ci,
            self.fill,
            content.published_at,
        )
        assert rows_of(response.content, self.format, version, self.detail, self.ci is not None) == expected
        headers = response.headers
        assert headers["content-type"] == FORMATS[self.format].content_type
        assert headers.get("x-row-count", str(len(expected))) == str(len(expected))
        assert headers.get("content-encoding", self.coding) == self.coding or "content-encoding" not in headers
        assert headers.get("x-watermark") == self._watermark(content)

    def _watermark(self, content: Content) -> str | None:
        known = [
            watermark(content.views, content.purchases, content.published_at, platform)
            for platform in self.platforms or ALL_PLATFORMS
        ]
        return f"{min(mark for mark in known if mark):%Y-%m-%dT%H:%M:%SZ}" if all(known) else None


@st.composite
def wanted(draw: st.DrawFn, publications: int = 1) -> Wanted:
    """A request for one of so many publications; its times stand on seconds, minutes, hours or days of UTC or of its zone."""
    zone = draw(st.sampled_from(ZONES))
    clock = ZoneInfo(draw(st.sampled_from(["UTC", zone])))
    plain = draw(st.integers(0, 3)) == 0  # the case's own fields alone: the service has a way of its own for these
    fill = not plain and draw(st.booleans())

    def on_grid(seconds: int, grid: int) -> datetime:
        """So many seconds after the day before a period, back to the grid by that clock."""
        local = datetime.combine(period, datetime.min.time()) + timedelta(seconds=seconds // grid * grid)
        return local.replace(tzinfo=clock).astimezone(UTC)

    period = draw(st.sampled_from(PERIODS)) - timedelta(days=1)
    begin = draw(st.integers(0, 5 * 86_400))
    span = draw(st.one_of(st.integers(1, 7200), st.integers(1, 5 * 86_400), st.integers(1, 40 * 86_400)))
    grid = draw(st.sampled_from([1, 1, 60, 60, 300, 1800, 3600, 86_400]))
    aggregation = draw(
        st.one_of(
            st.integers(1, 8).map(lambda count: count * max(1, grid // 60)),
            st.sampled_from([1, 15, 60, 360, 720, 1440, 2880, 10_080, 10**12]),
            st.integers(1, 3000),
        )
    )
    start = on_grid(begin, grid)
    end = on_grid(begin + span, draw(st.sampled_from([grid, grid, 1, 60, 3600])))
    end = end if end > start else start + timedelta(seconds=grid)
    end = min(end, start + timedelta(minutes=min(aggregation, 10**5)) * (150 if fill else 4000))
    levels = st.one_of(st.sampled_from([0.95, 0.01, 0.9999]), st.integers(100, 9999).map(lambda level: level / 10_000))
    return Wanted(
        start,
        end,
        aggregation,
        products=tuple(draw(st.sets(st.sampled_from([*PRODUCTS, "unknown"]), max_size=3))),
        platforms=tuple(draw(st.sets(st.sampled_from(ALL_PLATFORMS), max_size=3))),
        zone=zone,
        detail=not plain and draw(st.booleans()),
        ci=None if plain else draw(st.one_of(st.none(), levels)),
        fill=fill,
        strict=draw(st.integers(0, 3)) == 0,
        as_of=draw(st.one_of(st.none(), st.integers(1, publications))),
        format="json" if plain else draw(st.sampled_from(list(FORMATS))),
        coding=draw(st.sampled_from(CODINGS)),
        spelling=draw(st.sampled_from(["", "T", "short", "T short", "Z", "offset", "T offset"])),
        post=draw(st.booleans()),
        by_accept=draw(st.booleans()),
    )
