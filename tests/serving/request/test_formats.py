from __future__ import annotations

import csv
import io
import json

import pytest

from serving.errors import NotAcceptable
from serving.request.formats import FORMATS, negotiate
from tests.serving.lake import purchase, view
from tests.serving.reply.test_answers import BODY, CASE

ODD = ['quo"te', "comma,", "new\nline", "\r", "é", "=1+1", " space ", "plain"]


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),
        ("text/csv", "csv"),
        ("TEXT/CSV; Charset=UTF-8", "csv"),
        ("text/*", "csv"),
        ("application/x-ndjson", "ndjson"),
        ("application/jsonl", "ndjson"),
        ("text/csv;q=0.5, application/x-ndjson;q=0.6", "ndjson"),
        ("text/csv, application/json;q=0.9", "csv"),
        ("text/csv, application/json", "json"),
        ("*/*, application/json;q=0", "ndjson"),
        ("application/json;q=0, application/x-ndjson;q=0, */*;q=0.001", "csv"),
        ("application/*;q=0.1, text/csv;q=0.01", "json"),
        ("text/csv;q=high", "json"),
    ],
)
def test_the_format_that_the_client_likes_best_is_chosen(accept, name):
    assert negotiate(accept).name == name


@pytest.mark.parametrize("accept", ["application/xml", "text/html, image/*", "application/json;q=0", "*/*;q=0"])
def test_a_client_that_takes_none_is_told_what_there_is(accept):
    with pytest.raises(NotAcceptable) as caught:
        negotiate(accept)
    assert all(format.media_type in caught.value.detail for format in FORMATS.values())


@pytest.fixture
def client(lake, serve):
    lake.publish(
        [view("2016-01-03 14:00:00", name) for name in ODD],
        [purchase("2016-01-03 14:00:00", "plain"), purchase("2016-01-03 17:00:00", "plain")],
    )
    return serve(lake)


def test_a_format_by_name_goes_before_accept(client):
    response = client.get("/v1/ctr", params={**CASE, "format": "csv"}, headers={"Accept": "application/json"})
    assert response.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert response.headers["content-disposition"] == 'attachment; filename="ctr.csv"'
    assert response.headers["x-row-count"] == str(len(ODD) + 1)


@pytest.mark.parametrize("name", FORMATS)
def test_get_by_name_by_accept_and_post_give_the_same_bytes(client, name):
    by_name = client.get("/v1/ctr", params={**CASE, "format": name})
    by_accept = client.get("/v1/ctr", params=CASE, headers={"Accept": FORMATS[name].media_type})
    by_body = client.post("/v1/ctr", json={**BODY, "format": name})
    posted = client.post("/v1/ctr", json=BODY, headers={"Accept": FORMATS[name].media_type})
    assert by_name.content == by_accept.content == by_body.content == posted.content
    for response in (by_name, by_accept, by_body, posted):
        assert response.headers["content-type"] == FORMATS[name].content_type
        assert response.headers["vary"] == "Accept, Accept-Encoding"


def test_each_format_has_a_tag_of_its_own(client):
    tags = {client.get("/v1/ctr", params={**CASE, "format": name}).headers["etag"] for name in FORMATS}
    assert len(tags) == len(FORMATS)
    for tag in tags:
        answers = [
            client.get("/v1/ctr", params={**CASE, "format": name}, headers={"If-None-Match": tag}) for name in FORMATS
        ]
        assert sorted(response.status_code for response in answers) == [200] * (len(FORMATS) - 1) + [304]


def test_no_acceptable_format_is_406(client):
    response = client.get("/v1/ctr", params=CASE, headers={"Accept": "application/xml"})
    assert response.status_code == 406
    assert response.json()["code"] == "not_acceptable"
    assert "text/csv" in response.json()["detail"]


def test_csv_holds_every_product_unharmed_in_lines_that_end_with_cr_lf(client):
    response = client.get("/v1/ctr", params={**CASE, "format": "csv", "detail": "true"})
    assert response.text.startswith("timestamp,platform,product,CTR,views,purchases,bucketEnd,status\r\n")
    assert response.text.endswith("2016-01-03 16:55:00,iOS,plain,,0,1,2016-01-03 17:55:00,provisional\r\n")
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert [row["product"] for row in rows] == [*sorted(ODD, key=str.encode), "plain"]
    assert {row["CTR"] for row in rows} == {"0.0000", "1.0000", ""}


def test_ndjson_holds_the_rows_of_json_and_a_last_line_that_counts_them(client):
    *lines, last = client.get("/v1/ctr", params={**CASE, "format": "ndjson"}).text.splitlines()
    assert [json.loads(line) for line in lines] == client.get("/v1/ctr", params=CASE).json()
    assert json.loads(last) == {"rows": len(lines), "dataVersion": 1}


def test_an_empty_answer_is_whole_in_each_format(client):
    empty = {**CASE, "product": "nothing"}
    assert client.get("/v1/ctr", params={**empty, "format": "csv"}).text == "timestamp,platform,product,CTR\r\n"
    assert client.get("/v1/ctr", params={**empty, "format": "ndjson"}).text == '{"rows":0,"dataVersion":1}\n'
