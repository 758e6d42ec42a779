"""Speed by mode: a bar for every arm and workload, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headlong.bench.page.look import Look, band_text, number
from headlong.bench.page.svg import CHARACTER, chart, line, rect, text, ticks, tip
from headlong.bench.record import Row

__all__ = ["speed_chart"]

_WIDTH: Final = 720
_ROW: Final = 24
_BAR: Final = 15
_HEAD: Final = 30
_FOOT: Final = 26
_ROOM: Final = 118
"""Pixels behind the longest bar, for its figures."""


def speed_chart(rows: Sequence[Row], look: Look) -> str:
    """Decode tok/s as bars, end-to-end tok/s as a tick in each; empty without figures."""
    shown = [row for row in rows if row.decode is not None]
    if not shown:
        return ""
    left = 16 + CHARACTER * max(len(row.arm) for row in shown)
    top = max(max(row.decode.high or row.decode.value for row in shown if row.decode), 1e-9)
    scale = (_WIDTH - left - _ROOM) / top
    parts: list[str] = []
    y = 0.0
    workloads = list(dict.fromkeys(row.workload for row in shown))
    height = len(shown) * _ROW + len(workloads) * _HEAD + _FOOT
    for value in ticks(0, top, 6):
        x = left + value * scale
        parts.append(line(x, 8, x, height - _FOOT + 4))
        parts.append(text(x, height - 8, f"{value:g}", kind="soft", anchor="middle"))
    for workload in workloads:
        parts.append(text(0, y + 20, workload, kind="strong"))
        y += _HEAD
        for row in (one for one in shown if one.workload == workload):
            parts += _bar(row, look, left, y, scale)
            y += _ROW
    return chart(_WIDTH, height, "decode tokens per second by mode and workload", parts)


def _bar(row: Row, look: Look, left: float, y: float, scale: float) -> list[str]:
    assert row.decode is not None
    band, middle = row.decode, y + _ROW / 2
    told = f"{row.arm}, {row.workload}: {band_text(band)} tok/s decode"
    if row.e2e is not None:
        told += f", {number(row.e2e.value)} end to end"
    width = band.value * scale
    parts = [
        text(left - 8, middle + 4, row.arm, anchor="end"),
        rect(
            left, middle - _BAR / 2, width, _BAR,
            kind=f"bar {look.of(row.arm)}", inner=tip(told), radius=2,
        ),
    ]  # fmt: skip
    if row.e2e is not None:
        x = left + row.e2e.value * scale
        parts.append(line(x, middle - _BAR / 2, x, middle + _BAR / 2, kind="notch"))
    end = width
    if band.low is not None and band.high is not None:
        low, high = left + band.low * scale, left + band.high * scale
        end = max(end, band.high * scale)
        parts.append(line(low, middle, high, middle, kind="whisker"))
        parts += [line(x, middle - 4, x, middle + 4, kind="whisker") for x in (low, high)]
    figures = number(band.value)
    x = left + end + 8
    parts.append(text(x, middle + 4, figures, kind="strong"))
    if row.speedup is not None:
        gain = f"{row.speedup.value:.2f}×"
        parts.append(text(x + CHARACTER * len(figures) + 14, middle + 4, gain, kind="soft"))
    return parts
