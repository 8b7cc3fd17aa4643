from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import RateLimitItemPerMinute
from limits.strategies import MovingWindowRateLimiter

import serving.access.windows
from serving.access.windows import Windows

LIMIT = RateLimitItemPerMinute(3)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(serving.access.windows, "time", clock)
    return clock


def test_a_window_moves_with_the_time_and_tells_when_its_oldest_entry_leaves(clock):
    limiter = MovingWindowRateLimiter(Windows())
    for _ in range(3):
        assert limiter.test(LIMIT, "a")
        assert limiter.hit(LIMIT, "a")
        clock.now += 20
    assert limiter.hit(LIMIT, "a"), "the first has just left"
    assert not limiter.hit(LIMIT, "a")
    assert not limiter.test(LIMIT, "a")
    assert limiter.get_window_stats(LIMIT, "a") == (1_000_000 + 20 + 60, 0)
    assert limiter.hit(LIMIT, "b"), "another has a window of its own"
    clock.now += 60
    assert limiter.get_window_stats(LIMIT, "a") == (clock.now + 60, 3)


STEPS = st.lists(st.tuples(st.floats(0, 50), st.sampled_from("ab"), st.integers(1, 2)), max_size=60)


@given(STEPS)
def test_a_key_never_has_more_than_its_limit_in_a_minute_and_is_never_refused_below_it(steps):
    clock, taken = Clock(), {"a": [], "b": []}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving.access.windows, "time", clock)
        limiter = MovingWindowRateLimiter(Windows())
        for wait, key, cost in steps:
            clock.now += wait
            inside = [one for one in taken[key] if one > clock.now - 60]
            assert limiter.get_window_stats(LIMIT, key).remaining == 3 - len(inside)
            assert limiter.test(LIMIT, key, cost=cost) == (len(inside) + cost <= 3)
            if limiter.hit(LIMIT, key, cost=cost):
                taken[key] += [clock.now] * cost
                inside += [clock.now] * cost
            else:
                assert len(inside) + cost > 3
            assert len(inside) <= 3


def test_windows_of_clients_that_went_away_are_forgotten(clock):
    windows = Windows()
    limiter = MovingWindowRateLimiter(windows)
    for number in range(1000):
        limiter.hit(LIMIT, str(number))
    clock.now += 61
    for number in range(1000):
        limiter.hit(LIMIT, f"other {number % 10}")
    assert len(windows) == 10


def test_a_request_starts_no_thread(clock):
    limiter = MovingWindowRateLimiter(Windows())
    limiter.storage.timer.join()
    for _ in range(5):
        before = threading.active_count()
        limiter.hit(LIMIT, "a")
        limiter.get_window_stats(LIMIT, "a")
        assert threading.active_count() == before
        assert not limiter.storage.timer.is_alive()
