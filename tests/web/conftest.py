"""Fixtures of the page's tests: one Chromium for a module, and pages that may not complain."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.serving.conftest import running, serve  # noqa: F401  (serve is a fixture)
from tests.serving.lake import Lake
from tests.web.shop import publish


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium. It ends with the module: while Playwright lives, this thread has a running event loop."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium (scripts/test-servers.sh does)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The service over the lake of ``shop``; nobody changes it. Answers of more than 50 rows are streamed."""
    from serving.main import create_app
    from serving.settings import Settings

    lake = Lake(Path(tmp_path_factory.mktemp("shop")) / "lake")
    publish(lake)
    with running(create_app(Settings(lake=str(lake.path), replica=False, stream_rows=50))) as client:
        yield client


class Watched:
    """A page with all that it must not do: log errors, break its policy, ask anybody else."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("console", lambda message: self._said(message.type, message.text))
        page.on("request", lambda request: self._asks(request.url))

    def open(self, address: str = "/", wait: str = "#totals:visible") -> Page:
        """Go to an address of the service and wait until it shows something."""
        self.page.goto(self.base + address)
        self.page.locator(wait).wait_for()
        return self.page

    def _said(self, kind: str, text: str) -> None:
        # what the service refuses, the browser itself notes as an error of loading; the page tells it in words
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.complaints.append(f"{kind}: {text}")

    def _asks(self, url: str) -> None:
        self.asked.append(url)
        if not url.startswith((self.base, f"blob:{self.base}")):
            self.complaints.append(f"asked {urlsplit(url).netloc}: {url}")


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Opens a page of a service, with any options of a browser context. At the end none may have complained."""
    contexts: list[BrowserContext] = []
    pages: list[Watched] = []

    def start(client: httpx.Client, **options: Any) -> Watched:
        contexts.append(
            browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 900}, **options})
        )
        pages.append(Watched(contexts[-1].new_page(), str(client.base_url).rstrip("/")))
        return pages[-1]

    yield start
    for context in contexts:
        context.close()
    for page in pages:
        assert page.complaints == []
