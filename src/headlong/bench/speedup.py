"""Why speculation gains what it gains: speed-up = L / C.

L is tokens per verify step, a matter of the model, its head and the text.  C is what a speculative
step costs in plain steps, a matter of the engine and the machine.  C is measured as a ratio of
times between steps, L by the server's counts where it tells them, so that their quotient predicts
the speed-up independently of the decode rates; a gap between both is worth knowing.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headlong.bench.intervals import Estimate, ratio_estimate
from headlong.bench.metrics import Metrics

__all__ = ["Pair", "Speedup", "diagnosis", "speedup_of"]

_MISMATCH: Final = 0.08
"""Relative gap between predicted and observed above which something is off."""
_EVEN: Final = 0.02
"""Speed-ups closer to 1 than this are none."""

# Shares of drafts that are accepted, (L - 1) / n, and cost of a draft token in plain steps,
# (C - 1) / n, where n is how long drafts were on average.  Published runs of n = 2: 0.73 to 0.86
# and 0.29 to 0.38.
_GOOD_DRAFTS: Final = 0.65
_POOR_DRAFTS: Final = 0.4
_CHEAP_DRAFT: Final = 0.15
_DEAR_DRAFT: Final = 0.3


@dataclass(frozen=True, slots=True)
class Pair:
    """The same prompt, answered plain and with drafts, close in time."""

    base: Metrics
    spec: Metrics


@dataclass(frozen=True, slots=True)
class Speedup:
    """What drafts brought over some pairs of answers.

    Args:
        observed: ratio of decode rates, paired.
        end_to_end: ratio of end-to-end rates, paired.
        tokens_per_step: L.
        step_cost: C, a step with drafts by a plain one; None where steps could not be told apart.
        predicted: L / C.
        draft: longest draft that was asked for; None where the server chose.
        drafted_per_step: mean length of the drafts that were made; None where it does not say.
        acceptance: accepted by drafted.
        pairs: how many.
    """

    observed: Estimate
    end_to_end: Estimate
    tokens_per_step: float | None
    step_cost: float | None
    predicted: float | None
    draft: int | None
    drafted_per_step: float | None
    acceptance: float | None
    pairs: int

    @property
    def mismatch(self) -> float | None:
        """Observed by predicted, less 1; None where nothing was predicted."""
        return self.observed.value / self.predicted - 1 if self.predicted else None


def speedup_of(pairs: Sequence[Pair], draft: int | None = None) -> Speedup | None:
    """From pairs of which both answers have a decode rate; None where there are none."""
    whole = [p for p in pairs if p.base.decode_rate and p.spec.decode_rate]
    if not whole:
        return None
    observed = ratio_estimate(
        [p.base.decode_rate or 0.0 for p in whole], [p.spec.decode_rate or 0.0 for p in whole]
    )
    ends = [p for p in whole if p.base.e2e_rate and p.spec.e2e_rate]
    end_to_end = ratio_estimate(
        [p.base.e2e_rate or 0.0 for p in ends], [p.spec.e2e_rate or 0.0 for p in ends]
    )
    tokens_per_step = _tokens_per_step([p.spec for p in whole])
    step_cost = _step_cost(whole)
    predicted = tokens_per_step / step_cost if tokens_per_step and step_cost else None
    made = sum(p.spec.draft_n or 0 for p in whole)
    accepted = sum(p.spec.accepted or 0 for p in whole)
    return Speedup(
        observed,
        end_to_end,
        tokens_per_step,
        step_cost,
        predicted,
        draft,
        _drafted_per_step([p.spec for p in whole]),
        accepted / made if made else None,
        len(whole),
    )


def _tokens_per_step(answers: Sequence[Metrics]) -> float | None:
    """Over all steps; the server's count wins, for a client may merge two steps."""
    pairs = [
        (m.tokens - 1, each)
        for m in answers
        if (each := m.server_tokens_per_step or m.tokens_per_step) is not None and m.tokens > 1
    ]
    steps = sum(tokens / each for tokens, each in pairs)
    return sum(tokens for tokens, _ in pairs) / steps if steps else None


def _drafted_per_step(answers: Sequence[Metrics]) -> float | None:
    """A server may draft less than it is allowed to, where it is unsure."""
    told = [m for m in answers if m.draft_n and m.accepted is not None]
    steps = sum(m.tokens - 1 - (m.accepted or 0) for m in told)
    return sum(m.draft_n or 0 for m in told) / steps if steps > 0 else None


def _step_cost(pairs: Sequence[Pair]) -> float | None:
    """Median over pairs of the median times between steps."""
    ratios = [
        p.spec.step_gap_p50 / p.base.step_gap_p50
        for p in pairs
        if p.spec.step_gap_p50 and p.base.step_gap_p50
    ]
    return statistics.median(ratios) if ratios else None


def diagnosis(speedup: Speedup) -> str:
    """One sentence: what limits the speed-up."""
    tokens, cost, draft = speedup.tokens_per_step, speedup.step_cost, speedup.draft
    if tokens is None or cost is None:
        return "steps cannot be told apart in this stream, so the cause of the speed-up is unknown."
    if tokens < 1 + _EVEN:
        return "no draft was accepted, or none made: every step gave one token."
    facts = f"L {tokens:.2f}, C {cost:.2f}"
    off = speedup.mismatch
    if off is not None and abs(off) > _MISMATCH:
        return (
            f"{facts} predict {speedup.predicted:.2f}x, but {speedup.observed.value:.2f}x was "
            f"observed: look for stalls, a changing clock, or another program on the machine."
        )
    length = speedup.drafted_per_step or draft or max(1, round(tokens + 0.5) - 1)
    share, price = (tokens - 1) / length, (cost - 1) / length
    quality = "good" if share >= _GOOD_DRAFTS else "poor" if share < _POOR_DRAFTS else "fair"
    dearness = "cheap" if price <= _CHEAP_DRAFT else "dear" if price > _DEAR_DRAFT else "fair"
    told = f"drafts {quality} (L {tokens:.2f}), step {dearness} (C {cost:.2f})"
    return f"{told}: {_limit(tokens, cost, length, quality, dearness)}"


def _limit(tokens: float, cost: float, length: float, quality: str, dearness: str) -> str:
    if cost >= tokens:
        return "a step costs more than it gives, so drafts slow this server down."
    if dearness == "dear" and quality != "poor":
        cheaper = 1 + _CHEAP_DRAFT * length
        return (
            f"bound by the engine; a step of {cheaper:.2f} plain steps would give "
            f"{tokens / cheaper:.2f}x."
        )
    if quality == "poor":
        return (
            "bound by the drafts; a shorter draft or a better head helps more than a faster step."
        )
    if quality == "good" and dearness == "cheap":
        return "near what this draft length can give; a longer draft may give more."
    return "neither stands out; a sweep over draft lengths tells which helps."
