"""Any request, over real HTTP, gets what the plain computation gives: from the replica, from Delta, while publications change."""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from tests.serving.conftest import eventually, patient
from tests.serving.lake import Lake, at
from tests.serving.wanted import Content, Wanted, wanted

pytestmark = pytest.mark.slow

REQUESTS = int(os.environ.get("TEST_REQUESTS", "200"))
CONTENTS = {number: Content.random(number) for number in (1, 2, 3)}
CLIENTS = 4
MOST_ROUNDS = 6
"""How often the clients go round, at most, until enough publications have settled."""


def source(response: httpx.Response) -> str:
    """What the answer was read with: ``replica``, ``delta``, or both."""
    return response.headers["server-timing"].partition('source;desc="')[2].partition('"')[0]


MIXED = Wanted(
    at("2016-10-15 00:00:00"), at("2016-10-15 10:00:30"), 1440, (), (), "UTC", False, None, False, False, None, "json", None, "",
    False, False,
)  # fmt: skip
"""Hours from the replica, half a minute from Delta: chance alone gives no such request in some runs of two hundred."""


def checked(request: Wanted, client: httpx.Client) -> httpx.Response:
    """The answer, which is digit for digit what the publication asked for, or else the newest of ``CONTENTS``, gives."""
    note(repr(request))
    response = request.send(client)
    version = int(response.headers["x-data-version"])
    assert version == (request.as_of or max(CONTENTS))
    request.check(response, CONTENTS[version])
    told = response.headers.get("x-source", "")
    if request.detail and response.status_code == 200:
        assert told.endswith(f" from {source(response)}")
    else:
        assert told == ""
    return response


@pytest.mark.parametrize("replica", [True, False], ids=["replica", "delta"])
def test_any_request_is_answered_as_the_plain_computation_does(lake, serve, tmp_path, replica):
    for content in CONTENTS.values():
        content.publish(lake)
    client = serve(lake, replica=replica, replica_folder=str(tmp_path / "replica"), stream_rows=100)
    if replica:
        eventually(lambda: client.store.snapshot.held == frozenset(client.store.snapshot.segments), 60)
    seen: Counter[str] = Counter()

    @settings(patient, max_examples=REQUESTS)
    @given(wanted(len(CONTENTS)))
    @example(MIXED)
    def holds(request: Wanted) -> None:
        response = checked(request, client)
        if response.status_code == 200:
            seen[source(response)] += 1
            again = request.send(client, response.headers["etag"])
            assert again.status_code == (200 if request.post else 304)
            assert again.content == (response.content if request.post else b"")

    holds()
    assert set(seen) == ({"replica", "replica+delta", "delta"} if replica else {"delta"})


@pytest.mark.parametrize("replica", ["true", "false"], ids=["replica", "delta"])
def test_any_request_is_answered_so_by_the_heavy_process_too(lake, process, replica):
    for content in CONTENTS.values():
        content.publish(lake)
    _, url, _ = process(CTR_HEAVY_ROWS="1", CTR_STREAM_ROWS="100", CTR_CACHE_BYTES="0", CTR_REPLICA=replica)
    client = httpx.Client(base_url=url, timeout=60)
    eventually(lambda: client.get("/health/ready").status_code == 200, 60)

    def answered(by: str) -> float:
        found = re.search(rf'^ctr_heavy_answers_total{{by="{by}"}} (\S+)$', client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0

    def starts() -> bool:
        MIXED.send(client)
        return answered("process") > 0

    eventually(starts, 60)
    own, others = answered("worker"), answered("process")

    @settings(patient, max_examples=REQUESTS)
    @given(wanted(len(CONTENTS)))
    def holds(request: Wanted) -> None:
        checked(request, client)

    holds()
    assert answered("worker") == own
    assert answered("process") > others + REQUESTS / 20, "those that read more than one row"
    client.close()


@contextmanager
def publishing(lake: Lake, contents: dict[int, Content], settled: Callable[[], bool]) -> Iterator[None]:
    """New publications one after another, as long as the block, each when the one before has settled.

    What is in them is noted before they can be seen.
    """
    done = threading.Event()
    failed: list[BaseException] = []

    def publish() -> None:
        try:
            while not done.is_set():
                number = lake.publication + 1
                contents[number] = Content.random(number)
                contents[number].publish(lake)
                while not done.wait(0.2) and not settled():
                    pass
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert not failed


@pytest.mark.parametrize("replica", [True, False], ids=["replica", "delta"])
def test_every_answer_is_that_of_the_publication_it_names_while_publications_change(lake, serve, tmp_path, replica):
    contents = {1: Content.random(1)}
    contents[1].publish(lake)
    client = serve(lake, replica=replica, replica_folder=str(tmp_path / "replica"), stream_rows=100)
    clients = [httpx.Client(base_url=client.base_url, timeout=60) for _ in range(CLIENTS)]
    answered: set[tuple[int, str]] = set()

    def versions(by: str) -> set[int]:
        """The publications that were answered from, among others by that reader."""
        return {version for version, reader in list(answered) if by in reader}

    def settled() -> bool:
        """Whether the reader answered from the newest: with a new one every moment no local copy would ever be whole."""
        return lake.publication in versions("replica" if replica else "delta")

    def check(client: httpx.Client, request: Wanted) -> None:
        response = request.send(client)
        version = int(response.headers["x-data-version"])
        assert version == (request.as_of or version)
        request.check(response, contents[version])
        if response.status_code == 200:
            answered.add((version, source(response)))

    @settings(patient, max_examples=max(REQUESTS // CLIENTS, 10))
    @given(st.lists(wanted(), min_size=CLIENTS, max_size=CLIENTS))
    def holds(requests: list[Wanted]) -> None:
        note(repr(requests))
        list(threads.map(check, clients, requests))

    with publishing(lake, contents, settled), ThreadPoolExecutor(CLIENTS) as threads:
        for _ in range(MOST_ROUNDS):
            holds()
            if len(versions("delta")) > 2 and (len(versions("replica")) > 1 or not replica):
                break
    for client in clients:
        client.close()
    assert len(versions("delta")) > 2
    assert len(versions("replica")) > 1 or not replica, "the local copy answered, and another one of it took over"
