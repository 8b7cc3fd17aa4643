"""Clients that ask for all kinds of things all the time and keep what they were answered, to be checked when all is known."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx

from serving.contract import PLATFORMS
from tests.rows import at
from tests.serving import oracle
from tests.serving.reading import rows_of
from tests.soak.lake import DAYS, FIRST, GrowingLake

Rows = tuple[tuple[str, ...], ...]
FORMATS = ("json", "ndjson", "csv", "arrow", "parquet")


@dataclass(frozen=True)
class Asked:
    """The parameters of one request that was answered with rows."""

    start_minute: int
    minutes: int
    aggregation: int
    products: tuple[str, ...]
    platforms: tuple[str, ...]

    @property
    def values(self) -> dict[str, Any]:
        """As a query."""
        start = at(FIRST) + timedelta(minutes=self.start_minute)
        return {
            "startTimestamp": f"{start:%Y-%m-%d %H:%M:%S}",
            "endTimestamp": f"{start + timedelta(minutes=self.minutes):%Y-%m-%d %H:%M:%S}",
            "aggregation": self.aggregation,
            "product": list(self.products),
            "platform": list(self.platforms),
            "detail": "true",
        }


@dataclass
class Traffic:
    """What all clients were answered."""

    address: str
    answers: set[tuple[Asked, int, Rows]] = field(default_factory=set)
    """What was asked, the publication that the answer names, and its rows as they came, with all columns."""
    sources: Counter[str] = field(default_factory=Counter)
    """What the answers were read with: ``replica``, ``delta``, or both."""
    changes: set[tuple[int, int, frozenset[tuple[str, str]]]] = field(default_factory=set)
    """Since which publication, up to which, and the days and platforms that are listed."""
    products: set[tuple[int, frozenset[str]]] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    newest: int = 1

    async def run(self, clients: int, until: asyncio.Event) -> None:
        """So many clients, until the event."""
        await asyncio.gather(*(self._client(random.Random(number), until) for number in range(clients)))

    async def _client(self, chance: random.Random, until: asyncio.Event) -> None:
        ways: tuple[Callable[[httpx.AsyncClient, random.Random], Awaitable[str]], ...] = (
            self._rows, self._rows, self._rows, self._as_of, self._changes, self._again, self._abort, self._products,
        )  # fmt: skip
        async with httpx.AsyncClient(base_url=self.address, timeout=60) as client:
            while not until.is_set():
                way = chance.choice(ways)
                try:
                    self.kinds[await way(client, chance)] += 1
                except Exception as error:  # whatever it is, it is what the test is about
                    self.unexpected.append(f"{way.__name__}: {type(error).__name__}: {error}")
                await asyncio.sleep(chance.uniform(0.02, 0.1))

    async def _rows(self, client: httpx.AsyncClient, chance: random.Random) -> str:
        wanted, format = _draw(chance), chance.choice(FORMATS)
        response = await client.get("/v1/ctr", params={**wanted.values, "format": format})
        if response.status_code != 200:
            raise AssertionError(f"{response.status_code} {response.text}")
        self._note(wanted, format, response)
        return f"{format}, {'stream' if 'x-row-count' not in response.headers else 'whole'}"

    async def _as_of(self, client: httpx.AsyncClient, chance: random.Random) -> str:
        wanted, format = _draw(chance), chance.choice(FORMATS)
        number = max(1, self.newest - chance.randrange(5))
        params = {**wanted.values, "format": format, "asOf": number}
        try:
            response = await client.get("/v1/ctr", params=params)
        except httpx.RemoteProtocolError:
            # Deleted in mid-stream: visible, as it has to be. Asked again, the service has to say so.
            response = await client.get("/v1/ctr", params=params)
            if response.status_code != 410:
                raise
        if response.status_code == 410:
            return "asOf, gone"
        if response.status_code != 200 or response.headers["x-data-version"] != str(number):
            raise AssertionError(f"asOf {number}: {response.status_code} {response.text[:500]}")
        self._note(wanted, format, response)
        return "asOf"

    async def _changes(self, client: httpx.AsyncClient, chance: random.Random) -> str:
        since = max(1, self.newest - chance.randrange(5))
        response = await client.get("/v1/ctr/changes", params={"since": since})
        if response.status_code == 410:
            return "changes, gone"
        if response.status_code != 200:
            raise AssertionError(f"changes since {since}: {response.status_code} {response.text}")
        answer = response.json()
        assert str(answer["dataVersion"]) == response.headers["x-data-version"]
        listed = frozenset((row["date"], row["platform"]) for row in answer["changed"])
        self.changes.add((since, answer["dataVersion"], listed))
        return "changes"

    async def _again(self, client: httpx.AsyncClient, chance: random.Random) -> str:
        wanted = _draw(chance)
        first = await client.get("/v1/ctr", params=wanted.values)
        again = await client.get("/v1/ctr", params=wanted.values, headers={"If-None-Match": first.headers["etag"]})
        if first.status_code != 200 or again.status_code not in (200, 304):
            raise AssertionError(f"{first.status_code} {again.status_code} {again.text}")
        same = first.headers["x-data-version"] == again.headers["x-data-version"]
        assert (again.status_code == 304) == same, "304 for another publication, or 200 for the same"
        self._note(wanted, "json", first)
        if not same:
            self._note(wanted, "json", again)
        return f"If-None-Match, {again.status_code}"

    async def _abort(self, client: httpx.AsyncClient, chance: random.Random) -> str:
        params = {**_draw(chance).values, "format": chance.choice(FORMATS)}
        async with client.stream("GET", "/v1/ctr", params=params) as response:
            if response.status_code != 200:
                raise AssertionError(f"{response.status_code}")
            async for _ in response.aiter_raw(100):
                break
        return "aborted"

    async def _products(self, client: httpx.AsyncClient, _: random.Random) -> str:
        response = await client.get("/v1/products", params={"limit": 1000})
        if response.status_code != 200:
            raise AssertionError(f"{response.status_code} {response.text}")
        self.products.add((int(response.headers["x-data-version"]), frozenset(response.json())))
        return "products"

    def _note(self, wanted: Asked, format: str, response: httpx.Response) -> None:
        version = int(response.headers["x-data-version"])
        self.newest = max(self.newest, version)
        self.sources[response.headers["x-source"].rpartition(" from ")[2]] += 1
        rows = rows_of(response.content, format, version, detail=True)
        self.answers.add((wanted, version, tuple(rows)))


def _draw(chance: random.Random) -> Asked:
    """Few different ones, so that most are asked of every publication."""
    start = chance.choice((0, 0, 835, 1440))
    end = chance.choice((1440, 2880, DAYS * 1440))
    return Asked(
        start,
        max(60, end - start),
        chance.choice((1, 60, 90, 1440)),
        chance.choice(((), (), ("p01",), ("p03", "p07"))),
        chance.choice(((), ("iOS",))),
    )


def check(traffic: Traffic, lake: GrowingLake) -> None:
    """Fails unless every answer is that of the plain oracle for the publication that it names."""
    for wanted, version, rows in traffic.answers:
        assert list(rows) == _truth(lake, wanted, version), f"publication {version}, {wanted}"
    for since, version, listed in traffic.changes:
        assert listed >= _changed(lake, since, version), f"changes from {since} to {version}"
    for version, names in traffic.products:
        views, purchases = lake.published[version]
        counted = [*lake.views[:views], *lake.purchases[:purchases]]
        assert names == {row["product"] for row in counted}, f"products of publication {version}"


def _truth(lake: GrowingLake, wanted: Asked, version: int) -> list[tuple[str, ...]]:
    views, purchases = lake.published[version]
    start = at(FIRST) + timedelta(minutes=wanted.start_minute)
    end = start + timedelta(minutes=wanted.minutes)
    return oracle.answer(
        lake.views[:views], lake.purchases[:purchases], start, end, wanted.aggregation,
        wanted.products, wanted.platforms, detail=True,
    )  # fmt: skip


def _changed(lake: GrowingLake, since: int, version: int) -> set[tuple[str, str]]:
    """The days and platforms whose counts differ between two publications."""
    counts: list[Counter[tuple[str, str]]] = []
    for views, purchases in (lake.published[since], lake.published[version]):
        rows = [*lake.views[:views], *lake.purchases[:purchases]]
        counts.append(Counter((row["date"].isoformat(), row["platform"]) for row in rows))
    assert {platform for _, platform in counts[1]} <= set(PLATFORMS)
    return {key for key in counts[0].keys() | counts[1].keys() if counts[0][key] != counts[1][key]}
