"""Speed by mode: a bar for every arm and workload, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headlong.bench.page.look import Look, band_text, number
from headlong.bench.page.svg import CHARACTER, chart, line, rect, text, ticks, tip
from headlong.bench.record import Row

__all__ = ["speed_chart"]

_WIDTH: Final = 580
_ROW: Final = 23
_BAR: Final = 14
_HEAD: Final = 30
_FOOT: Final = 24
_ROOM: Final = 104
"""Pixels behind the longest bar, for its figures."""


def speed_chart(rows: Sequence[Row], look: Look) -> str:
    """Decode tok/s as bars, end-to-end tok/s as a notch in each; empty without figures.

    A panel for every workload, all on one scale.
    """
    shown = [row for row in rows if row.decode is not None]
    if not shown:
        return ""
    left = 16 + CHARACTER * max(len(row.arm) for row in shown)
    top = max(max(row.decode.high or row.decode.value for row in shown if row.decode), 1e-9)
    workloads = list(dict.fromkeys(row.workload for row in shown))
    panels = (
        _panel([row for row in shown if row.workload == one], look, left, top) for one in workloads
    )
    return f'<div class="panels">{"".join(panels)}</div>'


def _panel(rows: Sequence[Row], look: Look, left: float, top: float) -> str:
    scale = (_WIDTH - left - _ROOM) / top
    height = _HEAD + len(rows) * _ROW + _FOOT
    parts = [text(0, 19, rows[0].workload, kind="strong")]
    for value in ticks(0, top, 6):
        x = left + value * scale
        parts.append(line(x, _HEAD - 4, x, height - _FOOT + 4))
        parts.append(text(x, height - 6, f"{value:g}", kind="soft", anchor="middle"))
    for place, row in enumerate(rows):
        parts += _bar(row, look, left, _HEAD + place * _ROW, scale)
    label = f"decode tokens per second by mode, {rows[0].workload}"
    return chart(_WIDTH, height, label, parts)


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
