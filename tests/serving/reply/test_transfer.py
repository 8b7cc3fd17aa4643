from __future__ import annotations

import asyncio
import gzip
import re
import zlib

import httpx
import pytest
import zstandard

from serving.errors import NotAcceptable
from serving.reply.transfer import Slices, choose_coding, codings_liked
from tests.serving.conftest import eventually
from tests.serving.lake import view
from tests.serving.load.test_connections import connect, rest
from tests.serving.reply.test_answers import CASE

DAY = {"startTimestamp": "2016-01-01 00:00:00", "endTimestamp": "2016-01-02 00:00:00", "aggregation": "1440"}


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("GZIP;q=1.0, zstd;q=0.9", "gzip"),
        ("br, deflate", "identity"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0.5, identity", "identity"),
        ("*;q=0.5, zstd;q=0", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("gzip;q=0.001", "gzip"),
    ],
)
def test_the_coding_that_the_client_likes_best_is_chosen(accept, coding):
    assert choose_coding(codings_liked(accept)) == coding


@pytest.mark.parametrize("accept", ["identity;q=0", "*;q=0", "br, identity;q=0"])
def test_a_client_that_takes_no_coding_is_told_what_there_is(accept):
    with pytest.raises(NotAcceptable, match="zstd, gzip, identity"):
        choose_coding(codings_liked(accept))


@pytest.fixture
def client(lake, serve) -> httpx.Client:
    """An answer of 3,000 rows, streamed a hundred rows at a time where it is not filtered."""
    day = view("2016-01-01 00:00:00")
    lake.publish([day])
    row = {name: day[name] for name in ("date", "platform", "time")}
    lake.write("ctr_day", [{**row, "product": f"p{n:06}", "views": 1, "purchases": 0} for n in range(3_000)])
    lake.announce()
    return serve(lake, stream_rows=100)


def raw(client: httpx.Client, coding: str, method: str = "GET", **changes: str) -> tuple[httpx.Response, bytes]:
    """The response and its bytes as they came, not decoded."""
    headers = {"Accept-Encoding": coding}
    with client.stream(method, "/v1/ctr", params={**DAY, **changes}, headers=headers) as response:
        return response, b"".join(response.iter_raw())


def decoded(data: bytes, coding: str) -> bytes:
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return gzip.decompress(data) if coding == "gzip" else data


@pytest.mark.parametrize("more", [True, False])
def test_a_long_body_is_sent_in_slices_each_when_the_one_before_is_taken(more):
    sent = []

    async def send(message):
        await asyncio.sleep(0)
        sent.append(message)

    async def app(scope, receive, send):
        await send({"type": "http.response.body", "body": bytes(range(250)) * 4000, "more_body": more})

    asyncio.run(Slices(app, 10)({}, None, send))
    assert b"".join(message["body"] for message in sent) == bytes(range(250)) * 4000
    assert max(len(message["body"]) for message in sent) <= 128 << 10
    assert [message["more_body"] for message in sent] == [True] * 7 + [more]


