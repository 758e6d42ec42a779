"""Acceptance by depth: how many drafts of each depth were right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import floor
from typing import Final

from headlong.bench.page.look import Look
from headlong.bench.page.svg import chart, circle, line, polyline, text, ticks, tip
from headlong.bench.record import Row

__all__ = ["depth_chart"]

_WIDTH: Final = 560
_HEIGHT: Final = 330
_LEFT: Final = 48
_RIGHT: Final = 20
_TOP: Final = 14
_BOTTOM: Final = 46
_LEAST: Final = 10
"""Drafts of a depth below which their share says little."""
_MARGIN: Final = 0.1
"""Share below the lowest point that is shown."""


def depth_chart(rows: Sequence[Row], look: Look) -> str:
    """A line for every arm whose server tells acceptance by depth; empty without any."""
    lines = {arm: shares for arm, shares in _shares(rows).items() if shares}
    if not lines:
        return ""
    deepest = max(depth for shares in lines.values() for depth in shares)
    least = min(share for shares in lines.values() for share in shares.values())
    bottom = max(0, floor((least - _MARGIN) * 4)) / 4  # a quarter below the lowest point
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x_of(depth: int) -> float:
        return _LEFT + wide * (depth - 0.5) / deepest

    def y_of(share: float) -> float:
        return _TOP + high * (1 - share) / (1 - bottom)

    parts = []
    for share in ticks(bottom, 1.0, 5):
        y = y_of(share)
        parts.append(line(_LEFT, y, _LEFT + wide, y))
        parts.append(text(_LEFT - 8, y + 4, f"{100 * share:.0f} %", kind="soft", anchor="end"))
    for depth in range(1, deepest + 1):
        parts.append(text(x_of(depth), _TOP + high + 18, str(depth), kind="soft", anchor="middle"))
    parts.append(
        text(_LEFT + wide / 2, _HEIGHT - 6, "depth of the draft", kind="soft", anchor="middle")
    )
    for arm, shares in lines.items():
        kind = look.of(arm)
        points = [(x_of(depth), y_of(share)) for depth, share in sorted(shares.items())]
        parts.append(polyline(points, kind=f"path {kind}"))
        for (depth, share), (x, y) in zip(sorted(shares.items()), points, strict=True):
            told = tip(f"{arm}, depth {depth}: {100 * share:.1f} % accepted")
            parts.append(circle(x, y, 5, kind=f"dot {kind}", inner=told))
    return chart(_WIDTH, _HEIGHT, "share of drafts accepted by depth", parts)


def _shares(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Over all workloads, by arm and depth, where there were drafts enough to tell."""
    drafted: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    accepted: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        for one in row.by_depth:
            drafted[row.arm][one.depth] += one.drafted
            accepted[row.arm][one.depth] += one.accepted
    return {
        arm: {
            depth: accepted[arm][depth] / count
            for depth, count in depths.items()
            if count >= _LEAST
        }
        for arm, depths in drafted.items()
    }
