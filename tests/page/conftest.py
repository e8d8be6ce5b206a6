"""A real browser for the pages: the system's Chromium, driven by Playwright. Without one its tests are skipped."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OUTSIDE = re.compile("^https?://")
TIMEOUT_MS = 120_000
"""For a machine with much else to do; an event ends every wait."""
MISSING = "no Chromium found; install one (Debian: apt-get install chromium)"


@dataclass
class Opened:
    """A page in the browser, and everything that it said or asked for."""

    page: Any
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(MISSING)
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; pip install -e .[dev]")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Opened]]:
    contexts = []

    def open_one(path: Path, width: int = 1400, scheme: str = "light", **more: Any) -> Opened:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        context.route(OUTSIDE, lambda route: route.abort())  # asked for, and seen below; no test waits for a network
        opened = Opened(context.new_page())
        opened.page.on("console", lambda message: opened.console.append(f"{message.type}: {message.text}"))
        opened.page.on("pageerror", lambda error: opened.console.append(f"error: {error}"))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(path.absolute().as_uri())
        return opened

    yield open_one
    for context in contexts:
        context.close()
