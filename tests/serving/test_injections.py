"""Hostile texts in every parameter, header, body field and path of every route of a real service process.

Each is also the name of a product in the lake: asked for by such a name, the service answers with that product's row and no other.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from serving.main import create_app
from serving.openapi.shapes import CtrBody, Problem
from serving.settings import ROOT, Settings
from tests.serving.conftest import eventually
from tests.serving.lake import Lake, view

pytestmark = pytest.mark.slow

TRAP = "TRAP"
"""Stands for an address on loopback that must never be asked."""
SECRET = "SECRET"
"""Stands for the path of a file beside the lake whose content must never come back."""
NEW = "NEW"
"""Stands for the path of a file that must never be there."""

HOSTILE = {
    "always true": "' OR 1=1 --",
    "always true in double quotes": '" OR ""="',
    "another statement": "x'; DROP TABLE publications; --",
    "union": "' UNION SELECT content, 1, 1, 1 FROM read_text('SECRET') --",
    "end of a call": "')) OR true --",
    "comment": "/* */ -- #",
    "dollar quotes": "$$; SELECT 1; $$",
    "a bound name": "$row_limit",
    "a question mark": "?",
    "backslash and quote": "\\'; SELECT 1 --",
    "read_csv": "' || (SELECT * FROM read_csv('SECRET')) || '",
    "read_parquet of an address": "read_parquet('http://TRAP/x.parquet')",
    "attach": "'; ATTACH 'NEW' AS stolen; --",
    "copy": "'; COPY (SELECT 1) TO 'NEW'; --",
    "export": "'; EXPORT DATABASE 'NEW'; --",
    "install": "'; INSTALL httpfs FROM 'http://TRAP'; LOAD httpfs; --",
    "pragma": "'; PRAGMA database_list; --",
    "set": "'; SET enable_external_access = true; SET lock_configuration = false; --",
    "getenv": "' || getenv('HOME') || '",
    "glob": "' || (SELECT * FROM glob('/*')) || '",
    "a file as a table": "'SECRET'",
    "path": "../../../../../../etc/passwd",
    "path of the secret": "SECRET",
    "path escaped": "..%2f..%2f..%2fetc%2fpasswd",
    "path of another system": "..\\..\\windows\\win.ini",
    "delta log": "../_delta_log/00000000000000000000.json",
    "address": "http://TRAP/",
    "address of a cloud": "s3://bucket/key",
    "file address": "file://SECRET",
    "address without scheme": "//TRAP/x",
    "lines": "x\r\nX-Injected: yes",
    "answer split": "x\r\n\r\nHTTP/1.1 200 OK\r\nX-Injected: yes\r\n\r\n",
    "log line": 'x\n{"status": 200, "key": "admin"}',
    "NUL": "x\x00y",
    "control characters": "\x01\x1b[2J\x7f",
    "quotes of other alphabets": "ʼ OR 1=1 --＇ OR 1=1",
    "right to left": "\u202etxt.exe",
    "zero width": "p\u200b1",
    "combining": "e\u0301\u0327" * 20,
    "beyond 16 bits": "😀\U0010ffff",
    "line separators": "a\u2028b\u2029c",
    "capital that grows": "ﬃİß",
    "format": "%s%s%n%x{0.__class__}{__import__('os')}",
    "template": "{{7*7}}${7*7}<%= 7*7 %>",
    "shell": "; id; $(id) `id` | id",
    "log4j": "${jndi:ldap://TRAP/a}",
    "script": "<script>alert(1)</script>",
    "JSON": '","CTR":9,"x":"',
    "object": '{"$gt": ""}',
    "formula": "=cmd|'/c calc'!A0",
    "white space": " \t ",
    "a number that is none": "1e309",
    "negative": "-1",
    "very long": "a" * 8_000,
}

RANGE = {"startTimestamp": "2016-01-03 00:00:00", "endTimestamp": "2016-01-04 00:00:00", "aggregation": 1440}
HEADERS = ("Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Connection", "Content-Type", "Cookie")
HEADERS += ("Expect", "If-None-Match", "Origin", "Range", "Referer", "Transfer-Encoding", "User-Agent", "X-API-Key")
HEADERS += ("X-Forwarded-For", "X-Forwarded-Host", "X-Request-Id", "Upgrade")
PATHS = (
    "/v1/ctr",
    "/v1/products",
    "/v1/ctr/changes",
    "/v1/platforms",
    "/v1/status",
    "/metrics",
    "/health/live",
    "/docs",
)


class Site:
    """The service process, its files, and the trap."""

    def __init__(self, folder: Path, url: str, log: Path, trap: socket.socket) -> None:
        self.folder, self.url, self.log = folder, url, log
        self.address = "{}:{}".format(*trap.getsockname())
        self.client = httpx.Client(base_url=url, timeout=20, headers={"Accept-Encoding": "identity"})

    def text(self, name: str) -> str:
        """A hostile text with what stands in it for addresses and paths."""
        told = {TRAP: self.address, SECRET: str(self.folder / "secret.csv"), NEW: str(self.folder / "new")}
        return re.sub("|".join(told), lambda found: told[found[0]], HOSTILE[name])

    def files(self) -> dict[str, tuple[int, int]]:
        """Size and time of every file but the log and what is temporary."""
        return {
            str(file): (file.stat().st_size, file.stat().st_mtime_ns)
            for file in self.folder.rglob("*")
            if file != self.log and self.folder / "tmp" not in file.parents
        }


@pytest.fixture(scope="module")
def trapped() -> Iterator[tuple[socket.socket, list[object]]]:
    """An address on loopback, and all who asked it."""
    asked: list[object] = []
    trap = socket.create_server(("127.0.0.1", 0))

    def wait() -> None:
        while True:
            try:
                connection, who = trap.accept()
            except OSError:
                return
            asked.append(who)
            connection.close()

    threading.Thread(target=wait, daemon=True).start()
    yield trap, asked
    trap.shutdown(socket.SHUT_RDWR)
    trap.close()


def test_the_trap_notices_who_asks(trapped):
    trap, asked = trapped
    socket.create_connection(trap.getsockname()).close()
    eventually(lambda: asked)
    asked.clear()


@pytest.fixture(scope="module")
def site(tmp_path_factory, trapped) -> Iterator[Site]:
    """A service process over a lake of which each hostile text is a product; it has built its replica."""
    folder = Path(tmp_path_factory.mktemp("site"))
    log, trap = folder / "log", trapped[0]
    (folder / "tmp").mkdir()
    (folder / "secret.csv").write_text("top,secret\n")
    (folder / "conf").mkdir()
    (folder / "conf" / "ctr.toml").write_text("[serving]\n")
    waiting = Site(folder, "http://127.0.0.1", log, trap)
    names = [waiting.text(name) for name in HOSTILE]
    Lake(folder / "lake").publish([view("2016-01-03 14:00:00", name) for name in (*names, "harmless")])
    own = {"CTR_CONF": folder / "conf" / "ctr.toml", "CTR_LAKE": folder / "lake", "CTR_PORT": "0"}
    own |= {"XDG_CACHE_HOME": folder / "cache", "TMPDIR": folder / "tmp", "PYTHONPATH": ROOT}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CTR_")}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving"],
            cwd=folder,
            env={**kept, **{name: str(value) for name, value in own.items()}},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        found = eventually(lambda: re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text()), 60)
        started = Site(folder, found[1], log, trap)
        eventually(lambda: started.client.get("/health/ready").json()["replica"] == {"wanted": 3, "held": 3}, 60)
        yield started
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(autouse=True)
def untouched(site, trapped) -> Iterator[None]:
    """After each test: no file has changed, nobody was asked, nothing failed inside, and the right answers still come."""
    before = site.files()
    yield
    assert site.files() == before
    assert trapped[1] == []
    log = site.log.read_bytes().decode("utf-8")
    assert "Traceback" not in log
    assert "top,secret" not in log
    assert site.client.get("/v1/ctr", params={**RANGE, "product": "harmless"}).json() == [row("harmless")]


def row(product: str) -> dict[str, object]:
    return {"timestamp": "2016-01-03 00:00:00", "platform": "iOS", "product": product, "CTR": 0.0}


def refused(answer: httpx.Response, *statuses: int) -> Problem:
    """The problem document of an answer, which tells nothing of the inside."""
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    harmless(answer)
    return Problem.model_validate_json(answer.text)


def harmless(answer: httpx.Response) -> None:
    """No header of the client's making, no secret, no word of DuckDB's."""
    assert "x-injected" not in answer.headers
    assert "top,secret" not in answer.text
    assert not re.search(r"root:x:|Catalog Error|Parser Error|Binder Error|Traceback", answer.text)


every = pytest.mark.parametrize("name", HOSTILE)


@every
def test_a_product_of_a_hostile_name_is_found_by_it_and_nothing_else(site, name):
    text = site.text(name)
    for answer in (
        site.client.get("/v1/ctr", params={**RANGE, "product": text}),
        site.client.post("/v1/ctr", json={**RANGE, "product": text}),
        site.client.post("/v1/ctr", json={**RANGE, "product": [text], "fill": "zero", "platform": ["iOS"]}),
    ):
        assert answer.status_code == 200, answer.text
        assert answer.json() == [row(text)]
        harmless(answer)
    missing = site.client.get("/v1/ctr", params={**RANGE, "product": "no " + text})
    assert (missing.status_code, missing.json()) == (200, [])
    found = site.client.get("/v1/products", params={"search": text, "limit": 1000})
    assert found.status_code == 200
    assert text in found.json()
    assert "harmless" not in found.json()
    csv = site.client.get("/v1/ctr", params={**RANGE, "product": text, "format": "csv"})
    assert csv.status_code == 200
    assert csv.text.count("2016-01-03 00:00:00") == 1


OTHERS = [name for name in CtrBody.model_fields if name != "product"]


@every
def test_in_any_other_parameter_it_is_422_and_the_fault_names_that_parameter(site, name):
    text = site.text(name)
    for parameter in OTHERS:
        answers = [site.client.get("/v1/ctr", params={**RANGE, parameter: text})]
        answers += [
            site.client.post("/v1/ctr", json={**RANGE, parameter: value}) for value in (text, [text], {text: 1})
        ]
        for answer in answers:
            assert {fault.parameter for fault in refused(answer, 422).errors or []} == {parameter}
    for path, parameter in (("/v1/products", "limit"), ("/v1/ctr/changes", "since")):
        assert refused(site.client.get(path, params={parameter: text}), 422).errors


@every
def test_as_the_name_of_a_parameter_it_is_422(site, name):
    text = site.text(name)
    for path in ("/v1/ctr", "/v1/products", "/v1/ctr/changes", "/v1/platforms", "/v1/status"):
        assert refused(site.client.get(path, params={text: "1"}), 422).errors
    assert refused(site.client.post("/v1/ctr", json={**RANGE, text: 1}), 422).errors
    assert refused(site.client.post("/v1/ctr", params={text: "1"}, json=RANGE), 422).errors


@every
def test_as_a_body_it_is_422(site, name):
    text = site.text(name)
    for body in (text.encode(), json.dumps(text).encode(), json.dumps([text]).encode(), text.encode("utf-16")):
        for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
            refused(site.client.post("/v1/ctr", content=body, headers={"Content-Type": kind}), 422)


@every
def test_as_a_path_it_is_404(site, name):
    text = quote(site.text(name), safe="")
    for path in (f"/v1/{text}", f"/v1/ctr/{text}", f"/web/{text}", f"/docs/{text}", f"/{text}", f"/v1/ctr{text}"):
        answer = site.client.get(path)
        assert answer.status_code == 404, path
        harmless(answer)
    raw = site.text(name).encode("utf-8")
    status, head, _ = exchange(site, b"GET /web/" + re.sub(rb"[\s\x00-\x20\x7f-\xff?#]", b"", raw) + b" HTTP/1.1")
    assert status == 404
    assert b"x-injected" not in head.lower()


def exchange(site: Site, line: bytes, *headers: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and body of the answer to a request that is sent as it is."""
    port = int(site.url.rpartition(":")[2])
    sent = b"\r\n".join([line, b"Host: x", *headers, b"Connection: close", b"", b""])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, body


