"""What passes cost on this machine with this model, measured before the first request.

Rounds as they will be lived, on a sequence that is thrown away: drafts, a pass over them and one
row, all of them accepted and folded into the state by the next.  Live rounds refine the table;
these first figures only keep early choices from being blind.
"""

from __future__ import annotations

import time

import numpy as np

from headlong.cache.memory import Cache
from headlong.cache.pages import Lease
from headlong.models.qwen35 import Qwen35
from headlong.ops.batch import Batch, FloatArray, Segment
from headlong.ops.protocol import W
from headlong.sampling import TokenSubset
from headlong.sampling.confidence import probability
from headlong.speculation import CostTable
from headlong.speculation.drafter import Drafter, DraftRequest, DraftTrack, Guess

ROWS = (8, 4, 2, 1)
"""Falling, so that every pass but the first has as many rows to fold as if all were accepted."""
BUDGET = 0.5
"""Seconds after which no further repetition starts: a slow model is measured once."""
REPEATS = 6


def measure_costs(trunk: Qwen35[W], drafter: Drafter, cache: Cache) -> CostTable:
    """Time passes and drafts; the table holds at least one sample of each."""
    costs = CostTable()
    deadline = time.perf_counter() + BUDGET
    lease = cache.lease()
    try:
        # Uncounted: touches every weight once.
        hidden = _pass(trunk, cache, lease, max(ROWS), fold=0)
        folding = max(ROWS)
        for repeat in range(REPEATS):
            if repeat and time.perf_counter() > deadline:
                break
            for rows in ROWS:
                if rows > 1:
                    _, times = drafter.draft([_request(drafter, lease, hidden, rows - 1)])
                    costs.observe_draft(times.first, times.chained)
                began = time.perf_counter()
                hidden = _pass(trunk, cache, lease, rows, fold=min(rows, folding) - 1)
                costs.observe_pass(rows, time.perf_counter() - began, rows)
                folding = rows
    finally:
        cache.release(lease)
    return costs


def _pass(trunk: Qwen35[W], cache: Cache, lease: Lease, rows: int, fold: int) -> FloatArray:
    """A verification pass from position 0: one certain row, the others drafts."""
    tokens = np.zeros(rows, np.int32)
    segment = Segment(lease.slot, 0, tokens, lease.reserve(rows), final=1, fold=fold)
    hidden = trunk.forward(Batch.of([segment]), cache.kv, cache.recurrent)
    trunk.logits(hidden)
    return hidden


def _request(drafter: Drafter, lease: Lease, hidden: FloatArray, length: int) -> DraftRequest:
    """Drafts after the accepted rows of a pass, all of which the head takes in first."""
    track, tokens = DraftTrack(), [0] * (len(hidden) + 1)
    drafter.observe(track, tokens, lease, hidden)
    return DraftRequest(track, tokens, lease, length, _best)


def _best(logits: FloatArray, depth: int, subset: TokenSubset | None) -> Guess:
    column = int(logits.argmax())
    return Guess(column, probability(logits, column))
