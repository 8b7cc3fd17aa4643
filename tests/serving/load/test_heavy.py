from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import httpx
import pytest
from starlette.responses import Response

import serving.load.heavy_process
from serving.errors import (
    PROBLEMS,
    ClientGone,
    HeavyProcessLost,
    InvalidRequest,
    LakeUnreadable,
    QueryTimeout,
    ServiceError,
)
from serving.faults import Fault
from serving.load.budget import Budget, Watchdog
from serving.load.heavy import Heavy, Task
from serving.load.heavy_process import HeavyBudget, Link
from serving.reply.encode import Stream
from serving.request.parameters import CtrRequest
from tests.serving.conftest import eventually
from tests.serving.lake import purchase, view
from tests.serving.load.test_budget import ENDLESS

REQUEST = CtrRequest(0, 3600, 60)
RANGE = {"startTimestamp": "2016-01-03 13:55:00", "endTimestamp": "2016-01-04 13:55:00", "aggregation": "60"}
HEADERS = {"etag": '"x"', "content-type": "application/json", "server-timing": "query;dur=1"}


class _Failing:
    """A store whose first look at the lake fails, and whose second ends the following."""

    def __init__(self) -> None:
        self.looks = 0

    def poll(self) -> None:
        self.looks += 1
        raise OSError("gone stale") if self.looks == 1 else SystemExit


def test_a_look_that_fails_does_not_end_the_following_of_publications(caplog):
    store = _Failing()
    with pytest.raises(SystemExit):
        serving.load.heavy_process._follow(store, 0.01)
    assert store.looks == 2
    assert caplog.text.count("a look at the lake failed") == 1


def test_tasks_are_taken_again_after_a_moment_without_a_file_handle(monkeypatch, caplog):
    full = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    came, served = [full, full, ("one", None), full, ("two", None), OSError(errno.EBADF, "closed")], []

    class Listener:
        def accept(self):
            if isinstance(next_one := came.pop(0), OSError):
                raise next_one
            return next_one

    monkeypatch.setattr(serving.load.heavy_process, "_FULL_SECONDS", 0.0)
    monkeypatch.setattr(serving.load.heavy_process, "Link", lambda connected: connected)
    monkeypatch.setattr(serving.load.heavy_process, "_serve", lambda link, *_: served.append(link))
    with pytest.raises(OSError, match="closed"):
        serving.load.heavy_process._accept(Listener(), None, None)
    eventually(lambda: sorted(served) == ["one", "two"])
    assert caplog.text.count("no heavy request can be taken now") == 2


@pytest.fixture
def watchdog():
    one = Watchdog()
    yield one
    one.close()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch, lake, open_store, watchdog):
    """Answers by a function instead of ``answer_ctr``, in the threads of a heavy process: gives what asks it."""
    lake.publish([view("2016-01-03 14:00:00")])
    store = open_store(lake)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen(8)

    def accept() -> None:
        with contextlib.suppress(OSError):
            serving.load.heavy_process._accept(listener, store, watchdog)

    threading.Thread(target=accept, daemon=True).start()

    def ask(answer, seconds: float = 20, leaves_after: float | None = None):
        async def asked():
            monkeypatch.setattr(serving.load.heavy_process, "answer_ctr", answer)
            budget = Budget(watchdog, seconds, 10)
            response = await Heavy(str(tmp_path / "socket")).answer_ctr(store, REQUEST, None, 5, budget)
            if not isinstance(response, Stream):
                return response
            pieces = []
            if leaves_after is not None:
                threading.Timer(leaves_after, budget.cancel).start()
            try:
                while (piece := await response.next()) is not None:
                    pieces.append(piece)
            except Exception as error:
                return pieces, error
            finally:
                response.close()
            return pieces, None

        return asyncio.run(asked())

    ask.store = store
    yield ask
    listener.close()


def streamed(*pieces):
    """An answer in pieces; one that is an exception is raised."""

    def chunks():
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    return lambda *_: Stream(chunks(), lambda: None, dict(HEADERS), "text/csv")


