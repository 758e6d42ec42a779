"""Take the pictures of the chat page: python docs/pictures/make.py [--url URL ...].

Without a URL the page talks to the stand-in of its tests, so conversation and figures are examples,
and the model's name in the picture says so.  Needs playwright and a Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

PROMPT = "Merge two sorted lists in Python. What does it cost?"
REASONING = "Two indices, one pass. Slices take care of the rest. Mention stability and the copy."
ANSWER = """Walk both lists at once and always take the smaller head:

```python
def merge(left: list[int], right: list[int]) -> list[int]:
    merged, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            merged.append(left[i])
            i += 1
        else:
            merged.append(right[j])
            j += 1
    return merged + left[i:] + right[j:]
```

Every element is looked at once, so it takes **linear time**:

| | time | memory |
|:--|:--|:--|
| `merge` | O(n + m) | O(n + m) |
| `sorted(left + right)` | O(n + m) in practice | O(n + m) |

The `<=` keeps it *stable*: of equal elements, those of `left` come first.
"""

# Width, height, scheme, pixels per unit.
PICTURES = {
    "chat-light": (1180, 1120, "light", 1),
    "chat-dark": (1180, 1120, "dark", 1),
    "chat-narrow": (390, 844, "light", 2),
}


def stand_in() -> Any:
    """A server with an example to show."""
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "server" / "page")]
    from stand_in import StandIn

    server = StandIn()
    server.behaviour.model = "example-model"
    server.behaviour.pass_seconds = 0.03
    server.behaviour.answers[PROMPT] = (REASONING, ANSWER)
    return server


def take(
    browser: Browser,
    url: str,
    prompt: str,
    name: str,
    sampler: Mapping[str, str],
    height: int | None,
    to: Path,
) -> None:
    """One picture: an answer with these sampler settings, and its proof."""
    width, usual, scheme, scale = PICTURES[name]
    page = browser.new_page(
        viewport={"width": width, "height": height or usual},
        color_scheme=scheme,
        device_scale_factor=scale,
        reduced_motion="reduce",
    )
    page.set_default_timeout(300_000)
    page.goto(url)
    page.wait_for_selector("#model:not(:empty)")
    if sampler:
        page.click("#open-settings")
        for field, value in sampler.items():
            page.fill(f"#sampler-{field}", value)
        page.keyboard.press("Escape")
    page.fill("#message", prompt)
    page.press("#message", "Enter")
    page.wait_for_selector("#send:visible")
    page.click(".act-prove")
    page.wait_for_selector("#send:visible")
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    page.screenshot(path=to)
    page.close()


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="of a running server; the stand-in of the tests without it")
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--name", choices=PICTURES, help="only this picture; into --to")
    parser.add_argument("--to", type=Path, help="with --name: the file")
    parser.add_argument("--height", type=int, help="of the picture")
    parser.add_argument(
        "--sampler", nargs="*", default=[], metavar="FIELD=VALUE", help="such as seed=1"
    )
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.url
        if url is None:
            server = stand_in()
            stack.callback(server.close)
            url = server.url
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        stack.callback(browser.close)
        sampler = dict(pair.split("=", 1) for pair in options.sampler)
        for name in [options.name] if options.name else PICTURES:
            to = options.to or HERE / f"{name}.png"
            take(browser, url, options.prompt, name, sampler, options.height, to)


if __name__ == "__main__":
    main()
