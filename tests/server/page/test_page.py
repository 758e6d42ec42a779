"""The chat page in a browser, as people use it: by mouse, by keyboard alone, on a phone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from stand_in import Behaviour

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

Open = Callable[..., "Page"]
pytestmark = pytest.mark.page

LAST = ".answer:last-child"


def send(page: Page, text: str, *, wait: bool = True) -> None:
    page.fill("#message", text)
    page.press("#message", "Enter")
    if wait:
        done(page)


def done(page: Page) -> None:
    page.wait_for_selector("#send:visible")


def answer(page: Page) -> str:
    return page.inner_text(f"{LAST} .content")


def texts(page: Page, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def wait_for_characters(page: Page, count: int) -> None:
    for _ in range(500):
        if len(page.text_content(f"{LAST} .content") or "") > count:
            return
        page.wait_for_timeout(20)
    pytest.fail(f"the answer did not reach {count} characters")


def visible_trouble(page: Page) -> str:
    page.wait_for_selector(f"{LAST} .trouble:visible")
    return page.inner_text(f"{LAST} .trouble span")


# --- answers ---------------------------------------------------------------------------------


def test_send_and_stream(page: Page, behaviour: Behaviour) -> None:
    behaviour.pass_seconds = 0.02
    send(page, "Hello", wait=False)
    page.wait_for_selector(f"{LAST} .content p")
    early = answer(page)
    done(page)
    whole = answer(page)
    assert 0 < len(early) < len(whole), "the answer came in pieces"
    assert whole.startswith(early[:20])
    assert texts(page, ".user .said") == ["Hello"]
    (body,) = behaviour.requests
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    assert body["stream"] is body["timings_per_token"] is body["return_drafts"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert isinstance(body["seed"], int)
    assert "speculative" not in body, "auto is the server's own choice"


def test_the_conversation_goes_on(page: Page, behaviour: Behaviour) -> None:
    behaviour.answers["One"] = ("hidden thoughts", "First answer.")
    send(page, "One")
    send(page, "Two")
    roles = [m["role"] for m in behaviour.requests[1]["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert behaviour.requests[1]["messages"][1]["content"] == "First answer."
    assert behaviour.requests[0]["seed"] != behaviour.requests[1]["seed"]


def test_stop_keeps_what_came(page: Page, behaviour: Behaviour) -> None:
    behaviour.pass_seconds = 0.1
    send(page, "Slowly", wait=False)
    page.wait_for_selector(f"{LAST} .content p")
    page.click("#stop")
    done(page)
    assert "You stopped this answer." in page.inner_text(LAST)
    kept = answer(page)
    assert kept
    page.wait_for_timeout(300)
    assert answer(page) == kept
    for _ in range(100):
        if behaviour.gone:
            break
        page.wait_for_timeout(50)
    assert behaviour.gone == 1, "the server heard of it"


def test_regenerate_replaces_the_answer(page: Page, behaviour: Behaviour) -> None:
    send(page, "Again")
    first = answer(page)
    page.click(f"{LAST} .act-regenerate")
    done(page)
    assert page.locator(".answer").count() == 1
    assert answer(page) != first, "a new seed was drawn"
    assert behaviour.requests[0]["messages"] == behaviour.requests[1]["messages"]


def test_an_edited_message_is_sent_again(page: Page, behaviour: Behaviour) -> None:
    send(page, "First")
    send(page, "Second")
    page.locator(".act-edit").first.click()
    edit = page.locator(".user textarea:visible")
    assert edit.input_value() == "First"
    edit.fill("Changed")
    edit.press("Enter")
    done(page)
    assert texts(page, ".user .said") == ["Changed"]
    assert behaviour.requests[-1]["messages"] == [{"role": "user", "content": "Changed"}]


def test_reasoning_is_folded_when_the_answer_begins(page: Page, behaviour: Behaviour) -> None:
    behaviour.pass_seconds = 0.03
    behaviour.answers["Think"] = ("It seems that one and one are two. " * 4, "**Two**, then. " * 4)
    send(page, "Think", wait=False)
    page.wait_for_selector(f"{LAST} .thought[open]")
    assert page.inner_text(f"{LAST} .thought summary") == "Thinking…"
    page.wait_for_selector(f"{LAST} .content strong")
    assert page.get_attribute(f"{LAST} .thought", "open") is None
    done(page)
    assert page.inner_text(f"{LAST} .thought summary").startswith("Thought for ")
    assert page.text_content(f"{LAST} .reasoning").startswith("It seems that")
    assert answer(page).startswith("Two, then.")


# --- drafts ----------------------------------------------------------------------------------


def test_accepted_drafts_are_tinted_in_both_views(page: Page, behaviour: Behaviour) -> None:
    behaviour.answers["Tint"] = ("", "Some **bold** words, then `code` and the end of it. " * 4)
    send(page, "Tint")
    drafts = page.locator(f"{LAST} .content .draft")
    assert drafts.count() > 5
    assert page.locator(f"{LAST} .content .draft.d2").count() > 0
    background = "node => getComputedStyle(node).backgroundColor"
    assert drafts.first.evaluate(background) != "rgba(0, 0, 0, 0)"
    page.click("#tint")
    assert drafts.first.evaluate(background) == "rgba(0, 0, 0, 0)"
    page.click("#tint")
    page.click("#raw")
    assert page.text_content(f"{LAST} .content") == behaviour.answers["Tint"][1]
    assert drafts.count() > 5
    tinted = "".join(drafts.all_text_contents())
    page.reload()
    page.wait_for_selector(f"{LAST} .content .draft")
    assert "".join(drafts.all_text_contents()) == tinted, "the marks are kept"


def test_figures_of_an_answer(page: Page) -> None:
    send(page, "Figures")
    figures = page.inner_text(f"{LAST} .figures")
    assert "tok/s" in figures
    assert "tokens per round" in figures
    assert "% of drafts accepted" in figures
    depths = [text or "" for text in page.locator(f"{LAST} .depths li").all_text_contents()]
    assert len(depths) == 3
    assert "Depth 1: " in depths[0]
    assert page.locator(f"{LAST} .rounds i").count() > 5
    assert "seed " in page.inner_text(f"{LAST} .origin")


def test_the_switch_of_speculation(page: Page, behaviour: Behaviour) -> None:
    for choice, field in (("off", 0), ("1", 1), ("7", 7)):
        page.select_option("#speculation", choice)
        send(page, "Switch")
        assert behaviour.requests[-1]["speculative"] == {"n_max": field}
        assert page.locator(f"{LAST} .depths li").count() == field
        assert (page.locator(f"{LAST} .draft").count() > 0) == (field > 0)
    page.reload()
    assert page.input_value("#speculation") == "7"


def test_the_proof_that_the_text_is_the_same(page: Page, behaviour: Behaviour) -> None:
    send(page, "Prove")
    page.click(f"{LAST} .act-prove")
    done(page)
    verdict = page.inner_text(f"{LAST} .verdict")
    assert "Identical text" in verdict
    assert "× as fast with drafts" in verdict
    first, off, on = behaviour.requests
    assert off == first | {"speculative": {"n_max": 0}}
    assert on == first
    assert len(texts(page, f"{LAST} .proof dd")) == 2
    page.reload()
    assert page.inner_text(f"{LAST} .verdict") == verdict


def test_the_proof_fails_where_the_text_changes(page: Page, behaviour: Behaviour) -> None:
    behaviour.lossless = False
    send(page, "Prove")
    page.click(f"{LAST} .act-prove")
    done(page)
    assert "The texts differ from character " in page.inner_text(f"{LAST} .verdict")


def test_the_proof_of_a_stopped_answer_has_its_length(page: Page, behaviour: Behaviour) -> None:
    behaviour.pass_seconds = 0.05
    send(page, "Stop me", wait=False)
    wait_for_characters(page, 60)
    page.press("#message", "Escape")
    done(page)
    page.click(f"{LAST} .act-prove")
    done(page)
    assert "Identical text" in page.inner_text(f"{LAST} .verdict")
    assert 1 < behaviour.requests[1]["max_tokens"] < 60


# --- conversations ---------------------------------------------------------------------------


def test_a_reload_keeps_the_conversation(page: Page, behaviour: Behaviour) -> None:
    behaviour.answers["Keep me"] = ("thoughts", "An *answer* to keep.")
    send(page, "Keep me")
    page.reload()
    assert texts(page, ".user .said") == ["Keep me"]
    assert page.inner_html(f"{LAST} .content em") == "answer"
    assert page.inner_text("#conversations .open") == "Keep me"
    send(page, "More")
    assert len(behaviour.requests[-1]["messages"]) == 3


def test_a_reload_in_the_middle_keeps_what_came(page: Page, behaviour: Behaviour) -> None:
    behaviour.pass_seconds = 0.1
    send(page, "Cut off", wait=False)
    wait_for_characters(page, 30)
    page.reload()
    page.wait_for_selector(f"{LAST} .content p")
    assert len(answer(page)) >= 30
    note = page.inner_text(f"{LAST} .note")
    assert note in ("You stopped this answer.", "This answer was cut short.")
    assert not page.is_visible(f"{LAST} .trouble")


def test_several_conversations(page: Page) -> None:
    send(page, "River")
    page.click("#new")
    assert page.locator(".turn").count() == 0
    send(page, "Bridge")
    assert texts(page, "#conversations .open") == ["Bridge", "River"]
    page.click("text=River")
    assert texts(page, ".user .said") == ["River"]
    page.click("text=Rename")
    page.keyboard.type("Stones")
    page.keyboard.press("Enter")
    assert "Stones" in texts(page, "#conversations .open")
    page.click("text=Delete")
    assert texts(page, "#conversations .open") == ["Bridge"]
    page.click("#notice button")
    assert sorted(texts(page, "#conversations .open")) == ["Bridge", "Stones"]
    page.reload()
    assert sorted(texts(page, "#conversations .open")) == ["Bridge", "Stones"]


def test_conversations_while_an_answer_runs(page: Page, behaviour: Behaviour) -> None:
    behaviour.pass_seconds = 0.05
    send(page, "Runs", wait=False)
    page.wait_for_selector(f"{LAST} .content p")
    page.click("#conversations .open")
    assert page.is_visible("#stop"), "opening the open one changes nothing"
    page.click("text=Delete")
    page.wait_for_timeout(200)
    page.reload()
    assert page.locator("#conversations li").count() == 0
    send(page, "Left", wait=False)
    page.wait_for_selector(f"{LAST} .content p")
    page.click("#new")
    assert page.locator(".turn").count() == 0
    page.click("text=Left")
    page.wait_for_selector(f"{LAST} .note:has-text('You stopped this answer.')")
    assert answer(page)


def test_export_and_import(page: Page, open_page: Open, tmp_path: Path) -> None:
    send(page, "Travels")
    with page.expect_download() as download:
        page.click(".tools >> text=Export")
    assert download.value.suggested_filename == "travels.json"
    path = tmp_path / "travels.json"
    download.value.save_as(path)
    assert json.loads(path.read_text())["format"] == "headlong-conversations"
    other = open_page()
    other.set_input_files("#import-file", path)
    other.wait_for_selector(f"{LAST} .content p")
    assert answer(other) == answer(page)
    path.write_text(path.read_text().replace('"role": "user"', '"role": "bad"'))
    other.set_input_files("#import-file", path)
    other.wait_for_selector("#notice:has-text('damaged')")
    path.write_text("not JSON")
    other.set_input_files("#import-file", path)
    other.wait_for_selector("#notice:has-text('not JSON')")


def test_storage_that_is_full_or_damaged_breaks_nothing(page: Page) -> None:
    page.evaluate(
        """() => {
          localStorage.setItem("headlong.conversation.x", '{"id": 1');
          localStorage.setItem("headlong.conversation.y", '{"id": "y", "messages": [null]}');
          localStorage.setItem("headlong.settings", '[]');
          for (let size = 2 ** 23, n = 0; size > 256; size /= 2) {
            try {
              for (;;) localStorage.setItem(`filler${n++}`, "x".repeat(size));
            } catch {
              // No room for one of this size: a smaller one.
            }
          }
        }"""
    )
    page.reload()
    send(page, "Still " + "here " * 500)
    page.wait_for_selector("#notice:has-text('no room')")
    assert answer(page)


# --- settings --------------------------------------------------------------------------------


def test_sampler_settings(page: Page, behaviour: Behaviour) -> None:
    page.click("#open-settings")
    assert page.get_attribute("#sampler-temperature", "placeholder") == "0.8"
    page.fill("#sampler-temperature", "0.2")
    page.fill("#sampler-top_k", "7")
    page.fill("#sampler-seed", "42")
    page.fill("#sampler-max_tokens", "9")
    page.fill("#sampler-top_p", "1.5")
    assert page.get_attribute("#sampler-top_p", "aria-invalid") == "true"
    page.fill("#system", "Be brief.")
    page.select_option("#thinking", "off")
    page.keyboard.press("Escape")
    send(page, "Set")
    body = behaviour.requests[0]
    assert (body["temperature"], body["top_k"], body["max_tokens"]) == (0.2, 7, 9)
    assert body["seed"] == 42
    assert "top_p" not in body, "what does not hold is not sent"
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    page.click("#open-settings")
    page.click("#reset")
    assert page.input_value("#sampler-temperature") == ""
    page.keyboard.press("Escape")
    send(page, "Unset")
    assert not {"temperature", "top_k", "max_tokens"} & set(behaviour.requests[1])


def test_the_theme_can_be_chosen(open_page: Open) -> None:
    page = open_page(color_scheme="light")
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("#open-settings")
    page.select_option("#theme", "dark")
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark
    page.emulate_media(color_scheme="dark")
    page.click("#open-settings")
    page.select_option("#theme", "light")
    assert page.evaluate(background) == light


# --- what the server may say -----------------------------------------------------------------


def test_the_key_is_asked_for_and_kept(open_page: Open, behaviour: Behaviour) -> None:
    behaviour.key = "sesame"
    page = open_page()
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-fault:visible")
    page.fill("#key", "sesame")
    page.keyboard.press("Enter")
    page.wait_for_selector("#model:not(:empty)")
    send(page, "Open")
    assert answer(page)
    page.reload()
    page.wait_for_selector("#model:not(:empty)")
    assert not page.is_visible("#key-dialog")
    behaviour.key = "changed"
    send(page, "Refused", wait=False)
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key", "changed")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{LAST} .content p")
    done(page)
    assert texts(page, ".user .said") == ["Open", "Refused"]


def test_loading_shows_its_progress(open_page: Open, behaviour: Behaviour) -> None:
    behaviour.progress = 0.42
    page = open_page()
    page.wait_for_selector("#banner:has-text('loading its model: 42%')")
    assert page.locator("#banner progress").evaluate("bar => bar.value") == 0.42
    behaviour.progress = None
    page.wait_for_selector("#banner", state="hidden")
    page.wait_for_selector("#model:not(:empty)")


REFUSALS: tuple[tuple[int, dict[str, str], dict[str, str], str], ...] = (
    (429, {"message": "full"}, {"Retry-After": "3"}, "queue is full. It asks to try again in 3 "),
    (
        400,
        {"message": "It has 9,000 tokens.", "code": "context_length_exceeded"},
        {},
        "no longer fits into the server's context. It has 9,000 tokens. Start a new",
    ),
    (400, {"message": "top_k is -2."}, {}, "refused the request: top_k is -2."),
    (413, {}, {}, "larger than the server accepts"),
    (500, {"message": "internal (id 7)"}, {}, "The server failed: internal (id 7)"),
    (503, {"message": "shutting down"}, {}, "The server cannot answer now: shutting down"),
    (504, {"message": "after 60 s."}, {}, "The server gave up on the answer: after 60 s."),
)


def test_refusals_are_sentences_with_a_retry(page: Page, behaviour: Behaviour) -> None:
    page.fill("#message", "Refuse")
    behaviour.refusals += [(status, error, headers) for status, error, headers, _ in REFUSALS]
    page.press("#message", "Enter")
    for *_, words in REFUSALS:
        page.wait_for_selector(f'{LAST} .trouble:has-text("{words}")')
        page.click(f"{LAST} .act-retry")
    page.wait_for_selector(f"{LAST} .content p")
    done(page)
    assert not page.is_visible(f"{LAST} .trouble")
    assert page.locator(".turn").count() == 2


def test_a_lost_connection(page: Page, behaviour: Behaviour) -> None:
    behaviour.break_after = 9
    send(page, "Break", wait=False)
    assert "connection to the server was lost" in visible_trouble(page)
    assert answer(page), "what came is kept"
    behaviour.break_after = None
    page.click(f"{LAST} .act-retry")
    page.wait_for_selector(f"{LAST} .actions:visible")
    assert not page.is_visible(f"{LAST} .trouble")


def test_an_answer_that_the_server_breaks_off(page: Page, behaviour: Behaviour) -> None:
    behaviour.break_after = 9
    behaviour.broken_by = {"message": "it is shutting down.", "code": "shutting_down"}
    send(page, "Break", wait=False)
    assert visible_trouble(page) == "The server broke off the answer: it is shutting down."
    assert answer(page), "what came is kept"


def test_a_file_without_a_head(open_page: Open, behaviour: Behaviour) -> None:
    behaviour.has_mtp = False
    page = open_page()
    page.wait_for_selector("#model:not(:empty)")
    assert "no MTP head" in page.inner_text("#welcome-model")
    assert page.is_visible(".without-drafts")
    for gone in ("#speculation", "#tint", "#welcome .draft"):
        assert not page.is_visible(gone), gone


def test_drafts_are_as_long_as_the_server_makes_them(open_page: Open, behaviour: Behaviour) -> None:
    behaviour.longest_draft = 3
    page = open_page()
    page.wait_for_selector("#model:not(:empty)")
    page.select_option("#speculation", "3")
    assert page.locator("#speculation option:disabled").count() == 4
    behaviour.longest_draft = 2
    page.reload()
    page.wait_for_selector("#model:not(:empty)")
    assert page.input_value("#speculation") == "auto"
    send(page, "Shorter")
    assert "speculative" not in behaviour.requests[0]
    behaviour.longest_draft = 0
    page.click("#new")
    page.reload()
    page.wait_for_selector("#model:not(:empty)")
    assert "the server makes no drafts" in page.inner_text("#welcome-model")
    assert not page.is_visible("#speculation")


# --- safety ----------------------------------------------------------------------------------


def test_what_the_model_says_is_never_run(page: Page, behaviour: Behaviour) -> None:
    attack = (
        "<img src=x onerror='window.hacked=1'> <script>window.hacked=1</script>\n\n"
        "[click](javascript:window.hacked=1) ![p](https://evil.example/p.png)\n\n"
        "```<img src=x onerror=window.hacked=1>\n</code><script>window.hacked=1</script>\n```\n"
    )
    behaviour.answers[attack.strip()] = (attack, attack)
    send(page, attack)
    assert page.evaluate("window.hacked") is None
    assert page.locator(".turn img, .turn script").count() == 0
    page.reload()
    page.click("#raw")
    assert page.evaluate("window.hacked") is None
    assert page.text_content(f"{LAST} .content") == attack


# --- accessibility ---------------------------------------------------------------------------


def focused(page: Page) -> Locator:
    return page.locator(":focus")


def back_to(page: Page, name: str) -> None:
    for _ in range(40):
        page.keyboard.press("Shift+Tab")
        if name in page.evaluate("document.activeElement.className"):
            return
    pytest.fail(f"{name} is not reached by the keyboard")


def test_by_keyboard_alone(page: Page, behaviour: Behaviour) -> None:
    behaviour.pass_seconds = 0.05
    assert page.evaluate("document.activeElement.id") == "message"
    back_to(page, "skip")
    assert focused(page).bounding_box()["y"] >= 0, "the link shows when it is reached"
    page.keyboard.press("Enter")
    page.keyboard.type("One line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("another")
    assert page.input_value("#message") == "One line\nanother"
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{LAST} .content p")
    page.keyboard.press("Escape")
    done(page)
    assert "You stopped" in page.inner_text(LAST)
    assert page.evaluate("document.activeElement.id") == "message"
    back_to(page, "act-regenerate")
    outline = focused(page).evaluate("node => getComputedStyle(node).outlineStyle")
    assert outline == "solid"
    behaviour.pass_seconds = 0
    page.keyboard.press("Enter")
    done(page)
    assert page.locator(".answer .note:visible").count() == 0


def test_a_finished_answer_is_read_out_once(page: Page, behaviour: Behaviour) -> None:
    behaviour.answers["Say"] = ("", "The words of the answer.")
    page.evaluate(
        """() => {
          window.said = [];
          const live = document.getElementById("announcer");
          const observer = new MutationObserver(() => said.push(live.textContent));
          observer.observe(live, { childList: true });
        }"""
    )
    send(page, "Say")
    page.wait_for_timeout(100)
    assert page.evaluate("said") == ["Answer: The words of the answer."]
    assert page.get_attribute("#announcer", "aria-live") == "polite"
    around = page.evaluate("document.querySelector('.content').closest('[aria-live]')")
    assert around is None


def test_everything_that_acts_has_a_name(page: Page) -> None:
    send(page, "Names")
    page.click(f"{LAST} .act-prove")
    done(page)
    page.locator(".act-edit").first.click()
    page.click("#open-settings")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, a, summary")]
          .filter((node) => node.checkVisibility())
          .filter((node) => !(node.getAttribute("aria-label") || node.labels?.length
            || node.textContent.trim() || node.title))
          .map((node) => node.outerHTML)"""
    )
    assert nameless == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))
    assert page.get_attribute("html", "lang") == "en"
    for landmark in ("nav", "main", "header", "footer"):
        assert page.locator(landmark).count() == 1


CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const read = (colors) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const color of colors) {
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
    }
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => {
    const linear = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  };
  const grounds = (node) => {
    const found = [];
    for (; node; node = node.parentElement) found.unshift(getComputedStyle(node).backgroundColor);
    return found;
  };
  const weak = [];
  let checked = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = walker.nextNode()); ) {
    const node = text.parentElement;
    if (!text.data.trim() || !node.checkVisibility({ visibilityProperty: true })) continue;
    if (node.closest(".spoken, .skip, script, style, :disabled, option")) continue;
    const below = grounds(node);
    const colors = [below, [...below, getComputedStyle(node).color]];
    const [a, b] = colors.map((layers) => luminance(read(layers)));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    checked++;
    if (ratio < 4.5) weak.push(`${ratio.toFixed(2)} ${node.className} ${text.data.slice(0, 30)}`);
  }
  return { weak, checked };
}"""

RICH = (
    "# Head\n\nText with [link](https://a.example) and `code`.\n\n> quoted words here\n\n"
    "- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nx = [1, 2, 3]\n```\n"
) * 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(open_page: Open, behaviour: Behaviour, scheme: str) -> None:
    behaviour.pass_seconds = 0
    behaviour.answers["Rich"] = ("Some *thoughts* first. " * 8, RICH)
    page = open_page(color_scheme=scheme)
    page.wait_for_selector("#model:not(:empty)")
    found = [page.evaluate(CONTRAST)]
    page.select_option("#speculation", "7")
    send(page, "Rich")
    page.click(f"{LAST} .act-prove")
    done(page)
    page.click(f"{LAST} .thought summary")
    behaviour.refusals.append((500, {"message": "broken"}, {}))
    send(page, "Refuse")
    found.append(page.evaluate(CONTRAST))
    page.click("#open-settings")
    found.append(page.evaluate(CONTRAST))
    assert [one["weak"] for one in found] == [[], [], []]
    assert found[1]["checked"] > 100
    assert page.locator(".draft.d4").count() > 0


@pytest.mark.parametrize("width", [320, 390, 768])
def test_narrow_screens(open_page: Open, behaviour: Behaviour, width: int) -> None:
    wide = "`" + "x" * 300 + "` " + "y" * 300 + "\n\n```\n" + "z" * 300 + "\n```\n" + RICH
    behaviour.pass_seconds = 0
    behaviour.answers["Wide"] = ("", wide + "|" + "c|" * 20 + "\n|" + "-|" * 20)
    page = open_page(viewport={"width": width, "height": 700}, has_touch=True)
    page.wait_for_selector("#model:not(:empty)")
    send(page, "Wide")
    page.click(f"{LAST} .act-prove")
    done(page)
    overflow: Any = """() => [document.documentElement, document.querySelector("#transcript")]
      .map((node) => node.scrollWidth - node.clientWidth)"""
    assert page.evaluate(overflow) == [0, 0]
    assert not page.is_visible("#new")
    page.click("#open-sidebar")
    page.wait_for_selector("#new:visible")
    page.keyboard.press("Escape")
    page.wait_for_selector("#new", state="hidden")
    page.click("#open-settings")
    assert page.evaluate("() => settings.scrollWidth - settings.clientWidth") == 0
    assert page.evaluate(overflow) == [0, 0]
