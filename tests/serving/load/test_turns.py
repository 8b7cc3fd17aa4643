from __future__ import annotations

import asyncio
from functools import partial

from serving.load.turns import Turns


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_one_has_its_turn_in_each_round_of_the_event_loop_in_order():
    async def told() -> list[list[int]]:
        turns, done = Turns(), []
        seen = [done.copy()]
        for number in range(3):
            turns.take(partial(done.append, number))
        for _ in range(4):
            seen.append(done.copy())
            await rounds(1)
        return seen

    assert asyncio.run(told()) == [[], [0], [0, 1], [0, 1, 2], [0, 1, 2]]


def test_a_turn_that_nobody_had_before_is_had_at_once():
    async def told() -> list[str]:
        turns, done = Turns(), []
        for name in ("first", "second"):
            turns.take(partial(done.append, name))
            assert done[-1] == name
            await rounds(2)
        return done

    assert asyncio.run(told()) == ["first", "second"]


def test_those_who_wait_leave_rounds_to_others():
    async def told() -> int:
        turns, served = Turns(), 0

        async def refused() -> None:
            await turns.wait()

        tasks = [asyncio.create_task(refused()) for _ in range(100)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            served += 1
        return served

    assert asyncio.run(told()) >= 100


def test_one_who_does_not_wait_any_longer_holds_nobody_up():
    async def told() -> list[int]:
        turns, done = Turns(), []

        async def refused(number: int) -> None:
            await turns.wait()
            done.append(number)

        tasks = [asyncio.create_task(refused(number)) for number in range(4)]
        await rounds(1)
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return done

    assert asyncio.run(told()) == [0, 1, 3]


def test_work_that_fails_takes_no_turn_from_those_behind_it():
    async def told() -> list[int]:
        turns, done = Turns(), []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        turns.take(lambda: None)
        turns.take(lambda: 1 // 0)
        turns.take(partial(done.append, 3))
        await rounds(4)
        return done

    assert asyncio.run(told()) == [3]
