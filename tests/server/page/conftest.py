"""A browser, a stand-in for the server, and a page that fails on anything it should not do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from stand_in import Behaviour, StandIn

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Open = Callable[..., "Page"]
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    # Closed with the module: while it runs, its event loop is in the way of other tests'.
    with api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = own if own.exists() else next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
        if found is None:
            pytest.skip("no Chromium: neither playwright's own nor one on the path")
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    yield server
    server.close()


@pytest.fixture
def behaviour(stand_in: StandIn) -> Behaviour:
    return stand_in.behaviour


@pytest.fixture
def open_at(browser: Browser) -> Iterator[Open]:
    """Opens a server's page in a browser of its own; at the end nothing may have gone wrong."""
    contexts, faults = [], []

    def open_at(url: str, **options: Any) -> Page:
        context = browser.new_context(
            **{"viewport": {"width": 1100, "height": 760}, "reduced_motion": "reduce"} | options
        )
        context.set_default_timeout(10_000)
        contexts.append(context)

        def guard(route: Any) -> None:
            if route.request.url.startswith(url):
                route.continue_()
            else:
                faults.append(f"asked {route.request.url}")
                route.abort()

        context.route("**/*", guard)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"raised {error}"))
        page.on("dialog", lambda dialog: (faults.append(f"said {dialog.message}"), dialog.accept()))
        page.on("console", lambda message: note(message))

        def note(message: Any) -> None:
            # A refused request, which tests bring about, is reported by the browser itself.
            expected = message.type != "error" or message.text.startswith("Failed to load resource")
            if not expected:
                faults.append(f"wrote {message.text}")

        page.goto(url)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def open_page(open_at: Open, stand_in: StandIn) -> Open:
    """Opens the stand-in's page."""
    return partial(open_at, stand_in.url)


@pytest.fixture
def page(open_page: Open) -> Page:
    page = open_page()
    page.wait_for_selector("#model:not(:empty)")  # its server is ready
    return page
