"""The time line of steps: what a reader sees come in, one answer of each arm below the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from headlong.bench.metrics import Arrival, merge_steps
from headlong.bench.page.svg import CHARACTER, chart, line, rect, text, ticks, tip
from headlong.bench.record import Sample

__all__ = ["MOST_TOKENS", "timeline"]

MOST_TOKENS: Final = 5
"""Steps of so many tokens or more look alike."""

_WIDTH: Final = 1200
_ROW: Final = 32
_STRIP: Final = 20
_TOP: Final = 6
_FOOT: Final = 30
_ROOM: Final = 110
_MOST_ROWS: Final = 10


@dataclass(frozen=True, slots=True)
class _Step:
    start: float  # seconds since the first token
    end: float
    tokens: float


def timeline(samples: Sequence[Sample]) -> str:
    """A strip for every sample, at most ten; empty without steps.

    Each block is a step: its width is the wait for it, its colour the tokens that came with it.
    """
    strips = [(one, _steps(one)) for one in samples[:_MOST_ROWS]]
    strips = [(one, steps) for one, steps in strips if steps]
    if not strips:
        return ""
    left = 16 + CHARACTER * max(len(one.arm) for one, _ in strips)
    longest = max(steps[-1].end for _, steps in strips)
    scale = (_WIDTH - left - _ROOM) / longest
    height = _TOP + _ROW * len(strips) + _FOOT
    parts = []
    for value in ticks(0, longest, 8):
        x = left + value * scale
        parts.append(line(x, _TOP, x, height - _FOOT + 4))
        label = f"{value:g} s"
        parts.append(text(x, height - 10, label, kind="soft", anchor="middle"))
    for number, (one, steps) in enumerate(strips):
        y = _TOP + number * _ROW + (_ROW - _STRIP) / 2
        parts.append(text(left - 8, y + _STRIP / 2 + 4, one.arm, anchor="end"))
        gap = 0.5 if len(steps) < 250 else 0.0
        for step in steps:
            shade = min(MOST_TOKENS, max(1, round(step.tokens)))
            told = tip(
                f"{one.arm}: {round(step.tokens)} "
                f"{'token' if round(step.tokens) == 1 else 'tokens'} after "
                f"{1e3 * (step.end - step.start):.0f} ms"
            )
            width = (step.end - step.start) * scale - gap
            parts.append(
                rect(left + step.start * scale, y, width, _STRIP, kind=f"step n{shade}", inner=told)
            )
        end = f"{one.decode_rate:.1f} tok/s" if one.decode_rate else ""
        x = left + steps[-1].end * scale + 8
        parts.append(text(x, y + _STRIP / 2 + 4, end, kind="strong"))
    return chart(_WIDTH, height, "time line of steps", parts)


def _steps(sample: Sample) -> list[_Step]:
    """Merged as the metrics merge them; tokens of events that do not say are shared out."""
    told = sum(n or 0 for n in sample.n)
    share = sample.tokens / len(sample.t) if sample.t else 0.0
    counts = [float(n or 0) for n in sample.n] if told == sample.tokens else [share] * len(sample.t)
    merged = merge_steps([Arrival(t, n) for t, n in zip(sample.t, counts, strict=True)])
    if len(merged) < 2:
        return []
    first = merged[0].t
    return [_Step(a.t - first, b.t - first, b.tokens) for a, b in pairwise(merged)]
