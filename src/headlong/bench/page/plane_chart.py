"""The plane of L and C: what drafts give against what steps cost, with lines of equal speed-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headlong.bench.page.look import Look
from headlong.bench.page.published import Published
from headlong.bench.page.svg import chart, circle, line, text, ticks, tip
from headlong.bench.record import Row

__all__ = ["plane_chart"]

_WIDTH: Final = 560
_HEIGHT: Final = 390
_LEFT: Final = 36
_RIGHT: Final = 48
_TOP: Final = 36
_BOTTOM: Final = 46
_SPEEDUPS: Final = (0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)


def plane_chart(rows: Sequence[Row], published: Sequence[Published], look: Look) -> str:
    """A point for every row with L and C, hollow ones for published results; empty without any."""
    own = [(row.step_cost, row.tokens_per_step, row) for row in rows]
    points = [(c, steps, row) for c, steps, row in own if c and steps]
    others = [(one.step_cost, one.tokens_per_step, one) for one in published]
    hollow = [(c, steps, one) for c, steps, one in others if c and steps]
    if not points:
        return ""
    costs = [c for c, _, _ in [*points, *hollow]]
    lengths = [steps for _, steps, _ in [*points, *hollow]]
    x0, x1 = min(0.95, min(costs) - 0.05), max(2.0, max(costs) + 0.15)
    y0, y1 = 1.0, max(3.0, max(lengths) + 0.3)
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def at(cost: float, length: float) -> tuple[float, float]:
        return (
            _LEFT + wide * (cost - x0) / (x1 - x0),
            _TOP + high * (1 - (length - y0) / (y1 - y0)),
        )

    parts = []
    for value in ticks(x0, x1, 5):
        x, _ = at(value, y0)
        parts.append(text(x, _TOP + high + 18, f"{value:g}", kind="soft", anchor="middle"))
    for value in ticks(y0, y1, 5):
        _, y = at(x0, value)
        parts.append(text(_LEFT - 8, y + 4, f"{value:g}", kind="soft", anchor="end"))
    parts.append(line(_LEFT, _TOP + high, _LEFT + wide, _TOP + high, kind="axis"))
    parts.append(line(_LEFT, _TOP, _LEFT, _TOP + high, kind="axis"))
    for gain in _SPEEDUPS:
        ends = _clipped(gain, x0, x1, y0, y1)
        if ends is None:
            continue
        (ax, ay), (bx, by) = (at(*end) for end in ends)
        parts.append(line(ax, ay, bx, by, kind="even" if gain == 1 else "iso"))
        above = by <= _TOP + 1
        parts.append(
            text(bx + (0 if above else 5), by - 4 if above else by + 4, f"{gain:g}×", kind="soft",
                 anchor="middle" if above else "start")
        )  # fmt: skip
    for cost, length, one in hollow:
        told = f"published: {one.source.short}, {one.workload}, {one.mode}: "
        told += f"L {length:.2f}, C {cost:.2f}, {length / cost:.2f}×"
        parts.append(circle(*at(cost, length), 4, kind="hollow", inner=tip(told)))
    for cost, length, row in points:
        told = f"{row.arm}, {row.workload}: L {length:.2f}, C {cost:.2f}"
        if row.speedup is not None:
            told += f", {row.speedup.value:.2f}× observed, {length / cost:.2f}× = L / C"
        parts.append(circle(*at(cost, length), 6, kind=f"dot {look.of(row.arm)}", inner=tip(told)))
    parts.append(text(_LEFT + wide / 2, _HEIGHT - 8, "C: cost of a step, in plain steps",
                      kind="soft", anchor="middle"))  # fmt: skip
    parts.append(text(0, 12, "L: tokens per step", kind="soft"))
    return chart(_WIDTH, _HEIGHT, "tokens per step against cost of a step", parts)


def _clipped(
    gain: float, x0: float, x1: float, y0: float, y1: float
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The part of L = gain · C that lies in the frame."""
    low, high = max(x0, y0 / gain), min(x1, y1 / gain)
    if low >= high:
        return None
    return (low, gain * low), (high, gain * high)
