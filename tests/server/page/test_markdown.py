"""The page's own markdown: what models write, what attackers would, and where drafts went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from stand_in import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.page

RENDER = """([source, runs, steps]) => {
  const parent = document.createElement("div");
  const view = new MarkdownView(parent, Marks.fromRuns(runs, source.length));
  for (let i = 1; i <= steps; i++)
    view.update(source.slice(0, Math.ceil(source.length * i / steps)));
  return parent.innerHTML;
}"""


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """One page for all: these tests call its functions and leave it as it is."""
    server = StandIn()
    page = browser.new_page()
    page.goto(server.url)
    yield page
    page.close()
    server.close()


def render(page: Page, source: str, runs: tuple[int, ...] = (), steps: int = 1) -> str:
    html: str = page.evaluate(RENDER, [source, list(runs), steps])
    return html


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ("plain", "<p>plain</p>"),
        ("one\ntwo\n\nthree", "<p>one\ntwo</p><p>three</p>"),
        ("a  \nb\\\nc", "<p>a<br>b<br>c</p>"),
        ("# A\n### *B* ##", "<h3>A</h3><h5><em>B</em></h5>"),
        ("**b** *i* ***bi*** ~~s~~ __b__ _i_", None),
        ("2 * 3 * 4, snake_case_name, a ** b", "<p>2 * 3 * 4, snake_case_name, a ** b</p>"),
        ("`a*b*` ``c`d`` `open", "<p><code>a*b*</code> <code>c`d</code> `open</p>"),
        (r"\*no\* \\", "<p>*no* \\</p>"),
        ("> q\n> > r", "<blockquote><p>q</p><blockquote><p>r</p></blockquote></blockquote>"),
        ("---\n***", "<hr><hr>"),
        ("- a\n- b\n  - c\n\nd", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul><p>d</p>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("1. a\n\n   more\n2. b", "<ol><li><p>a</p><p>more</p></li><li><p>b</p></li></ol>"),
        ("* a\n  lazy\nlazier", "<ul><li>a\nlazy\nlazier</li></ul>"),
        ("text\n- item", "<p>text</p><ul><li>item</li></ul>"),
        ("in 1984. No list\n1984. still none", "<p>in 1984. No list\n1984. still none</p>"),
        ("&lt; & <", "<p>&amp;lt; &amp; &lt;</p>"),
    ],
)
def test_blocks_and_spans(page: Page, source: str, html: str | None) -> None:
    if html is None:
        html = (
            "<p><strong>b</strong> <em>i</em> <strong><em>bi</em></strong> <del>s</del> "
            "<strong>b</strong> <em>i</em></p>"
        )
    assert render(page, source) == html


def test_code_keeps_its_characters(page: Page) -> None:
    html = render(page, "```html\n<b>*x*</b>\n\n  y\n```\nafter")
    assert "<span>html</span>" in html
    assert "<code>&lt;b&gt;*x*&lt;/b&gt;\n\n  y</code>" in html
    assert html.endswith("<p>after</p>")
    assert "<code>never closed</code>" in render(page, "~~~\nnever closed")
    nested = render(page, "1. see\n\n   ```sh\n   ls -l\n   ```\n2. next")
    assert "<code>ls -l</code>" in nested
    assert nested.count("<li>") == 2


def test_tables(page: Page) -> None:
    html = render(page, "| a | b |\n|:-:|--:|\n| `x|y` | 1 \\| 2 |\n| 3 |\n\nend")
    assert '<th class="center" scope="col">a</th><th class="right" scope="col">b</th>' in html
    assert '<td class="center"><code>x|y</code></td><td class="right">1 | 2</td>' in html
    assert '<td class="center">3</td><td class="right"></td>' in html
    assert html.endswith("<p>end</p>")
    assert "<table>" not in render(page, "a | b\nno divider")


def test_links_go_to_the_web_only(page: Page) -> None:
    html = render(page, '[a](https://a.example/x_(y) "t") <http://b.example> https://c.example/d.')
    assert html.count('target="_blank" rel="noopener noreferrer"') == 3
    for address in ("https://a.example/x_(y)", "http://b.example/", "https://c.example/d"):
        assert f'href="{address}"' in html
    assert html.endswith("</a>.</p>")
    for scheme in ("javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x",
                   "//evil.example", "/etc", "java\tscript:alert(1)", "https://"):  # fmt: skip
        assert "href" not in render(page, f"[x]({scheme}) <{scheme}>"), scheme


ATTACKS = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "[x](javascript:window.hacked=1)",
    "![x](https://evil.example/p.png)",
    "<svg onload=window.hacked=1>",
    "```\n</code></pre><script>window.hacked=1</script>\n```",
    '```"><img src=x onerror=window.hacked=1>\nx\n```',
    '[x](https://a.example/"onmouseover="window.hacked=1)',
    "| <iframe src=javascript:window.hacked=1> |\n|---|\n| <b onclick=x> |",
    "</textarea></title><script>window.hacked=1</script>",
    '<a href="javascript:window.hacked=1">x</a>',
    "# <style>*{display:none}</style>",
)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("steps", [1, 7])
def test_markup_in_text_stays_text(page: Page, attack: str, steps: int) -> None:
    found = page.evaluate(
        """([source, steps]) => {
          const parent = document.createElement("div");
          document.body.append(parent);
          const view = new MarkdownView(parent, new Marks());
          for (let i = 1; i <= steps; i++)
            view.update(source.slice(0, Math.ceil(source.length * i / steps)));
          const nodes = [...parent.querySelectorAll("*")];
          const names = nodes.flatMap((node) => node.getAttributeNames());
          const tags = nodes.map((node) => node.localName);
          parent.remove();
          return { tags, names };
        }""",
        [attack, steps],
    )
    plain = {"p", "a", "figure", "figcaption", "span", "button", "pre", "code", "div", "table",
             "thead", "tbody", "tr", "th", "td", "h3"}  # fmt: skip
    assert set(found["tags"]) <= plain
    allowed = {"href", "target", "rel", "class", "type", "aria-label", "tabindex", "scope"}
    assert set(found["names"]) <= allowed
    page.wait_for_timeout(20)
    assert page.evaluate("window.hacked") is None


LONG = (
    "# Title\n\nSome *text* with `code`\nand more.\n\n- a\n- b\n\n  still b\n  - c\n\n"
    "```py\nx = 1\n\ny = 2\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> quote\n> more\n\n"
    "1. x\n2. y\n\nend"
)


@pytest.mark.parametrize("steps", [2, 5, 31, len(LONG)])
def test_text_that_grows_ends_as_text_that_was_there(page: Page, steps: int) -> None:
    assert render(page, LONG, (), steps) == render(page, LONG)


def test_drafts_are_tinted_inside_markup(page: Page) -> None:
    html = render(page, "ab **cd** `ef`", (0, 1, 1, 5, 2, 100))
    assert html == (
        '<p>a<span class="draft d1">b </span><strong><span class="draft d1">c</span>'
        '<span class="draft d2">d</span></strong><span class="draft d2"> </span>'
        '<code><span class="draft d2">ef</span></code></p>'
    )


def test_indents_are_not_tinted(page: Page) -> None:
    html = render(page, "```\nif x:\n    y\n```", (0, 4, 1, 6, 0, 3, 2, 100))
    assert '<span class="draft d1">if x:</span>\n    <span class="draft d2">y</span>' in html


def test_long_and_crooked_texts_take_no_time(page: Page) -> None:
    for piece in ("**a ", "[", "`", "> ", "- ", "*", "_a_", "![](", "|-", "<", "\\", "h"):
        took = page.evaluate(
            """([source]) => {
              const began = performance.now();
              new MarkdownView(document.createElement("div"), new Marks()).update(source);
              return performance.now() - began;
            }""",
            [piece * 5000],
        )
        assert took < 3000, piece


ALIGN = """([rounds, takes]) => {
  const aligner = new Aligner();
  for (const [accepted, pieces] of rounds) aligner.feed({ accepted, pieces });
  return takes.map((text) => aligner.take(text).join(""));
}"""


def test_tokens_find_their_place_in_the_text(page: Page) -> None:
    def align(rounds: list[object], *takes: str) -> object:
        return page.evaluate(ALIGN, [rounds, list(takes)])

    assert align([[0, ["a"]], [2, ["bc", "d", "e"]]], "abcde") == ["01120"]
    # Text that is held back comes with a later event.
    assert align([[1, ["ab", "c"]], [1, ["d", "e"]]], "a", "bcd", "e") == ["1", "101", "0"]
    # What is not shown is skipped.
    assert align([[2, ["x", "</think>", "\n\n"]], [1, ["y", "z"]]], "x", "yz") == ["1", "10"]
    # Text that no token has is the model's own.
    assert align([[1, ["a", "b"]]], "aéb") == ["100"]


def test_marks_survive_being_kept(page: Page) -> None:
    runs = page.evaluate(
        """() => {
          const marks = new Marks();
          marks.push([0, 0, 1, 2, 2]);
          marks.push(new Array(1000).fill(3));
          const runs = marks.toRuns();
          return [runs, Marks.fromRuns(runs, 1005).toRuns(), Marks.fromRuns([1, 1e12], 7).toRuns()];
        }"""
    )
    assert runs == [[0, 2, 1, 1, 2, 2, 3, 1000], [0, 2, 1, 1, 2, 2, 3, 1000], [1, 7]]