def test_a_whole_answer_comes_as_it_was_made_and_is_kept_by_the_worker(elsewhere):
    response = elsewhere(lambda *_: Response(b"[1]", headers=HEADERS))
    assert (response.status_code, response.body, response.headers["etag"]) == (200, b"[1]", '"x"')
    assert elsewhere.store.cache.get('"x"').body == b"[1]"


def test_an_answer_without_a_body_comes_without_one(elsewhere):
    response = elsewhere(lambda *_: Response(status_code=304, headers={"ETag": '"y"'}))
    assert (response.status_code, response.body) == (304, b"")
    assert elsewhere.store.cache.get('"y"') is None


def test_a_long_answer_comes_in_pieces_to_its_last_byte(elsewhere):
    made = [os.urandom(size) for size in (1, 300_000, 0, 1_000_000)]
    pieces, failure = elsewhere(streamed(*made))
    assert failure is None
    assert b"".join(pieces) == b"".join(made)
    assert max(map(len, pieces)) <= 256 << 10, "others are served in between"


def test_a_failure_in_the_middle_of_an_answer_is_told_after_what_came_before(elsewhere):
    pieces, failure = elsewhere(streamed(b"a,b", LakeUnreadable()))
    assert pieces == [b"a,b"]
    assert type(failure) is LakeUnreadable


def test_a_client_that_goes_away_while_the_next_piece_is_made_there_has_its_query_interrupted(elsewhere):
    ended: list[Exception] = []

    def answer(store, request, tag, stream_rows, budget):
        cursor = duckdb.connect().cursor()

        def chunks():
            yield b"a,b"
            try:
                cursor.execute(ENDLESS).fetchall()
            except Exception as error:
                ended.append(error)
                raise

        return Stream(budget.each(chunks(), cursor), lambda: None, dict(HEADERS), "text/csv")

    pieces, failure = elsewhere(answer, seconds=600, leaves_after=0.3)
    assert (pieces, type(failure)) == ([b"a,b"], ClientGone)
    eventually(lambda: ended)
    assert isinstance(ended[0], duckdb.InterruptException)


def test_the_task_says_all_there_is_to_know(elsewhere):
    seen = []

    def answer(store, request, tag, stream_rows, budget):
        seen.append((request, tag, stream_rows, budget.rows, budget.seconds))
        return Response(b"[]", headers=HEADERS)

    elsewhere(answer, seconds=7)
    assert seen == [(REQUEST, None, 5, 10, 7)]


def test_a_refusal_is_the_same_here_as_there(elsewhere):
    def refuse(*_):
        raise InvalidRequest([Fault("aggregation", "too_fine", "too fine", "ask for 60")])

    with pytest.raises(InvalidRequest, match="1 fault in: aggregation") as caught:
        elsewhere(refuse)
    assert caught.value.errors[0].hint == "ask for 60"


def test_a_defect_is_told_without_its_inside_and_the_log_has_it(elsewhere, caplog):
    def fail(*_):
        raise KeyError("secret")

    with pytest.raises(Exception, match="could not be answered") as caught:
        elsewhere(fail)
    assert "secret" not in caught.value.detail
    assert "KeyError" in str(caught.value.__cause__)
    assert "a heavy request failed" in caplog.text


def test_what_the_end_of_the_service_breaks_off_is_no_defect(elsewhere, caplog):
    def fail(*_):
        elsewhere.store.close()
        elsewhere.store.cursor()

    with pytest.raises(ServiceError), caplog.at_level("INFO"):
        elsewhere(fail)
    assert "broken off by the end of the service" in caplog.text
    assert "Traceback" not in caplog.text


def test_work_that_does_not_end_is_over_in_time(elsewhere):
    release = threading.Event()
    began = time.monotonic()
    with pytest.raises(QueryTimeout, match=r"after 0\.3 s \(setting query_seconds\)"):
        elsewhere(lambda *_: release.wait(20) and Response(), seconds=0.3)
    assert time.monotonic() - began < 5
    release.set()


