"""The chat page: its parts joined into one document that asks nobody else for anything."""

from __future__ import annotations

import base64
import functools
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Final

__all__ = ["ChatPage", "chat_page", "page_html"]

_STYLES: Final = ("theme.css", "layout.css", "turns.css", "prose.css")
# In order of use: a script may call what those before it declare.
_SCRIPTS: Final = (
    "page.js", "keep.js", "marks.js", "inline.js", "markdown.js", "server.js", "settings.js",
    "figures.js", "answer.js", "proof.js", "sidebar.js", "connection.js", "app.js",
)  # fmt: skip
_STYLE_MARK: Final = "/* the style sheets */"
_SCRIPT_MARK: Final = "/* the scripts */"


@dataclass(frozen=True, slots=True)
class ChatPage:
    """The document and the headers that belong to it.

    ``content_security_policy`` admits the document's own script and style by their hashes, requests
    to the server it came from, and nothing else.
    """

    html: bytes
    etag: str
    content_security_policy: str


@functools.cache
def chat_page() -> ChatPage:
    """The page, joined once per process."""
    style = "\n".join(_part(name) for name in _STYLES)
    script = '"use strict";\n' + "\n".join(_part(name) for name in _SCRIPTS)
    frame = _part("index.html")
    html = frame.replace(_STYLE_MARK, style, 1).replace(_SCRIPT_MARK, script, 1).encode()
    policy = (
        "default-src 'none'; "
        f"script-src '{_source_hash(script)}'; style-src '{_source_hash(style)}'; "
        "connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return ChatPage(html, f'"{hashlib.sha256(html).hexdigest()[:32]}"', policy)


def page_html() -> bytes:
    """The document alone, UTF-8."""
    return chat_page().html


def _part(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _source_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
