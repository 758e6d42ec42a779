"""SVG by hand, in the page's own colours: no library, no fonts, light and dark alike."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from math import ceil, floor, log10
from typing import Final

__all__ = ["CHARACTER", "chart", "circle", "line", "polyline", "rect", "text", "ticks", "tip"]

CHARACTER: Final = 6.4
"""Width of a character at 12 px, roughly: for room beside labels."""


def chart(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    """A drawing of that many pixels; `label` is what a screen reader says."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{escape(label)}">' + "".join(parts) + "</svg>"
    )


def text(x: float, y: float, words: str, *, kind: str = "", anchor: str = "start") -> str:
    """Words whose baseline begins (or ends, or is centred) at x, y."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, *, kind: str = "grid") -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def rect(
    x: float, y: float, width: float, height: float, *, kind: str = "", inner: str = "",
    radius: float = 0.0,
) -> str:  # fmt: skip
    """A rectangle; `inner` is its tip."""
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(0.0, width):.2f}" height="{height:.2f}" '
        f'rx="{radius:g}" class="{kind}">{inner}</rect>'
    )


def circle(x: float, y: float, radius: float, *, kind: str = "", inner: str = "") -> str:
    """A point; `inner` is its tip."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{kind}">{inner}</circle>'


def polyline(points: Iterable[tuple[float, float]], *, kind: str = "") -> str:
    """A line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" class="{kind}"/>'


def tip(words: str) -> str:
    """What is told when the pointer rests on a mark."""
    return f"<title>{escape(words)}</title>"


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers between both, in steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / max(1, count)
    if rough <= 0:
        return [low]
    power = 10 ** floor(log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, floor(high / step + 1e-9) + 1)]