def test_a_query_there_is_interrupted_when_its_time_is_over(elsewhere):
    ended: list[Exception] = []

    def endless(store, request, tag, stream_rows, budget):
        cursor = duckdb.connect().cursor()
        try:
            with budget.reading(cursor):
                cursor.execute(ENDLESS).fetchall()
        except Exception as error:
            ended.append(error)
            raise
        return Response()

    with pytest.raises(QueryTimeout, match=r"after 0\.3 s \(setting query_seconds\)"):
        elsewhere(endless, seconds=0.3)
    eventually(lambda: ended, 5)
    assert isinstance(ended[0], QueryTimeout | ClientGone), "by its own clock, or because the worker had hung up"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_process_that_is_gone_in_the_middle_is_told_as_that(elsewhere):
    def vanish(*_):
        raise SystemExit  # the thread ends, and with it the connection

    with pytest.raises(HeavyProcessLost):
        elsewhere(vanish)
    pieces, failure = elsewhere(streamed(b"a", OSError("the connection breaks")))
    assert pieces == [b"a"]
    assert failure is not None


def test_without_a_process_the_worker_is_told_to_answer_by_itself(elsewhere, tmp_path, watchdog):
    for address in (None, str(tmp_path / "nobody")):
        asked = Heavy(address).answer_ctr(elsewhere.store, REQUEST, None, 5, Budget(watchdog, 1, 1))
        assert asyncio.run(asked) is None


def test_a_query_whose_worker_hung_up_is_ended(watchdog):
    ours, theirs = socket.socketpair()
    budget = HeavyBudget(watchdog, Task(REQUEST, None, 5, 10, 60.0, 1), Link(theirs))
    assert not budget.over
    threading.Timer(0.3, ours.close).start()
    began = time.monotonic()
    with pytest.raises(ClientGone), budget.reading(cursor := duckdb.connect().cursor()):
        cursor.execute(ENDLESS).fetchall()
    assert time.monotonic() - began < 10
    theirs.close()


@pytest.mark.parametrize("kind", PROBLEMS, ids=lambda kind: kind.code)
def test_every_kind_of_problem_survives_the_way_between_processes(kind):
    error = kind.__new__(kind)
    error.__dict__.update(
        detail="d", errors=(Fault("a", "b", "c", "d"),), headers={"Retry-After": "5"}, members={"more": [1]}
    )
    error.__cause__ = ValueError("why")
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is kind
    assert there.__dict__ == error.__dict__
    assert str(there.__cause__) == "ValueError('why')"


def pid_of_heavy_process(parent: int) -> int | None:
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split() + threads_children(parent):
        with contextlib.suppress(OSError):
            if b"serving.load.heavy_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
    return None


def threads_children(parent: int) -> list[str]:
    """Children are listed under the thread that started them."""
    files = Path(f"/proc/{parent}/task").glob("*/children")
    return [pid for file in files for pid in file.read_text().split()]


@pytest.fixture
def both(process, lake):
    """The service with a heavy process for every request that takes a query, and one without."""
    rows = [view("2016-01-03 14:00:00", f"p{number:03}") for number in range(300)]
    lake.publish(rows[:150])
    lake.publish(rows, [purchase("2016-01-03 15:00:00", "p001")])
    few = {"CTR_HEAVY_ROWS": "1", "CTR_STREAM_ROWS": "100", "CTR_JSON_ROWS": "200"}
    with_one, without = process(**few), process(**few, CTR_HEAVY_PROCESS="false")
    for _, url, _ in (with_one, without):
        eventually(lambda url=url: httpx.get(f"{url}/health/ready").status_code == 200, 30)
    found = eventually(lambda: pid_of_heavy_process(with_one[0].pid), 30)
    eventually(lambda: is_listening(found), 120)  # it comes last, also on a busy machine
    return with_one, without, found


def is_listening(pid: int) -> bool:
    """Whether the heavy process has opened its socket: it does that last."""
    socket_of = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-2].decode()
    return Path(socket_of).exists()


