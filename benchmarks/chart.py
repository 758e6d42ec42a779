"""A bar for every engine and mode, as SVG: no library, no fonts, readable on light and dark."""

from __future__ import annotations

from benchmarks.record import HEADLONG, ArmResult, Report
from benchmarks.svg import picture, text

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 760, 190, 150, 74, 26
_OURS, _THEIRS = "#2f6fdb", "#9aa3af"


def draw(report: Report) -> str:
    """Decoding speed of all arms, whiskers from the lower to the upper end of the interval."""
    arms = [arm for engine in report.engines() for arm in report.of(engine)]
    most = max(arm.rates.interval()[1] for arm in arms)
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    height = _TOP + _ROW * len(arms) + 20
    plain = report.plain(HEADLONG)
    base = plain.rates.median if plain is not None else None
    return picture(
        _WIDTH,
        height,
        f"{report.file.name}: tokens per second",
        _caption(report),
        [_bar(arm, _TOP + _ROW * i, scale, base) for i, arm in enumerate(arms)],
    )


def _caption(report: Report) -> str:
    machine, settings = report.machine, report.settings
    words = f"{machine['processor']}, {settings.threads} threads; {settings.tokens} tokens, greedy"
    if report.file.accept is None:
        return words
    return f"{words}; made-up weights, {100 * report.file.accept:.0f} % of drafts right by choice"


def _bar(arm: ArmResult, y: int, scale: float, base: float | None) -> str:
    rates = arm.rates
    low, high = rates.interval()
    width, middle = rates.median * scale, y + _ROW // 2 - 3
    ours = arm.engine == HEADLONG
    label = f"{rates.median:.1f}"
    if ours and base is not None and rates.median != base:
        label += f"  ({rates.median / base:.2f} x plain)"
    return (
        text(_LEFT - 10, middle + 4, f"{arm.engine} {arm.mode}", anchor="end")
        + f"<rect x='{_LEFT}' y='{y}' width='{width:.1f}' height='{_ROW - 8}' rx='2' "
        f"fill='{_OURS if ours else _THEIRS}'/>"
        f"<line x1='{_LEFT + low * scale:.1f}' x2='{_LEFT + high * scale:.1f}' y1='{middle}' "
        f"y2='{middle}' stroke='#24292f' stroke-width='1.5'/>"
        + text(_LEFT + high * scale + 8, middle + 4, label)
    )
