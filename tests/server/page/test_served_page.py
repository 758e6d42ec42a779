"""The chat page of the server itself: what the stand-in promises, the server keeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from serving import Served, serving
from serving_engines import loads

from headlong import LLM
from headlong.progress import Progress

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]
pytestmark = pytest.mark.page

LAST = ".answer:last-child"


@pytest.fixture
def served(model: Path) -> Iterator[Served]:
    with serving(loads(model)) as served:
        yield served


def ready(page: Page) -> Page:
    page.wait_for_selector("#model:not(:empty)")
    return page


def send(page: Page, text: str, *, tokens: int = 80, wait: bool = True) -> None:
    page.click("#open-settings")
    page.fill("#sampler-max_tokens", str(tokens))
    page.keyboard.press("Escape")
    page.fill("#message", text)
    page.press("#message", "Enter")
    if wait:
        page.wait_for_selector("#send:visible")


def test_an_answer_its_drafts_and_its_proof(open_at: Open, served: Served) -> None:
    page = ready(open_at(served.url))
    assert "drafts with its MTP head" in page.inner_text("#welcome-model")
    page.click("#open-settings")
    assert page.get_attribute("#sampler-temperature", "placeholder") not in ("", "server's")
    page.keyboard.press("Escape")
    send(page, "Hello")
    assert page.locator(f"{LAST} .draft").count() > 0
    figures = page.inner_text(f"{LAST} .figures")
    assert "tok/s" in figures
    assert "Depth 1: " in figures
    page.click(f"{LAST} .act-prove")
    page.wait_for_selector("#send:visible")
    assert "Identical text" in page.inner_text(f"{LAST} .verdict")
    page.select_option("#speculation", "off")
    send(page, "Again")
    assert page.locator(f"{LAST} .draft").count() == 0
    assert page.locator(f"{LAST} .depths li").count() == 0
    page.reload()
    assert page.locator(".turn").count() == 4
    assert not page.is_visible(".trouble")


def test_the_tint_is_what_the_server_told(open_at: Open, served: Served) -> None:
    page = ready(open_at(served.url))
    page.click("#raw")
    with page.expect_request("**/v1/chat/completions") as sent:
        send(page, "Where from?")
    tokens = [
        (piece, place < drafts["accepted"])
        for event in served.stream("/v1/chat/completions", sent.value.post_data_json)
        if isinstance(event, dict) and (drafts := event.get("drafts"))
        for place, piece in enumerate(drafts["pieces"])
    ]
    shown = page.text_content(f"{LAST} .content") or ""
    raw = "".join(piece for piece, _ in tokens)
    assert shown
    assert raw.endswith(shown), "the shown text is the end of the raw one"
    drafted = sum(len(piece) for piece, accepted in tokens if accepted)
    tinted = sum(map(len, page.locator(f"{LAST} .draft").all_text_contents()))
    assert 0 < tinted <= drafted
    # A second run of the same request may draft otherwise, but not by much.
    assert tinted > drafted / 2


def slowly(load: Callable[[Progress], LLM]) -> Callable[[Progress], LLM]:
    def slow_load(progress: Progress) -> LLM:
        llm = load(progress)
        engine = llm.requests._engine
        step = engine.step

        def slow_step() -> object:
            time.sleep(0.05)
            return step()

        engine.step = slow_step  # type: ignore[method-assign, assignment]
        return llm

    return slow_load


def test_stop_frees_the_slot(open_at: Open, model: Path) -> None:
    with serving(slowly(loads(model))) as served:
        page = ready(open_at(served.url))
        send(page, "Long", tokens=400, wait=False)
        page.wait_for_selector(f"{LAST} .content p")
        page.press("#message", "Escape")
        page.wait_for_selector(f"{LAST} .note:has-text('You stopped this answer.')")
        for _ in range(40):  # the whole answer would take three times as long
            if not any(slot["is_processing"] for slot in served.client.get("/slots").json()):
                return
            page.wait_for_timeout(50)
        pytest.fail("the server goes on")


def test_the_key_is_asked_for(open_at: Open, model: Path) -> None:
    with serving(loads(model), api_key=("sesame",)) as served:
        page = open_at(served.url)
        page.wait_for_selector("#key-dialog[open]")
        page.fill("#key", "sesame")
        page.keyboard.press("Enter")
        send(ready(page), "Open")
        assert page.inner_text(f"{LAST} .content")


def test_the_page_waits_for_the_model(open_at: Open, model: Path) -> None:
    may_load = threading.Event()

    def load(progress: Progress) -> LLM:
        may_load.wait(20)
        return loads(model)(progress)

    with serving(load, ready=False) as served:
        page = open_at(served.url)
        try:
            page.wait_for_selector("#banner:has-text('loading its model')")
        finally:
            may_load.set()
        ready(page)
        assert not page.is_visible("#banner")


def test_a_conversation_that_is_too_long(open_at: Open, served: Served) -> None:
    page = ready(open_at(served.url))
    send(page, "word " * 3000)
    trouble = page.inner_text(f"{LAST} .trouble")
    assert "no longer fits into the server's context" in trouble
