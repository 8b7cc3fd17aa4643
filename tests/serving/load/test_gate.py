from __future__ import annotations

import asyncio
import time

import pytest

from serving.errors import Busy
from serving.load.gate import Gate


def test_a_gate_lets_so_many_in_makes_some_wait_in_turn_and_sends_others_away():
    async def story() -> list[str]:
        gate = Gate(1, 2, 2, "queries")
        order: list[str] = []

        async def visit(name: str) -> None:
            await gate.enter()
            order.append(name)
            await asyncio.sleep(0.02)
            gate.leave()

        visits = [asyncio.create_task(visit(name)) for name in "abc"]
        await asyncio.sleep(0)
        assert (gate.running, gate.waiting) == (1, 2)
        with pytest.raises(
            Busy, match=r"1 queries run already \(setting queries\), and 2 wait \(setting queue\)\."
        ) as caught:
            await gate.enter()
        assert caught.value.headers == {"Retry-After": "1"}
        await asyncio.gather(*visits)
        assert (gate.running, gate.waiting) == (0, 0)
        return order

    assert asyncio.run(story()) == ["a", "b", "c"]


def test_those_who_come_together_are_not_refused_together():
    async def story() -> list[float]:
        gate = Gate(1, 20, 2, "queries")
        await gate.enter()
        began = time.monotonic()

        async def refused() -> float:
            with pytest.raises(Busy):
                await gate.enter()
            return time.monotonic() - began

        return await asyncio.gather(*(refused() for _ in range(40)))

    seconds = asyncio.run(story())
    waited, sent_away = seconds[:20], seconds[20:]
    assert max(waited) - min(waited) > 0.2
    assert max(sent_away) - min(sent_away) > 0.2
    assert max(sent_away) < min(waited)


def test_a_wait_that_is_too_long_ends_and_one_that_is_cancelled_leaves_no_trace():
    async def story() -> None:
        gate = Gate(1, 5, 0.05, "queries")
        await gate.enter()
        with pytest.raises(
            Busy, match=r"run already \(setting queries\), and .* no turn in up to 0\.05 s \(setting queue_seconds\)\."
        ):
            await gate.enter()
        waiting = asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert (gate.running, gate.waiting) == (1, 0)
        handed = asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        gate.leave()
        handed.cancel()  # the slot was already its own
        await asyncio.gather(handed, return_exceptions=True)
        assert (gate.running, gate.waiting) == (0, 0)

    asyncio.run(story())


def test_room_is_told_to_one_at_a_time_and_by_one_who_has_gone_to_the_next():
    async def story() -> None:
        gate = Gate(1, 0, 0, "streams")
        await gate.room(0)  # there is some, and nobody took it
        await gate.enter()
        with pytest.raises(Busy):
            await gate.room(0.05)
        first, second, third = (asyncio.create_task(gate.room(60)) for _ in range(3))
        await asyncio.sleep(0)
        gate.leave()
        first.cancel()  # it was told, and cannot use it any more
        await asyncio.wait({first, second}, timeout=20)
        assert first.cancelled()
        assert second.exception() is None
        assert not third.done()
        third.cancel()
        await asyncio.wait({third})
        gate.running = 1
        gate.leave()
        assert not gate.full

    asyncio.run(story())
