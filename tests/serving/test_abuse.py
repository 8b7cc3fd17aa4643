"""A real service under clients that mean no good: they are told off, and others are answered all the while.

How fast the others are answered is measured by ``make bench-abuse``.
"""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from bench.serving import abuse
from serving.keys import make_key, write_keys
from tests.serving.conftest import eventually
from tests.serving.lake import view

CASE = "/v1/ctr?startTimestamp=2016-01-03 13:55:00&endTimestamp=2016-01-04 13:55:00&aggregation=60"
WORST = "startTimestamp=2016-01-03%2013:55:01&endTimestamp=2019-01-03%2013:55:00&aggregation=1440&timezone=Asia/Kolkata&detail=true"


def replica_stands(url: str) -> bool:
    """Whether the worker reads all of the local copy: until then a request for one product is heavy, as from Delta it is."""
    state = httpx.get(f"{url}/health/ready").json().get("replica")
    return state is not None and state["held"] == state["wanted"]


@pytest.mark.slow
def test_others_are_answered_while_many_connections_are_slow_silent_or_hostile(process, lake, tmp_path):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:05}" * 40) for number in range(30_000)])
    secret, key = make_key("shop", ("read",), (), None)
    write_keys(tmp_path / "keys.json", (key,))
    _, url, _ = process(
        CTR_REQUEST_SECONDS="1",
        CTR_STREAMS="4",
        CTR_API_KEYS_FILE=str(tmp_path / "keys.json"),
        CTR_KEY_REQUESTS="1000000",
        CTR_HEAVY_ROWS="10000",
        CTR_HEAVY_QUERIES="1",
        CTR_QUEUE_SECONDS="0.5",
    )
    headers = {"X-API-Key": secret}
    eventually(lambda: replica_stands(url), 30)
    port = httpx.URL(url).port
    assert port is not None
    long_answer = CASE.replace(" ", "%20")
    groups = {
        "silent": (100, abuse.silent, {0}),
        "slow head": (100, abuse.slow_head(pause=0.3), {408}),
        "endless body": (100, abuse.endless_body(secret), {408}),
        "takes nothing": (50, abuse.takes_nothing(long_answer, secret), {503}),
        "long head": (4, abuse.long_head, {431}),
        "guesses": (4, abuse.asks("/v1/status", "ctr_guess"), {401, 429}),
        "worst": (50, abuse.asks(f"/v1/ctr?{WORST}", secret), {200, 503}),
    }

    async def story() -> dict[str, abuse.Seen]:
        seen: dict[str, abuse.Seen] = {}
        async with contextlib.AsyncExitStack() as stack:
            for name, (count, client, _) in groups.items():
                seen[name] = await stack.enter_async_context(abuse.many(count, client, port))
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
                for number in range(40):
                    answer = await client.get(f"{CASE}&product={f'p{number:05}' * 40}")
                    assert answer.status_code == 200, answer.text
                    assert len(answer.json()) == 1
                    await asyncio.sleep(0.1)
        return seen

    seen = asyncio.run(story())
    for name, (_, _, allowed) in groups.items():
        assert seen[name].statuses, name
        assert set(seen[name].statuses) <= allowed, (name, seen[name].statuses)
