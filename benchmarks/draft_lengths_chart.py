"""A panel for every file: speed by draft length, and the line that `auto` reached, as SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.svg import SOFT, picture, text

from headlong.tools.samples import Samples

if TYPE_CHECKING:
    from benchmarks.draft_lengths import FileLengths, Report

_WIDTH, _HEIGHT, _GAP, _LEFT, _TOP, _FOOT = 190, 210, 18, 56, 106, 44
_AUTO, _FIXED, _BEST, _INK = "#2f6fdb", "#9aa3af", "#4b5563", "#24292f"


def draw(report: Report) -> str:
    """Panels side by side on one scale; dots are medians, bars their 95 % intervals."""
    most = max(max(one.rates) for file in report.files for one in file.lengths)
    step = _step(most)
    top = step * -(-most // step)
    panels = "\n".join(
        _panel(file, _LEFT + i * (_WIDTH + _GAP), top) for i, file in enumerate(report.files)
    )
    width = _LEFT + len(report.files) * (_WIDTH + _GAP) + 8
    height = _TOP + _HEIGHT + _FOOT
    machine = report.machine
    caption = (
        f"{machine['processor']}, {machine['threads']} threads, greedy; same prompts, in turns"
    )
    ticks = "".join(
        text(_LEFT - 8, _y(value, top) + 4, f"{value:g}", size=11, fill=SOFT, anchor="end")
        for value in _values(step, top)
    )
    heading = "Tokens per second by draft length"
    return picture(width, height, heading, caption, [ticks, panels])


def _panel(file: FileLengths, left: int, top: float) -> str:
    fixed = file.lengths[:-1]
    slot = _WIDTH / len(fixed)
    title = file.name.removesuffix(".gguf")
    if file.accept is not None:
        title = f"{100 * file.accept:.0f} % of drafts right"
    best, plain = file.ratio(file.best), file.ratio(file.lengths[0])
    y, (low, high) = _y(file.auto.median, top), Samples(file.auto.rates).interval()
    marks = []
    for index, one in enumerate(fixed):
        x = left + slot * (index + 0.5)
        lower, upper = Samples(one.rates).interval()
        colour = _BEST if one is file.best else _FIXED
        marks.append(
            f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{_y(lower, top):.1f}' y2='{_y(upper, top):.1f}' "
            f"stroke='{colour}' stroke-width='2'/>"
            f"<circle cx='{x:.1f}' cy='{_y(one.median, top):.1f}' r='4' fill='{colour}'/>"
            + text(x, _TOP + _HEIGHT + 16, str(one.draft), size=11, fill=SOFT, anchor="middle")
        )
    grid = "".join(
        f"<line x1='{left}' x2='{left + _WIDTH}' y1='{_y(value, top):.1f}' "
        f"y2='{_y(value, top):.1f}' stroke='#e5e7eb'/>"
        for value in _values(_step(top), top)
    )
    band = max(1.0, _y(low, top) - _y(high, top))
    return (
        text(left, _TOP - 28, title, weight="600")
        + text(left, _TOP - 12, f"auto: {plain.median:.2f} x plain, {best.median:.3f} x best",
               size=11, fill=_AUTO)
        + grid
        + f"<rect x='{left}' width='{_WIDTH}' y='{_y(high, top):.1f}' height='{band:.1f}' "
        f"fill='{_AUTO}' fill-opacity='0.18'/>"
        f"<line x1='{left}' x2='{left + _WIDTH}' y1='{y:.1f}' y2='{y:.1f}' stroke='{_AUTO}' "
        "stroke-width='2'/>"
        + "".join(marks)
        + text(left + _WIDTH / 2, _TOP + _HEIGHT + 34, "draft length n", size=11, fill=SOFT,
               anchor="middle")
    )  # fmt: skip


def _y(value: float, top: float) -> float:
    return _TOP + _HEIGHT * (1 - value / top)


def _step(most: float) -> float:
    """A round distance of some five grid lines."""
    size = 10.0 ** len(str(int(most))) / 100
    return next(size * m for m in (1, 2, 5, 10, 20, 50, 100) if size * m * 6 >= most)


def _values(step: float, top: float) -> list[float]:
    return [step * i for i in range(round(top / step) + 1)]
