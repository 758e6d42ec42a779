"""Throughput by streams: what all answers together reach, and whether drafts still pay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from headlong.bench.intervals import geometric_mean
from headlong.bench.page.look import Look
from headlong.bench.page.svg import chart, circle, line, polyline, text, ticks, tip
from headlong.bench.record import Row

__all__ = ["streams_chart"]

_WIDTH: Final = 560
_HEIGHT: Final = 330
_LEFT: Final = 48
_RIGHT: Final = 20
_TOP: Final = 28
_BOTTOM: Final = 46


def streams_chart(rows: Sequence[Row], look: Look) -> str:
    """A line for every arm over the numbers of streams; empty with fewer than two numbers."""
    lines = _totals(rows)
    streams = sorted({count for totals in lines.values() for count in totals})
    if len(streams) < 2:
        return ""
    top = 1.05 * max(total for totals in lines.values() for total in totals.values())
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def at(count: int, total: float) -> tuple[float, float]:
        place = (streams.index(count) + 0.5) / len(streams)
        return _LEFT + wide * place, _TOP + high * (1 - total / top)

    parts = [text(0, 12, "tok/s of all streams", kind="soft")]
    for value in ticks(0, top, 5):
        y = at(streams[0], value)[1]
        parts.append(line(_LEFT, y, _LEFT + wide, y))
        parts.append(text(_LEFT - 8, y + 4, f"{value:g}", kind="soft", anchor="end"))
    for count in streams:
        x = at(count, 0)[0]
        parts.append(text(x, _TOP + high + 18, str(count), kind="soft", anchor="middle"))
    middle = _LEFT + wide / 2
    parts.append(text(middle, _HEIGHT - 6, "streams at once", kind="soft", anchor="middle"))
    for arm, totals in lines.items():
        kind = look.of(arm)
        points = [at(count, total) for count, total in sorted(totals.items())]
        parts.append(polyline(points, kind=f"path {kind}"))
        for (count, total), (x, y) in zip(sorted(totals.items()), points, strict=True):
            told = tip(f"{arm}, {count} at once: {total:.1f} tok/s together")
            parts.append(circle(x, y, 5, kind=f"dot {kind}", inner=told))
    return chart(_WIDTH, _HEIGHT, "tokens per second of all streams by number of streams", parts)


def _totals(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Geometric mean over the workloads, by arm and streams."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.total is not None and row.total.value > 0:
            found[row.arm][row.concurrency].append(row.total.value)
    return {
        arm: {count: geometric_mean(values) for count, values in totals.items()}
        for arm, totals in found.items()
    }
