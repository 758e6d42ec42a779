"""The document as the server sends it, looked at without a browser."""

from __future__ import annotations

import base64
import hashlib
import re

from headlong.server.page import chat_page, page_html


def between(tag: str) -> str:
    html = page_html().decode()
    (found,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return str(found)


def test_the_document_is_whole() -> None:
    html = page_html().decode()
    assert html.startswith("<!doctype html>")
    assert html.rstrip().endswith("</html>")
    for mark in ("/* the style sheets */", "/* the scripts */"):
        assert mark not in html
    assert "new App()" in between("script")
    assert ":root" in between("style")


def test_nothing_comes_from_elsewhere() -> None:
    html = page_html().decode()
    assert not re.search(r"<link(?![^>]*href=\"data:)", html)
    assert not re.search(r"<(script|img|iframe|object|embed)\s[^>]*src", html)
    assert "@import" not in html
    assert "url(" not in between("style")


def test_there_is_no_way_from_text_to_markup() -> None:
    script = between("script")
    for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert name not in script


def test_the_policy_admits_this_script_and_this_style_only() -> None:
    policy = chat_page().content_security_policy
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(between(tag).encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert " style=" not in page_html().decode(), "the policy blocks style attributes"


def test_the_tag_belongs_to_the_bytes() -> None:
    page = chat_page()
    assert re.fullmatch(r'"[0-9a-f]{32}"', page.etag)
    assert page.etag.strip('"') == hashlib.sha256(page.html).hexdigest()[:32]
    assert chat_page() is page