@every
def test_in_a_header_it_changes_nothing_or_is_refused(site, name):
    text = site.text(name).encode("utf-8")
    wanted = b"GET /v1/ctr?" + str(httpx.QueryParams({**RANGE, "product": "harmless"})).encode() + b" HTTP/1.1"
    for header in HEADERS:
        status, head, body = exchange(site, wanted, header.encode() + b": " + text)
        if status == 200:
            assert b'[{"timestamp":"2016-01-03 00:00:00"' in body
            assert body.count(b'"harmless"') == 1
        else:
            assert 400 <= status < 500, (header, head)
            assert b"application/problem+json" in head
        assert b"\r\nx-injected" not in head.lower()
        assert b"top,secret" not in body
    for path in PATHS:
        status, head, _ = exchange(site, f"GET {path} HTTP/1.1".encode(), b"X-Odd-" + text + b": 1")
        assert status < 500
        assert b"\r\nx-injected" not in head.lower()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (b"product=%FF", 422),
        (b"product=%C0%AE%C0%AE/", 422),
        (b"product=%ED%A0%80", 422),
        (b"product=%", 200),
        (b"product=%u0027", 200),
        (b"product=%2527%2520OR", 200),
        (b"product[]=x", 422),
        (b"product[$ne]=x", 422),
        (b"product=x;product=y", 200),
        (b"product=" + b"a" * 20_000, 414),
        (b"&".join(b"product=%d" % number for number in range(1001)), 422),
        (b"platform=iOS%00", 422),
        (b"timezone=../../etc/passwd", 422),
        (b"timezone=Europe/../UTC", 422),
        (b"timezone=/etc/localtime", 422),
        (b"format=json%0d%0aX-Injected:%20yes", 422),
        (b"format=../parquet", 422),
        (b"asOf=1%20OR%201=1", 422),
        (b"asOf=99999999999999999999999", 404),
        (b"aggregation=1&aggregation=2", 422),
    ],
)
def test_an_odd_query_string_is_answered_as_it_should(site, query, status):
    start = str(httpx.QueryParams(RANGE)).encode()
    found, head, body = exchange(site, b"GET /v1/ctr?" + start + b"&" + query + b" HTTP/1.1")
    assert found == status, body
    assert b"\r\nx-injected" not in head.lower()
    if status == 200:
        assert body == b"[]"
    else:
        assert Problem.model_validate_json(body).status == status


def test_a_body_above_the_limit_is_413_and_a_deep_one_422(site):
    refused(site.client.post("/v1/ctr", json={**RANGE, "product": "a" * (2 << 20)}), 413)
    refused(site.client.post("/v1/ctr", content=b'{"product":' + b"[" * 100_000), 422)
    refused(site.client.post("/v1/ctr", content=b'{"aggregation":' + b"9" * 100_000 + b"}"), 422)


def test_the_document_names_every_route_that_was_tried(site):
    tried = {*PATHS, "/health/ready"} - {"/docs"}
    assert set(create_app(Settings(lake="/nowhere")).openapi()["paths"]) == tried
