"""What passes cost on this machine with this model, measured before the first request.

Rounds as they will be lived, on a sequence that is thrown away: drafts, a pass over them and one
row, all of them accepted and folded into the state by the next.  Live rounds refine the table;
these first figures only keep early choices from being blind.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Generic

import numpy as np

from headlong.cache.memory import Cache
from headlong.cache.pages import Lease
from headlong.engine.context_cost import measure_context
from headlong.models.qwen35 import Qwen35
from headlong.ops.batch import Batch, FloatArray, Segment
from headlong.ops.protocol import W
from headlong.speculation.costs import CostRecord, CostTable
from headlong.speculation.drafter import Drafter, DraftRequest, DraftTimes, DraftTrack, likeliest

ROWS = (8, 4, 2, 1)
"""Falling, so that every pass but the first has as many rows to fold as if all were accepted."""
BEST = 40
"""Logits looked for after a pass: what default sampling asks for."""

BUDGET = 0.5
"""Seconds after which no further repetition starts: a slow model is measured once."""
REPEATS = 30
SETTLED = 5
"""Live samples that what is measured here counts for."""
SHORT = 0.01
"""Seconds of a first pass below which all row counts are run once, uncounted: recording a shape
takes a millisecond or so, which is nothing to a large model, and several rounds of a tiny one."""
CHECKED_ROWS = (4, 1)
CHECKS = 2
"""What is measured again where costs are known: enough to see how fast the machine is today."""
SPREAD = 2.0
"""Known costs are believed while passes and drafts take times that lie within this factor of each
other, compared with what was known."""


@dataclass(frozen=True, slots=True)
class Measured(Generic[W]):
    """What is measured.  ``forward`` is the engine's own: what it records here is ready for use."""

    trunk: Qwen35[W]
    forward: Callable[[Batch], FloatArray]
    drafter: Drafter
    cache: Cache


def find_costs(model: Measured[W], known: CostRecord | None) -> CostTable:
    """The costs that are known, at today's speed; measured where they are not, or no more true."""
    if known is not None:
        found = check_costs(model, known)
        if found is not None:
            return found
    return measure_costs(model)


def measure_costs(model: Measured[W]) -> CostTable:
    """Time passes, drafts and attention; the table holds at least one sample of each."""
    cache = model.cache
    costs = CostTable(measure_context(model.trunk, cache))
    lease = cache.lease()
    try:
        deadline = time.perf_counter() + BUDGET
        rounds = _Rounds(model, lease)
        passes: dict[int, list[float]] = {rows: [] for rows in ROWS}
        first: list[float] = []
        chained: list[float] = []
        for repeat in range(REPEATS):
            if repeat and time.perf_counter() > deadline:
                break
            for rows in ROWS:
                seconds, times = rounds.run(rows)
                passes[rows].append(seconds)
                if times is not None:
                    first.append(times.first)
                    chained += times.chained
    finally:
        cache.release(lease)
    for _ in range(SETTLED):
        for rows, samples in passes.items():
            costs.observe_pass(rows, _typical(samples), rows, live=False)
        costs.observe_draft(_typical(first), [_typical(chained)])
    return costs


def _typical(samples: list[float]) -> float:
    """The median of the faster half: whatever else the machine does can only add."""
    return median(sorted(samples)[: (len(samples) + 1) // 2])


def check_costs(model: Measured[W], known: CostRecord) -> CostTable | None:
    """A few rounds: the known costs at today's speed, or None if they are not true any more."""
    expected = CostTable.of(replace(known, sampling=0.0))  # these passes are not sampled
    ratios: list[list[float]] = [[], []]  # of passes, of drafts
    cache = model.cache
    lease = cache.lease()
    try:
        rounds = _Rounds(model, lease)
        for _ in range(CHECKS):
            for rows in CHECKED_ROWS:
                seconds, times = rounds.run(rows)
                ratios[0].append(seconds / expected.pass_seconds(rows))
                if times is not None:
                    ratios[1].append(times.total / expected.draft_seconds(rows - 1))
    finally:
        cache.release(lease)
    passes, drafts = (min(each) for each in ratios)
    if not 1 / SPREAD < passes / drafts < SPREAD:
        return None
    costs = CostTable.of(known)
    costs.scale(passes)
    return costs


class _Rounds(Generic[W]):
    """Rounds of a sequence that stays at its beginning, all drafts being accepted."""

    def __init__(self, model: Measured[W], lease: Lease) -> None:
        self._model = model
        self._lease = lease
        # Uncounted: touches every weight once.
        began = time.perf_counter()
        self._hidden = self._pass(max(ROWS), fold=0)
        if time.perf_counter() - began < SHORT:
            for rows in range(max(ROWS), 0, -1):
                self.run(rows)

    def run(self, rows: int) -> tuple[float, DraftTimes | None]:
        """Drafts and a pass over them and one row; seconds of the pass, and of the drafts."""
        times, folding = None, len(self._hidden)
        if rows > 1:
            request = _request(self._model.drafter, self._lease, self._hidden, rows - 1)
            _, times = self._model.drafter.draft([request])
        began = time.perf_counter()
        self._hidden = self._pass(rows, fold=min(rows, folding) - 1)
        return time.perf_counter() - began, times

    def _pass(self, rows: int, fold: int) -> FloatArray:
        """A verification pass from position 0: one certain row, the others drafts."""
        tokens, pages = np.zeros(rows, np.int32), self._lease.reserve(rows)
        batch = Batch.of([Segment(self._lease.slot, 0, tokens, pages, final=1, fold=fold)])
        hidden = self._model.forward(batch)
        self._model.trunk.best(hidden, BEST)
        return hidden


def _request(drafter: Drafter, lease: Lease, hidden: FloatArray, length: int) -> DraftRequest:
    """Drafts after the accepted rows of a pass, all of which the head takes in first."""
    track, tokens = DraftTrack(), [0] * (len(hidden) + 1)
    drafter.observe(track, tokens, lease, hidden)
    return DraftRequest(track, tokens, lease, length, likeliest, needs=1)