def test_a_whole_answer_that_is_not_taken_in_time_is_cut(lake, serve, caplog):
    lake.publish([view("2016-01-03 14:00:00", f"p{number:05}" * 40) for number in range(60_000)])
    client = serve(lake, stream_rows=100_000, stream_seconds=1)
    eventually(lambda: client.get("/health/ready").status_code == 200)
    with connect(client) as slow:
        slow.sendall(f"GET /v1/ctr?{httpx.QueryParams(CASE)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = slow.recv(2048)
        eventually(lambda: slow.recv(2048) and "stream_seconds" in caplog.text)
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        assert len(rest(slow)) < length, "a client sees that it lacks the end"
    assert len(client.get("/v1/ctr", params=CASE, headers={"Accept-Encoding": "identity"}).content) == length


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("format", ["json", "ndjson", "csv"])
def test_a_stream_is_compressed_and_is_the_same_when_decoded(client, coding, format):
    plain, wanted = raw(client, "identity", format=format)
    response, data = raw(client, coding, format=format)
    assert response.headers["content-encoding"] == coding
    assert response.headers["transfer-encoding"] == "chunked"
    assert "content-encoding" not in plain.headers
    assert len(data) < len(wanted) / 3
    assert decoded(data, coding) == wanted


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_whole_answer_is_compressed_and_its_length_is_that_of_what_is_sent(client, coding):
    many = [("product", f"p{number:06}") for number in range(60)]
    with client.stream("GET", "/v1/ctr", params=[*DAY.items(), *many], headers={"Accept-Encoding": coding}) as response:
        data = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == coding
    assert response.headers["content-length"] == str(len(data))
    assert response.headers["x-row-count"] == "60"
    assert decoded(data, coding).count(b"timestamp") == 60


def test_a_short_answer_is_sent_as_it_is(client):
    response, data = raw(client, "gzip", product="p000001")
    assert "content-encoding" not in response.headers
    assert data.startswith(b"[{")
    assert response.headers["vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize("format", ["json", "parquet"])
@pytest.mark.parametrize("accept", ["gzip, identity;q=0", "gzip;q=1, *;q=0"])
def test_a_client_that_takes_no_plain_answer_gets_none(client, accept, format):
    plain, wanted = raw(client, "identity", product="p000001", format=format)
    response, data = raw(client, accept, product="p000001", format=format)
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["etag"] == plain.headers["etag"][:-1] + '-gzip"'
    assert decoded(data, "gzip") == wanted
    known = {"Accept-Encoding": accept, "If-None-Match": response.headers["etag"]}
    again = client.get("/v1/ctr", params={**DAY, "product": "p000001", "format": format}, headers=known)
    assert (again.status_code, again.content, again.headers.get("content-encoding")) == (304, b"", None)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_each_piece_of_a_compressed_stream_can_be_read_when_it_comes(client, coding):
    reader = zlib.decompressobj(31) if coding == "gzip" else zstandard.ZstdDecompressor().decompressobj()
    with client.stream("GET", "/v1/ctr", params=DAY, headers={"Accept-Encoding": coding}) as response:
        first = next(response.iter_raw())
    assert reader.decompress(first).startswith(b'[{"timestamp":"2016-01-01 00:00:00"')


@pytest.mark.parametrize("coding", ["gzip", "zstd", "identity"])
def test_a_compressed_answer_whose_source_fails_is_cut(client, failing_source, coding):
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        raw(client, coding)
    eventually(lambda: client.store.lending.current.leases == 0)


def test_each_coding_has_a_tag_of_its_own_that_saves_the_query(client):
    tags = {coding: raw(client, coding)[0].headers["etag"] for coding in ("identity", "gzip", "zstd")}
    assert len(set(tags.values())) == 3
    for coding in tags:
        for other, tag in tags.items():
            headers = {"Accept-Encoding": coding, "If-None-Match": f'"x", W/{tag}'}
            response = client.get("/v1/ctr", params=DAY, headers=headers)
            assert response.status_code == (304 if coding == other else 200)
            assert response.headers["etag"] == tags[coding]


def test_no_acceptable_coding_is_406(client):
    response, _ = raw(client, "identity;q=0")
    assert response.status_code == 406
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("changes", [{}, {"product": "p000001"}])
def test_head_has_the_headers_of_get_and_no_body(client, changes):
    got, _ = raw(client, "gzip", **changes)
    response, data = raw(client, "gzip", "HEAD", **changes)
    assert data == b""
    varying = ("date", "x-request-id", "server-timing", "transfer-encoding")
    assert {name: value for name, value in response.headers.items() if name not in varying} == {
        name: value for name, value in got.headers.items() if name not in varying
    }
    eventually(lambda: client.store.lending.current.leases == 0)


def test_head_of_a_fault_has_its_status(client):
    assert client.head("/v1/ctr").status_code == 422
    assert client.head("/nothing").status_code == 404
    assert client.head("/v1/platforms").status_code == 200
    assert client.head("/v1/ctr", params=CASE).status_code == 200