@pytest.mark.parametrize("format", ["json", "ndjson", "csv", "arrow", "parquet"])
def test_answers_are_the_same_with_a_heavy_process_as_without(both, format):
    (_, url, _), (_, other, _), _ = both
    seconds = {**RANGE, "startTimestamp": "2016-01-03 13:55:01", "detail": "true", "format": format}
    requests = (
        {**seconds, "product": "p001"},
        {**seconds, "asOf": "1"},
        {**seconds},  # above json_rows, and a stream in other formats
        {**seconds, "product": "none"},
        {**seconds, "strict": "true", "fill": "zero", "product": ["p001", "p299"]},
    )
    for params in requests:
        here, there = (httpx.get(f"{address}/v1/ctr", params=params) for address in (url, other))
        assert here.status_code == there.status_code
        if here.status_code != 200:
            assert {**here.json(), "requestId": ""} == {**there.json(), "requestId": ""}
            continue
        assert here.content == there.content
        own = {name: here.headers.get(name) for name in ("etag", "x-data-version", "x-row-count", "content-type")}
        assert own == {name: there.headers.get(name) for name in own}
        again = httpx.get(f"{url}/v1/ctr", params=params, headers={"If-None-Match": here.headers["etag"]})
        assert again.status_code == 304


def test_rows_of_a_stream_that_comes_from_there_are_counted_and_logged(both):
    (_, url, log), _, _ = both
    params = {**RANGE, "startTimestamp": "2016-01-03 13:55:01", "format": "csv"}
    assert "x-row-count" not in httpx.get(f"{url}/v1/ctr", params=params).headers
    metrics = eventually(lambda: [line for line in httpx.get(f"{url}/metrics").text.splitlines() if "301.0" in line])
    assert "ctr_rows_total 301.0" in metrics
    assert '"rows": 301,' in log.read_text()
    assert 'ctr_heavy_answers_total{by="process"} 1.0' in httpx.get(f"{url}/metrics").text


def test_a_heavy_process_that_dies_is_started_again_and_meanwhile_the_worker_answers(both, tmp_path):
    (running, url, log), _, pid = both
    (tmp_path / "conf" / "ctr.toml").write_text('lake = "another"\nthat is not done yet')
    params = {**RANGE, "startTimestamp": "2016-01-03 13:55:01", "format": "csv"}
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    for number in range(5):
        assert httpx.get(f"{url}/v1/ctr", params={**params, "product": f"p{number:03}"}).status_code == 200
    again = eventually(lambda: pid_of_heavy_process(running.pid), 30)
    assert again != pid
    eventually(lambda: is_listening(again), 120)
    assert httpx.get(f"{url}/v1/ctr", params=params).status_code == 200
    assert "the heavy process ended (code -9): it is started again in 1 s" in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_heavy_process_ends_with_the_service_however_that_ends(both, number):
    (running, _, log), _, pid = both
    running.send_signal(number)
    running.wait(30)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), 15)
    assert "Traceback" not in log.read_text()


def test_the_heavy_process_comes_last(both):
    _, _, pid = both
    threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    policies = {
        Path(f"/proc/{pid}/task/{thread}/comm").read_text(): os.sched_getscheduler(thread) for thread in threads
    }
    policies.pop("jemalloc_bg_thd\n", None)  # of an import, does next to nothing
    assert os.sched_getscheduler(pid) == os.SCHED_IDLE
    assert policies == dict.fromkeys(policies, os.SCHED_IDLE)
    assert os.getsid(pid) == pid


def group(pid: int) -> str:
    """The group of processes that one is in, and its niceness."""
    return Path(f"/proc/{pid}/autogroup").read_text()


groups = pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="the system makes no group of each session"
)


@groups
def test_the_group_of_the_heavy_process_yields_and_no_other(both):
    (running, _, _), _, pid = both
    assert group(pid).endswith(" nice 19\n")
    assert group(pid) != group(running.pid)
    # Nothing, where no process above this one has led a session since the system started: such processes are of the system's group.
    assert group(running.pid) == Path("/proc/self/autogroup").read_text()


@groups
def test_the_group_insists_while_others_keep_every_core_busy_and_yields_again_when_they_are_gone(both):
    (_, url, _), _, pid = both
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            httpx.get(f"{url}/v1/ctr", params={**RANGE, "startTimestamp": "2016-01-03 13:55:01"}, timeout=60)

    asking = threading.Thread(target=ask)
    loop = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(loop, start_new_session=True) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        asking.start()
        eventually(lambda: group(pid).endswith(" nice 10\n"), 60)
    finally:
        done.set()
        for one in busy:
            one.kill()
            one.wait()
        asking.join()
    eventually(lambda: group(pid).endswith(" nice 19\n"), 60)
