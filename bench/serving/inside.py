"""Requests answered in the process, without HTTP: the service with its replica, on Delta alone, DuckDB's Delta reader, PostgreSQL.

Before any is measured, each has to give the same bytes as the others.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psycopg

from bench.document import ratio, table, verdict
from bench.errors import BenchError
from bench.serving import postgres, scan
from bench.serving.lake import Size
from bench.serving.requests import BY_DAY, BY_HOUR, CASE, WITHOUT_FILTERS, kinds
from bench.setting import say
from serving.reply.answers import answer_at_once, answer_ctr
from serving.reply.encode import Stream
from serving.request.parameters import CtrRequest
from serving.settings import Settings
from serving.state.store import Store

Answer = Callable[[CtrRequest], list[bytes]]
"""Answers a request in the pieces that would be sent."""

_JSON_ROWS = Settings.model_fields["json_rows"].default
_STREAM_ROWS = Settings.model_fields["stream_rows"].default

_CONTESTANTS = (
    "Delta: the service without its replica, which reads the Parquet files that the log of the table names. DuckDB `delta_scan`: "
    "DuckDB's own Delta reader and one statement a request, over tables that are attached once; `delta_scan` anew in each "
    "statement is slower. Each is measured warm, after as many requests of the kind that are not counted, and nothing is kept of "
    "an answer."
)
_SEED = 5
_MOST_MS = {BY_HOUR: 1.0, CASE: 5.0, BY_DAY: 2.0}
_LEAST_TIMES = 5.0
_MOST_GROWTH = 1.3


def beside_peers(size: Size, lake: Path, replica: Path, address: str, count: int) -> str:
    """A table: so many distinct requests of each kind, from each contestant, after as many others; then what was wanted.

    Raises:
        BenchError: two contestants differ.
    """
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(address, autocommit=True, prepare_threshold=1))
        attached = stack.enter_context(scan.attached(lake))
        contestants: dict[str, Answer] = {
            "replica": _answers(opened(stack, lake, replica)),
            "Delta": _answers(opened(stack, lake, None)),
            "DuckDB `delta_scan`": lambda request: [scan.answer(attached, request)],
            "PostgreSQL": lambda request: [postgres.answer(connection, request)],
        }
        rows, verdicts = [], ""
        for kind, make in kinds(size).items():
            times = _measured(kind, contestants, drawn(make, _rounds(kind, count)))
            middle = {name: median(found) for name, found in times.items()}
            cells = [f"{median(found):.2f}, {_p99(found):.2f}" for found in times.values()]
            rows.append([kind, *cells, ratio(middle["PostgreSQL"], middle["replica"])])
            say(" | ".join(rows[-1]))
            if kind in _MOST_MS:
                verdicts += verdict(f"{kind}, p50, ms", middle["replica"], most=_MOST_MS[kind])
            if kind == WITHOUT_FILTERS:
                times_as_fast = middle["PostgreSQL"] / middle["replica"]
                verdicts += verdict(f"{kind}, times as fast as PostgreSQL", times_as_fast, least=_LEAST_TIMES)
    return f"{_CONTESTANTS}\n\n{table(['request', *contestants, 'times as fast as PostgreSQL'], rows)}\n{verdicts}"


def growth(small: Size, large: Size, lakes: tuple[Path, Path], replicas: tuple[Path, Path], count: int) -> str:
    """A table: the same requests for the newest days, warm, beside a short and a long history; then what was wanted.

    Raises:
        BenchError: the answers differ.
    """
    rows, verdicts = [], ""
    with contextlib.ExitStack() as stack:
        names = [f"{size.days} days" for size in (small, large)]
        stores = [opened(stack, lake, replica) for lake, replica in zip(lakes, replicas, strict=True)]
        contestants = {name: _answers(store) for name, store in zip(names, stores, strict=True)}
        for kind, make in kinds(small).items():
            times = _measured(kind, contestants, drawn(make, _rounds(kind, count)))
            middle = [median(times[name]) for name in names]
            rows.append([kind, *(f"{value:.2f}" for value in middle), ratio(middle[1], middle[0])])
            say(" | ".join(rows[-1]))
            verdicts += verdict(f"{kind}, {names[1]} / {names[0]}", middle[1] / middle[0], most=_MOST_GROWTH)
    return f"{table(['request, p50 in milliseconds', *names, 'ratio'], rows)}\n{verdicts}"


def drawn(make: Callable[[random.Random], CtrRequest], count: int) -> list[CtrRequest]:
    """So many requests of a kind, the same with every call."""
    chance = random.Random(_SEED)
    return [make(chance) for _ in range(count)]


def _rounds(kind: str, count: int) -> int:
    """How many requests are drawn of a kind: those that are measured, and as many others before."""
    return 2 * (count if kind != WITHOUT_FILTERS else max(2, count // 100))


def _measured(kind: str, contestants: dict[str, Answer], requests: list[CtrRequest]) -> dict[str, list[float]]:
    """Milliseconds of each request of the second half by contestant; the first half is for warming up.

    One contestant after another: taking turns, each found cold what it uses.
    """
    for request in requests[:2]:
        answers = {name: b"".join(answer(request)) for name, answer in contestants.items()}
        if len(set(answers.values())) != 1:
            raise BenchError(f"{kind}: the answers differ: { {name: len(text) for name, text in answers.items()} }")
    half = len(requests) // 2
    return {name: _timed(answer, requests)[half:] for name, answer in contestants.items()}


def _timed(answer: Answer, requests: list[CtrRequest]) -> list[float]:
    times = []
    for request in requests:
        began = time.perf_counter()
        answer(request)
        times.append((time.perf_counter() - began) * 1000)
    return times


def _answers(store: Store) -> Answer:
    def answer(request: CtrRequest) -> list[bytes]:
        # As the service does: what takes less than handing it to a thread is answered at once.
        response = answer_at_once(store, request, None, _JSON_ROWS)
        response = response or answer_ctr(store, request, None, _STREAM_ROWS)
        if not isinstance(response, Stream):
            return [bytes(response.body)]
        try:
            return list(response.chunks)
        finally:
            response.close()

    return answer


def opened(stack: contextlib.ExitStack, lake: Path, replica: Path | None) -> Store:
    """A store without a cache of answers, as every request is to be worked out."""
    settings = {"replica": False} if replica is None else {"replica_folder": str(replica)}
    store = Store(Settings.model_validate({"lake": str(lake), "cache_bytes": 0, **settings}))
    stack.callback(store.close)
    store.poll()
    return store


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]
