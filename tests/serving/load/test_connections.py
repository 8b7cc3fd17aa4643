from __future__ import annotations

import asyncio
import logging
import re
import socket
import time

import pytest

from serving.load.turns import Turns
from serving.main import create_app
from serving.settings import Settings
from tests.serving.conftest import eventually, running
from tests.serving.lake import view
from tests.serving.reply.test_answers import CASE

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def connect(client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)


OLD = b"GET /v1/ctr?startTimestamp=2016-01-03T13:55&endTimestamp=2016-01-04T13:55&aggregation=60&format=csv HTTP/1.0\r\n\r\n"
"""A request over HTTP/1.0, where a stream ends with its connection."""


def rest(connection: socket.socket) -> bytes:
    """All that the server still sends, until it closes."""
    text = b""
    try:
        while piece := connection.recv(65536):
            text += piece
    except ConnectionResetError:
        pass
    return text


def read(connection: socket.socket) -> bytes:
    """All that the server still sends, until it ends the connection; a reset is an error."""
    text = b""
    while piece := connection.recv(65536):
        text += piece
    return text


def ask(connection: socket.socket, request: bytes = REQUEST) -> bytes:
    """A whole answer of ``/health/live``."""
    connection.sendall(request)
    text = b""
    while not text.endswith(b"}"):
        piece = connection.recv(65536)
        assert piece, text
        text += piece
    return text


def test_a_head_that_does_not_end_is_408_however_slowly_it_goes_on(lake, serve):
    with connect(serve(lake, request_seconds=0.4)) as connection:
        for byte in REQUEST[:8]:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"application/problem+json" in answer
    assert b"0.4 s (setting request_seconds)" in answer


def test_a_connection_that_says_nothing_is_closed(lake, serve):
    with connect(serve(lake, request_seconds=0.2)) as connection:
        assert rest(connection) == b""


