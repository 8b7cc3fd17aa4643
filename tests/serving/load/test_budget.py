from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import duckdb
import pytest

from serving.errors import ClientGone, QueryTimeout
from serving.load.budget import Budget, Watchdog

ENDLESS = "SELECT count(*) FROM range(1_000_000_000) a, range(1_000_000_000) b WHERE a.range * b.range = 7"


@pytest.fixture
def watchdog():
    one = Watchdog()
    yield one
    one.close()


def test_a_budget_is_over_at_its_time_to_the_second_and_each_piece_of_a_stream_has_all_of_it(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("serving.load.budget.monotonic", lambda: clock.now)
    budget = Budget(None, 3, 1)

    def over_at(now: float) -> bool:
        clock.now = now
        return budget.over

    assert [over_at(1002.9), over_at(1003.0)] == [False, True]
    assert next(budget.each(iter([b"a", b"b"]), duckdb.connect())) == b"a"
    assert [over_at(1005.9), over_at(1006.0)] == [False, True]


def test_a_query_is_ended_when_its_time_is_over_and_the_cursor_can_be_used_again(watchdog):
    cursor = duckdb.connect().cursor()
    budget = Budget(watchdog, 0.2, 1)
    with pytest.raises(QueryTimeout, match=r"after 0\.2 s \(setting query_seconds\)"), budget.reading(cursor):
        cursor.execute(ENDLESS).fetchall()
    assert cursor.execute("SELECT 1").fetchall() == [(1,)]


def test_a_query_is_ended_when_it_is_cancelled(watchdog):
    cursor = duckdb.connect().cursor()
    budget = Budget(watchdog, 600, 1)
    threading.Timer(0.1, budget.cancel).start()
    with pytest.raises(ClientGone), budget.reading(cursor):
        cursor.execute(ENDLESS).fetchall()


def test_an_interrupt_that_comes_before_the_query_is_not_lost(watchdog):
    cursor = duckdb.connect().cursor()
    budget = Budget(watchdog, 600, 1)

    def read_late() -> None:
        with budget.reading(cursor):
            time.sleep(0.2)
            cursor.execute(ENDLESS).fetchall()

    budget.cancel()
    with pytest.raises(ClientGone):
        read_late()


def test_another_error_stays_what_it_is(watchdog):
    cursor = duckdb.connect().cursor()
    with pytest.raises(duckdb.ParserException), Budget(watchdog, 600, 1).reading(cursor):
        cursor.execute("SELEKT")
