from __future__ import annotations

import hashlib
import re

import pytest

from serving.explorer import CONTENT_SECURITY_POLICY, WEB
from serving.settings import ROOT
from tests.serving.lake import view

FILES = sorted(path for path in WEB.rglob("*") if path.suffix in (".html", ".js", ".css", ".svg"))


def address(path):
    return "/" if path.name == "index.html" else f"/web/{path.relative_to(WEB).as_posix()}"


@pytest.fixture
def client(lake, serve):
    lake.publish([view("2016-01-03 14:00:00")])
    return serve(lake)


def test_the_page_and_each_of_its_files_are_served_with_a_strict_policy(client):
    assert len(FILES) > 10
    for path in FILES:
        response = client.get(address(path))
        assert response.content == path.read_bytes().replace(b"{url_bytes}", b"16384")
        assert response.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert response.headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert client.get("/").headers["content-type"] == "text/html; charset=utf-8"
    assert client.get("/web/app.js").headers["content-type"] == "text/javascript; charset=utf-8"


def test_a_file_that_the_client_has_is_not_sent_again(client):
    for path in ("/", "/web/style.css"):
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    head = client.head("/web/style.css")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == first.headers["content-length"]


def test_no_other_file_can_be_reached(client):
    for path in (
        "/web",
        "/web/",
        "/web/index.html",
        "/web/..%2f__init__.py",
        "/web/../settings.py",
        "/web/vendor/README.md",
    ):
        assert client.get(path).status_code == 404, path


def test_the_page_is_there_without_a_lake(lake, serve):
    assert serve(lake).get("/").status_code == 200


def test_the_page_sends_nobody_to_the_reference_where_that_is_closed(lake, serve):
    open_page, closed_page = (serve(lake, docs=docs).get("/").text for docs in (True, False))
    assert open_page.count("/docs") == 2 + 2, "the link and a word, each with the end of its mark"
    assert "docs" not in closed_page
    assert "The same numbers are at /v1/ctr.</p>" in closed_page
    assert closed_page.endswith(open_page[-1000:])


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere():
    page = (WEB / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)|https?://", page)
    for link in re.findall(r'(?:src|href)="([^"#]+)"', page):
        assert link == "/docs" or any(address(path) == link for path in FILES), link


def test_a_module_imports_only_modules_of_the_page():
    for path in WEB.glob("*.js"):
        for module in re.findall(r'from "\./([\w.]+)"', path.read_text()):
            assert (WEB / module).is_file(), f"{path.name}: {module}"


def test_the_chart_library_is_the_one_that_its_note_names():
    note = (WEB / "vendor" / "README.md").read_text()
    sums = dict(re.findall(r"\| `([\w.]+)` \| `([0-9a-f]{64})` \|", note))
    assert set(sums) == {path.name for path in FILES if path.parent.name == "vendor"}
    for name, checksum in sums.items():
        content = (WEB / "vendor" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == checksum, name
    version = re.search(r"# uPlot (\S+)", note)[1]
    assert f"(v{version})".encode() in (WEB / "vendor" / "uPlot.iife.min.js").read_bytes()[:100]


def test_the_files_are_part_of_the_package():
    assert 'serving = ["web/*", "web/vendor/*"]' in (ROOT / "pyproject.toml").read_text()