def test_a_second_head_that_does_not_end_is_408_too(lake, serve):
    with connect(serve(lake, request_seconds=0.4)) as connection:
        assert ask(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /")
        assert rest(connection).startswith(b"HTTP/1.1 408")


def test_a_head_that_ends_while_its_refusal_waits_for_its_turn_is_answered(lake, serve, monkeypatch):
    client = serve(lake, request_seconds=0.4)
    monkeypatch.setattr(Turns, "take", lambda _, work: asyncio.get_running_loop().call_later(1, work))
    with connect(client) as connection:
        connection.sendall(REQUEST[:8])
        time.sleep(0.8)
        assert ask(connection, REQUEST[8:]).startswith(b"HTTP/1.1 200")
        time.sleep(0.8)  # its turn has come
        assert ask(connection).startswith(b"HTTP/1.1 200")


def test_a_connection_is_used_again_and_again_within_the_limit(lake, serve):
    with connect(serve(lake, request_seconds=0.4)) as connection:
        for _ in range(5):
            time.sleep(0.15)
            assert ask(connection).startswith(b"HTTP/1.1 200")


def test_a_body_that_does_not_end_is_408(lake, serve):
    with connect(serve(lake, request_seconds=0.4)) as connection:
        connection.sendall(b"POST /v1/ctr HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_too_slow" in answer


def test_a_client_that_goes_away_before_the_end_of_its_body_is_no_error_of_the_service(lake, serve, caplog):
    lake.publish([view("2016-01-03 14:00:00")])
    client = serve(lake)
    with connect(client) as connection:
        connection.sendall(b"POST /v1/ctr HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        eventually(lambda: "ctr_requests_in_flight 2.0" in client.get("/metrics").text)
    eventually(lambda: 'ctr_requests_total{route="/v1/ctr",status="499"} 1.0' in client.get("/metrics").text)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("text", [b"\x16\x03\x01 hello\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nA B: c\r\n\r\n"])
def test_what_is_no_http_is_400_as_a_problem_document(lake, serve, text):
    with connect(serve(lake)) as connection:
        connection.sendall(text)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"code": "malformed_request"' in answer


def test_the_longest_silent_connection_makes_room_for_another(lake, serve):
    client = serve(lake, connections=3)
    silent = []
    for _ in range(3):
        silent.append(connect(client))
        time.sleep(0.05)
    with connect(client) as late:
        assert ask(late).startswith(b"HTTP/1.1 200")
    assert rest(silent[0]) == b""
    for one in silent[1:]:
        assert ask(one).startswith(b"HTTP/1.1 200")
    for one in silent:
        one.close()


def test_a_request_whose_body_does_not_come_makes_room_for_another(lake, serve):
    client = serve(lake, connections=3)
    unfinished = []
    for _ in range(3):
        unfinished.append(connect(client))
        unfinished[-1].sendall(b"POST /v1/ctr HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{")
        time.sleep(0.05)
    with connect(client) as late:
        assert ask(late).startswith(b"HTTP/1.1 200")
    assert rest(unfinished[0]) == b""
    for one in unfinished[1:]:
        one.sendall(b"}")
        assert one.recv(65536).startswith(b"HTTP/1.1 422")
    for one in unfinished:
        one.close()


def test_a_client_that_does_not_take_its_answer_makes_room_for_another(lake, serve):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:05}" * 40) for number in range(60_000)])
    client = serve(lake, connections=2, stream_rows=100_000)
    with connect(client) as slow, connect(client) as silent:
        slow.sendall(OLD)
        assert slow.recv(4096).startswith(b"HTTP/1.1 200")
        time.sleep(0.1)
        assert ask(silent).startswith(b"HTTP/1.1 200")
        with connect(client) as late:
            assert ask(late).startswith(b"HTTP/1.1 200")
        with pytest.raises(ConnectionResetError):
            read(slow)
        assert ask(silent).startswith(b"HTTP/1.1 200")


def test_others_are_served_beside_many_silent_and_slow_connections(lake, serve):
    lake.publish([view("2016-01-03 14:00:00")])
    client = serve(lake, connections=50)
    others = [connect(client) for _ in range(80)]
    for one in others[::2]:
        try:
            one.sendall(b"GET /v1")
        except OSError:
            continue  # it made room
    for _ in range(20):
        assert client.get("/v1/ctr", params=CASE).status_code == 200
    for one in others:
        one.close()


def test_a_client_that_does_not_read_is_cut_off_and_its_publication_given_back(lake, serve, caplog):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:06}" * 20) for number in range(60_000)])
    client = serve(lake, stream_rows=1000, stall_seconds=0.5)
    with connect(client) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        query = "startTimestamp=2016-01-03T13:55&endTimestamp=2016-01-04T13:55&aggregation=60"
        connection.sendall(f"GET /v1/ctr?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        eventually(lambda: client.store.lending.current.leases == 1)
        eventually(lambda: client.store.lending.current.leases == 0)
    assert "stall_seconds" in caplog.text
    assert client.get("/v1/ctr", params={**CASE, "product": "x"}).status_code == 200


def test_a_whole_answer_over_http_1_0_ends_with_its_connection(lake, serve):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:06}" * 20) for number in range(5000)])
    with connect(serve(lake, stream_rows=1000)) as connection:
        connection.sendall(OLD)
        head, _, body = read(connection).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body.count(b"\r\n") == 1 + 5000


def test_the_end_of_an_answer_over_http_1_0_that_is_not_taken_is_reset_too(lake, serve, caplog):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:06}" * 20) for number in range(40_000)])
    with connect(serve(lake, stall_seconds=0.3, stream_rows=100_000)) as connection:
        connection.sendall(OLD)
        eventually(lambda: "stall_seconds" in caplog.text)
        with pytest.raises(ConnectionResetError):
            read(connection)


@pytest.mark.parametrize("size", [100_000, 2_000_000])
def test_headers_above_the_limit_are_431_and_others_are_served(lake, serve, size):
    client = serve(lake)
    with connect(client) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * size)
        answer = read(connection)
    assert answer.startswith(b"HTTP/1.1 431")
    found = re.search(rb"have (\d+) bytes or more together; the limit is 65536 \(setting header_bytes\)", answer)
    assert 65536 < int(found[1]) <= size + 100
    assert b"POST /v1/ctr" in answer
    assert client.get("/health/live").status_code == 200


