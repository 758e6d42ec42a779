"""What all pictures share: a white sheet with a heading and a caption, and words on it.

SVG by hand: no library, no fonts, readable on light and dark.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_FONT = "font-family='system-ui, sans-serif'"
SOFT = "#57606a"
"""Colour of words that explain."""


def picture(width: int, height: int, heading: str, caption: str, parts: Iterable[str]) -> str:
    """A sheet; ``parts`` are drawn below heading and caption, which end at y = 54."""
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' "
            f"width='{width}' height='{height}' role='img'>",
            f"<title>{escape(heading)}</title>",
            f"<rect width='{width}' height='{height}' rx='6' fill='#ffffff'/>",
            text(16, 28, heading, size=16, weight="600"),
            text(16, 50, caption, size=12, fill=SOFT),
            *parts,
            "</svg>",
            "",
        ]
    )


def text(
    x: float, y: float, words: str, *, size: int = 13, weight: str = "400",
    fill: str = "#24292f", anchor: str = "start",
) -> str:  # fmt: skip
    return (
        f"<text x='{x:.1f}' y='{y}' {_FONT} font-size='{size}' font-weight='{weight}' "
        f"fill='{fill}' text-anchor='{anchor}'>{escape(words)}</text>"
    )
