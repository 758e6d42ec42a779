"""Acceptance by depth: how many drafts of each depth were right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from headlong.bench.page.look import Look
from headlong.bench.page.svg import chart, circle, line, polyline, text, tip
from headlong.bench.record import Row

__all__ = ["depth_chart"]

_WIDTH: Final = 460
_HEIGHT: Final = 300
_LEFT: Final = 44
_RIGHT: Final = 110
_TOP: Final = 12
_BOTTOM: Final = 42
_APART: Final = 14.0
"""Pixels between two labels, at least."""


def depth_chart(rows: Sequence[Row], look: Look) -> str:
    """A line for every arm whose server tells acceptance by depth; empty without any."""
    lines = {arm: shares for arm, shares in _shares(rows).items() if shares}
    if not lines:
        return ""
    deepest = max(depth for shares in lines.values() for depth in shares)
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x_of(depth: int) -> float:
        return _LEFT + wide * ((depth - 1) / (deepest - 1) if deepest > 1 else 0.5)

    def y_of(share: float) -> float:
        return _TOP + high * (1 - share)

    parts = []
    for percent in (0, 25, 50, 75, 100):
        y = y_of(percent / 100)
        parts.append(line(_LEFT, y, _LEFT + wide, y))
        parts.append(text(_LEFT - 8, y + 4, f"{percent} %", kind="soft", anchor="end"))
    for depth in range(1, deepest + 1):
        parts.append(text(x_of(depth), _TOP + high + 18, str(depth), kind="soft", anchor="middle"))
    parts.append(text(_LEFT + wide / 2, _HEIGHT - 6, "depth of the draft", kind="soft",
                      anchor="middle"))  # fmt: skip
    ends = []
    for arm, shares in lines.items():
        kind = look.of(arm)
        points = [(x_of(depth), y_of(share)) for depth, share in sorted(shares.items())]
        parts.append(polyline(points, kind=f"path {kind}"))
        for (depth, share), (x, y) in zip(sorted(shares.items()), points, strict=True):
            told = tip(f"{arm}, depth {depth}: {100 * share:.1f} % accepted")
            parts.append(circle(x, y, 4, kind=f"dot {kind}", inner=told))
        ends.append((points[-1][1], points[-1][0], arm))
    parts += _labels(ends)
    return chart(_WIDTH, _HEIGHT, "share of drafts accepted by depth", parts)


def _shares(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Over all workloads, by arm and depth."""
    drafted: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    accepted: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        for one in row.by_depth:
            drafted[row.arm][one.depth] += one.drafted
            accepted[row.arm][one.depth] += one.accepted
    return {
        arm: {depth: accepted[arm][depth] / count for depth, count in depths.items() if count}
        for arm, depths in drafted.items()
    }


def _labels(ends: list[tuple[float, float, str]]) -> list[str]:
    """Names behind the lines' ends, pushed apart."""
    parts = []
    free = float("-inf")
    for y, x, arm in sorted(ends):
        free = max(y, free + _APART)
        parts.append(text(x + 9, free + 4, arm))
    return parts