@pytest.mark.parametrize("piece", [100_000, 5000], ids=["in one piece", "in several"])
@pytest.mark.parametrize("before", [b"", REQUEST], ids=["first", "second"])
def test_a_whole_head_at_the_limit_is_answered_and_one_byte_more_is_431(lake, serve, piece, before):
    client = serve(lake)
    for more, status in ((0, b"200"), (1, b"431")):
        head = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: "
        head += b"x" * (65536 - len(head) - 4 + more) + b"\r\n\r\n"
        with connect(client) as connection:
            if before:
                assert ask(connection, before).startswith(b"HTTP/1.1 200")
            for start in range(0, len(head), piece):
                connection.sendall(head[start : start + piece])
                time.sleep(0.005)
            answer = rest(connection)
        assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"have 65537 bytes or more together; the limit is 65536 (setting header_bytes)" in answer


def test_a_head_is_measured_without_its_body_and_what_follows(lake, serve):
    body = b"x" * 80_000
    with connect(serve(lake)) as connection:
        connection.sendall(b"POST /v1/ctr HTTP/1.1\r\nHost: x\r\nContent-Length: 80000\r\n\r\n" + body + REQUEST)
        text = b""
        while not text.endswith(b'{"status":"live"}'):
            piece = connection.recv(65536)
            assert piece, text
            text += piece
    assert text.startswith(b"HTTP/1.1 422")


def test_a_head_that_is_too_long_is_not_seen_by_the_application(lake, serve):
    client = serve(lake)
    with connect(client) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 80_000 + b"\r\n\r\n")
        assert b'"code": "head_too_large"' in rest(connection)
    metrics = client.get("/metrics").text
    assert 'ctr_refusals_total{code="head_too_large"} 1.0' in metrics
    assert 'route="/health/live"' not in metrics


def test_a_client_that_reads_slowly_but_steadily_is_not_cut_off(lake, serve, caplog):
    lake.publish([view("2016-01-03 14:00:00", f"{number:05}" * 40) for number in range(30_000)])
    client = serve(lake, stream_rows=20_000, stall_seconds=0.3)
    eventually(lambda: client.get("/health/ready").status_code == 200)
    query = "startTimestamp=2016-01-03T13:55&endTimestamp=2016-01-04T13:55&aggregation=60&format=csv"
    target = f"/v1/ctr?{query}".encode()
    with connect(client) as connection:
        connection.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b""
        while piece := connection.recv(250_000):
            text += piece
            time.sleep(0.05)
    assert text.endswith(b"0\r\n\r\n"), "the final chunk"
    assert "stall_seconds" not in caplog.text


def test_garbage_after_the_last_answer_of_a_connection_closes_it_without_a_traceback(lake, serve, caplog):
    with connect(serve(lake)) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"zzz\r\n")
        rest(connection)
    assert "Traceback" not in caplog.text
    assert "LocalProtocolError" not in caplog.text


def flood(connection: socket.socket, size: int) -> None:
    """Send so many bytes piece by piece, as a client does that looks for an answer only when it has sent all."""
    for _ in range(size // 100_000):
        time.sleep(0.01)
        connection.sendall(b"x" * 100_000)


LONG_BODY = b"Host: x\r\nContent-Length: 2000000\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nX-Long: ", b"431"),
        (b"garbage\r\n\r\n", b"400"),
        (b"POST /v1/ctr HTTP/1.1\r\nConnection: close\r\n" + LONG_BODY + b"\r\n", b"413"),
        (b"POST /v1/ctr HTTP/1.0\r\n" + LONG_BODY + b"\r\n", b"413"),
        (b"POST /v1/none HTTP/1.1\r\nConnection: close\r\n" + LONG_BODY + b"\r\n", b"404"),
        (b"GET /health/live HTTP/1.0\r\n" + LONG_BODY + b"\r\n", b"200"),
    ],
)
def test_the_last_answer_of_a_connection_reaches_a_client_that_is_still_sending(lake, serve, head, status):
    with connect(serve(lake)) as connection:
        connection.sendall(head)
        flood(connection, 2_000_000)
        answer = read(connection)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.endswith(b"}")


