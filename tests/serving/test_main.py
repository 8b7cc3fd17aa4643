from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

import serving
from serving.__main__ import listener
from serving.keys import write_keys
from serving.settings import ROOT, Settings
from tests.serving.conftest import environment, eventually
from tests.serving.lake import view
from tests.serving.load.test_connections import OLD, read

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def run(tmp_path: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving", *arguments],
        cwd=ROOT,
        env=environment(tmp_path, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_process_serves_a_lake_that_appears_after_its_start_and_ends_on_sigterm(process, lake):
    running, url, log = process()
    assert httpx.get(url + "/health/live").status_code == 200
    assert httpx.get(url + "/health/ready").status_code == 503
    assert "./spark-submit.sh daily" in log.read_text()
    lake.publish([view("2016-01-03 14:00:00")])
    eventually(lambda: httpx.get(url + "/health/ready").status_code == 200, 10)
    query = "startTimestamp=2016-01-03 13:55:00&endTimestamp=2016-01-04 13:55:00&aggregation=60"
    answer = httpx.get(f"{url}/v1/ctr?{query}")
    assert answer.text == '[{"timestamp":"2016-01-03 13:55:00","platform":"iOS","product":"p1","CTR":0.0000}]'
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) in (0, -signal.SIGTERM)
    assert "Traceback" not in log.read_text()


def test_the_service_takes_all_file_handles_and_says_at_the_start_if_they_are_too_few(process, lake):
    lake.publish([view("2016-01-03 14:00:00")])
    _, _, log = process("--workers", "2", CTR_CONNECTIONS="100000000")
    eventually(lambda: len(re.findall(r"Application startup complete", log.read_text())) == 2, 60)
    workers = {int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", log.read_text())}
    for pid in workers:
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert soft == hard
    assert "are too few for 100000000 connections (setting connections), 6 files of the local copy" in log.read_text()
    assert "LimitNOFILE" in log.read_text()


def test_several_workers_answer_share_one_replica_follow_the_lake_and_end_together(process, lake, tmp_path):
    lake.publish([view("2016-01-03 14:00:00")])
    (tmp_path / "tmp").mkdir()
    settings = {"CTR_POLL_SECONDS": "0.1", "CTR_CACHE_BYTES": "0", "TMPDIR": str(tmp_path / "tmp")}
    running, url, log = process("--workers", "2", **settings)
    eventually(lambda: len(re.findall(r"Application startup complete", log.read_text())) == 2, 60)
    pids = {int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", log.read_text())}
    assert len(pids - {running.pid}) == 2
    query = "startTimestamp=2016-01-03 13:55:00&endTimestamp=2016-01-04 13:55:00&aggregation=60"

    eventually(
        lambda: all("replica" in httpx.get(f"{url}/v1/ctr?{query}").headers["server-timing"] for _ in range(10)), 30
    )
    assert len(list((tmp_path / "cache").rglob("*.duckdb"))) == 3
    lake.publish([view("2016-01-03 14:00:00")] * 2)
    eventually(lambda: {httpx.get(f"{url}/v1/platforms").headers["x-data-version"] for _ in range(10)} == {"2"}, 20)
    (tmp_path / "conf" / "ctr.toml").write_text("a change that is not done yet")
    shutil.rmtree(next((tmp_path / "tmp").glob("ctr-workers-*")))
    assert httpx.get(f"{url}/metrics").status_code == 200
    os.kill(min(pids - {running.pid}), signal.SIGKILL)
    eventually(lambda: len(re.findall(r"Application startup complete", log.read_text())) == 3, 60)
    assert httpx.get(f"{url}/v1/ctr?{query}").status_code == 200
    eventually(lambda: "ctr_requests_total{" in httpx.get(f"{url}/metrics").text)  # as soon as it has answered one
    running.send_signal(signal.SIGTERM)
    running.wait(30)
    assert [path.name[:12] for path in (tmp_path / "tmp").rglob("*")] == ["ctr-serving-"], "of the killed one, empty"
    for pid in pids:
        assert not Path(f"/proc/{pid}").exists()
    assert "Traceback" not in log.read_text()


def test_workers_end_with_a_service_that_is_killed(process, lake):
    lake.publish([view("2016-01-03 14:00:00")])
    running, url, log = process("--workers", "2")
    eventually(lambda: len(re.findall(r"Application startup complete", log.read_text())) == 2, 60)
    pids = {int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", log.read_text())}
    running.kill()
    running.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 30)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url + "/health/live")


def children(pid: int) -> set[int]:
    """Of a process: children, and theirs."""
    found = {int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()}
    return found.union(*map(children, found))


@pytest.mark.parametrize(("workers", "number"), [(1, signal.SIGTERM), (2, signal.SIGKILL)], ids=["stopped", "killed"])
def test_every_process_ends_although_the_lake_hangs(process, lake, workers, number):
    lake.publish([view("2016-01-03 14:00:00")])
    running, url, log = process("--workers", str(workers), CTR_STOP_SECONDS="1")
    eventually(lambda: log.read_text().count("Application startup complete") == workers, 60)
    eventually(lambda: httpx.get(url + "/health/ready").status_code == 200, 30)
    eventually(lambda: log.read_text().count("serving publication 1") == workers + 1, 60)  # and the heavy process
    os.mkfifo(lake.path / "publications" / "_delta_log" / "_last_checkpoint")  # who reads it waits for ever
    time.sleep(2)
    all_of_it = {running.pid, *children(running.pid)}
    assert len(all_of_it) >= workers + 1
    began = time.monotonic()
    running.send_signal(number)
    running.wait(20)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in all_of_it), 20 - (time.monotonic() - began))
    assert "Traceback" not in log.read_text()


def test_a_look_that_fails_does_not_end_the_following_of_publications(lake, serve, monkeypatch, caplog):
    lake.publish([view("2016-01-03 14:00:00")])
    client = serve(lake)
    monkeypatch.setattr(client.store, "poll", lambda: 1 // 0)
    eventually(lambda: "a look at the lake failed; the next one follows" in caplog.text)
    monkeypatch.undo()
    lake.publish([view("2016-01-03 14:00:00")] * 2)
    eventually(lambda: client.get("/health/ready").json()["dataVersion"] == 2)


def test_connections_wait_in_a_long_queue_while_workers_that_take_one_at_a_time_are_held_up(process, lake):
    lake.publish([view("2016-01-03 14:00:00")])
    running, url, log = process("--workers", "2")
    eventually(lambda: len(re.findall(r"Application startup complete", log.read_text())) == 2, 60)
    eventually(lambda: httpx.get(url + "/health/ready").status_code == 200, 20)
    time.sleep(1)
    workers = {int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", log.read_text())} - {running.pid}
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with contextlib.ExitStack() as stack:
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            clients = [stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(100)]
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
        for client in clients:
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert all(client.recv(100).startswith(b"HTTP/1.1 200") for client in clients)


def test_connections_of_the_socket_that_workers_share_send_without_delay():
    shared = listener(uvicorn.Config("serving.main:worker_app", port=0, log_config=None))
    with shared:
        shared.listen()
        with socket.create_connection(shared.getsockname()):
            accepted, _ = shared.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


LONG = {
    "startTimestamp": "2016-01-03 13:55:00", "endTimestamp": "2016-01-04 13:55:00", "aggregation": "60", "format": "ndjson",
}  # fmt: skip


@contextlib.contextmanager
def long_answer(url: str) -> Iterator[httpx.Response]:
    """The beginning of a long answer."""
    with httpx.stream(
        "GET", f"{url}/v1/ctr", params=LONG, headers={"Accept-Encoding": "identity"}, timeout=60
    ) as answer:
        assert answer.status_code == 200
        yield answer


def relayed(url: str) -> float:
    """How many answers the process for heavy requests has begun."""
    found = re.search(r'^ctr_heavy_answers_total{by="process"} (\S+)$', httpx.get(f"{url}/metrics").text, re.M)
    return float(found[1]) if found else 0.0


def relays(url: str) -> bool:
    """Whether that process takes requests: it is there later than the service."""
    with long_answer(url):
        return relayed(url) > 0


@pytest.mark.parametrize(
    ("arguments", "settings", "number"),
    [
        ((), {}, signal.SIGHUP),
        (("--workers", "2"), {}, signal.SIGHUP),
        ((), {"CTR_HEAVY_ROWS": "1"}, signal.SIGTERM),
        (("--workers", "2"), {"CTR_HEAVY_ROWS": "1"}, signal.SIGTERM),
    ],
    ids=["one worker", "two workers", "the heavy process", "the heavy process, two workers"],
)
def test_a_stop_lets_a_running_answer_finish(process, lake, arguments, settings, number):
    lake.publish([view("2016-01-03 14:00:00", f"{number:05}" * 40) for number in range(60_000)])
    running, url, log = process(*arguments, **settings)
    workers = int(arguments[1]) if arguments else 1
    eventually(lambda: log.read_text().count("Application startup complete") == workers, 60)
    eventually(lambda: httpx.get(url + "/health/ready").status_code == 200, 30)
    if settings:
        eventually(lambda: relays(url), 120)
    before = relayed(url)
    with long_answer(url) as answer:
        pieces = answer.iter_bytes()
        text = next(pieces)
        assert relayed(url) == before + bool(settings)
        running.send_signal(number)
        time.sleep(0.5)
        assert running.poll() is None, "it waits for the answer"
        text += b"".join(pieces)
    assert text.endswith(b'{"rows":60000,"dataVersion":1}\n')
    assert running.wait(20) in (0, -signal.SIGTERM)
    assert "Traceback" not in log.read_text()


def test_a_stream_over_http_1_0_is_reset_and_not_ended_when_the_service_is_killed(process, lake):
    lake.publish([view("2016-01-03 14:00:00", f"{number:05}" * 40) for number in range(60_000)])
    running, url, _ = process(CTR_STREAM_ROWS="1000")
    eventually(lambda: httpx.get(url + "/health/ready").status_code == 200, 30)
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(OLD)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        running.kill()
        with pytest.raises(ConnectionResetError):
            read(connection)


def test_headers_above_the_limit_are_refused_and_others_are_served(process):
    _, url, _ = process(CTR_HEADER_BYTES="4k")
    assert httpx.get(url + "/health/live", headers={"X-Long": "x" * 2000}).status_code == 200
    with contextlib.suppress(httpx.TransportError):  # the connection may close before the client has sent it all
        assert httpx.get(url + "/health/live", headers={"X-Long": "x" * 2_000_000}).status_code == 431
    assert httpx.get(url + "/health/live").status_code == 200


@pytest.mark.parametrize(
    ("trusted", "codes"),
    [([], [401, 401, 429, 429]), (["127.0.0.1"], [401, 401, 401, 401]), (["10.0.0.0/8"], [401, 401, 429, 429])],
    ids=["nobody", "this one", "another"],
)
def test_guesses_are_those_of_the_address_that_connects_unless_a_trusted_proxy_names_another(
    process, tmp_path, trusted, codes
):
    write_keys(tmp_path / "keys.json", ())
    settings = {"CTR_API_KEYS_FILE": str(tmp_path / "keys.json"), "CTR_KEY_GUESSES": "2"}
    _, url, _ = process(CTR_TRUSTED_PROXIES=json.dumps(trusted), FORWARDED_ALLOW_IPS="*", **settings)

    def guess(address: str) -> int:
        headers = {"X-API-Key": "ctr_wrong", "X-Forwarded-For": address}
        return httpx.get(url + "/v1/status", headers=headers).status_code

    assert [guess(f"198.51.100.{number}") for number in range(4)] == codes
    assert [guess("198.51.100.200") for _ in range(3)][2] == 429


def test_another_address_than_loopback_is_refused_with_one_line(tmp_path):
    done = run(tmp_path, CTR_HOST="0.0.0.0")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "allow_unauthenticated = true" in done.stderr


def test_an_address_that_cannot_be_had_is_told_with_one_line_before_anything_is_started(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, CTR_PORT=str(port))
    told = (
        f"serving: cannot listen on 127.0.0.1:{port}: Address already in use; set host or port (CTR_HOST, CTR_PORT)\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", told)
    done = run(tmp_path, CTR_HOST="no.such.host.invalid", CTR_ALLOW_UNAUTHENTICATED="true", CTR_PORT="0")
    assert done.returncode == 2
    assert re.fullmatch(r"serving: cannot listen on no\.such\.host\.invalid:0: .*; set host or port .*\n", done.stderr)


def test_a_folder_of_prometheus_that_somebody_else_names_is_refused(tmp_path):
    done = run(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "gone"), CTR_PORT="0")
    assert done.returncode == 2
    assert (
        "serving: PROMETHEUS_MULTIPROC_DIR is set: the service makes such a folder by itself; unset it" in done.stderr
    )


def test_a_file_of_token_keys_that_is_none_is_told_at_the_start(tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text('{"keys": []}')
    done = run(tmp_path, CTR_JWT_JWKS=str(file), CTR_JWT_ISSUER="i", CTR_JWT_AUDIENCE="a")
    assert done.returncode == 2
    assert done.stderr == f"serving: wrong setting jwt_jwks: {file}: it has no public key with an id (kid) for RS256\n"


def test_help_lists_every_setting_and_starts_nothing(tmp_path):
    began = time.monotonic()
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for name, field in Settings.model_fields.items():
        assert f"CTR_{name.upper()} " in done.stdout
        assert field.description in done.stdout
    assert time.monotonic() - began < 30


def test_an_unknown_argument_is_wrong_usage(tmp_path):
    assert run(tmp_path, "--prot", "1").returncode == 2


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == serving.VERSION


def test_the_service_imports_neither_the_jobs_nor_pyspark():
    code = (
        "import sys, serving.main, serving.__main__;"
        "print([name for name in sys.modules if name.split('.')[0] in ('jobs', 'pyspark', 'py4j', 'pandas')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