@pytest.mark.parametrize(("limit", "value"), [("_LINGER_SECONDS", 0.3), ("_LINGER_BYTES", 1_000_000)])
def test_a_client_that_goes_on_and_on_after_its_last_answer_is_cut_off(lake, serve, monkeypatch, limit, value):
    monkeypatch.setattr(f"serving.load.connections.{limit}", value)
    with connect(serve(lake)) as connection:
        connection.sendall(b"garbage\r\n\r\n")
        with pytest.raises(ConnectionError):
            flood(connection, 20_000_000)  # by the other limit these two seconds and 20 MB would


def test_whoever_still_sends_after_the_last_answer_makes_room_for_others(lake, serve):
    client = serve(lake, connections=2)
    first, second = connect(client), connect(client)
    for lingering in (first, second):
        lingering.sendall(b"garbage\r\n\r\n")
        assert read(lingering).startswith(b"HTTP/1.1 400")
    with connect(client) as other:
        assert ask(other).startswith(b"HTTP/1.1 200")
    with pytest.raises(ConnectionError):
        flood(first, 300_000)
    flood(second, 300_000)
    second.close()


def test_a_stop_does_not_wait_for_those_who_still_send_after_the_last_answer(lake, monkeypatch):
    monkeypatch.setattr("serving.load.connections._LINGER_SECONDS", 60)
    with running(create_app(Settings(lake=str(lake.path), replica=False))) as client:
        connection = connect(client)
        connection.sendall(b"garbage\r\n\r\n")
        assert read(connection).startswith(b"HTTP/1.1 400")
        began = time.monotonic()
    assert time.monotonic() - began < 4
    connection.close()


@pytest.mark.parametrize("method", [b"POST /v1/ctr", b"GET /health/live"])
def test_a_body_of_two_lengths_is_400_and_nothing_after_it_is_answered(lake, serve, method):
    with connect(serve(lake)) as connection:
        lengths = b"Content-Length: 6\r\ntransfer-Encoding: chunked\r\n"
        connection.sendall(method + b" HTTP/1.1\r\nHost: x\r\n" + lengths + b"\r\n0\r\n\r\n" + REQUEST)
        answer = read(connection)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"live" not in answer


def test_one_length_and_the_name_of_the_other_elsewhere_is_a_request(lake, serve):
    with connect(serve(lake)) as connection:
        lengths = b"Content-Length: 0\r\nX-Name: Transfer-Encoding\r\n"
        assert ask(connection, REQUEST[:-2] + lengths + b"\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("pause", [0, 0.2])
def test_an_empty_line_before_a_request_is_passed_over(lake, serve, pause):
    with connect(serve(lake)) as connection:
        connection.sendall(b"\r\nPOST /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx\r\n")
        time.sleep(pause)
        connection.sendall(REQUEST[:-2] + b"Connection: close\r\n\r\n")
        assert re.findall(rb"HTTP/1.1 (\d+)", read(connection)) == [b"405", b"200"]


@pytest.mark.parametrize("pause", [0, 0.2], ids=["at once", "while the body is waited for"])
def test_a_body_whose_chunks_are_none_is_400(lake, serve, caplog, pause):
    client = serve(lake)
    with connect(client) as connection:
        connection.sendall(b"POST /v1/ctr HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
        time.sleep(pause)
        connection.sendall(b"zzz\r\n")
        answer = read(connection)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") == 2, "the second is in its text"
    assert b'"code": "malformed_request"' in answer
    eventually(lambda: 'ctr_requests_total{route="/v1/ctr",status="499"} 1.0' in client.get("/metrics").text)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
def test_who_asks_for_another_protocol_is_answered_in_this_one_without_a_warning(lake, serve, caplog, protocol):
    lake.publish([view("2016-01-03 14:00:00")])
    with connect(serve(lake)) as connection:
        upgrade = b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\nSec-WebSocket-Version: 13\r\n"
        for _ in range(2):
            assert ask(connection, REQUEST[:-2] + upgrade + b"\r\n").startswith(b"HTTP/1.1 200")
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
