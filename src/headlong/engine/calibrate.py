"""What passes cost on this machine with this model, measured before the first request.

A few passes of 1 to 8 rows and a few drafts on a sequence that is thrown away.  Live rounds refine
the table; these first figures only keep early choices from being blind.
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
from headlong.speculation import CostTable
from headlong.speculation.drafter import Drafter, DraftRequest, DraftTrack

ROWS = (1, 2, 4, 8)
BUDGET = 0.5
"""Seconds after which no further repetition starts: a slow model is measured once."""
REPEATS = 4
DRAFTS = 3


def measure_costs(trunk: Qwen35[W], drafter: Drafter, cache: Cache) -> CostTable:
    """Time passes and drafts; the table holds at least one sample of each."""
    costs = CostTable()
    deadline = time.perf_counter() + BUDGET
    lease = cache.lease()
    try:
        hidden = _pass(trunk, cache, lease, max(ROWS))  # uncounted: touches every weight once
        for repeat in range(REPEATS):
            if repeat and time.perf_counter() > deadline:
                break
            for rows in ROWS:
                began = time.perf_counter()
                _pass(trunk, cache, lease, rows)
                costs.observe_pass(rows, time.perf_counter() - began, rows)
            _, times = drafter.draft([_request(drafter, lease, hidden)])
            costs.observe_draft(times.first, times.chained)
    finally:
        cache.release(lease)
    return costs


def _pass(trunk: Qwen35[W], cache: Cache, lease: Lease, rows: int) -> FloatArray:
    """A verification pass from position 0: one certain row, the others drafts."""
    tokens = np.zeros(rows, np.int32)
    segment = Segment(lease.slot, 0, tokens, lease.reserve(rows), final=1)
    hidden = trunk.forward(Batch.of([segment]), cache.kv, cache.recurrent)
    trunk.logits(hidden)
    return hidden


def _request(drafter: Drafter, lease: Lease, hidden: FloatArray) -> DraftRequest:
    track, tokens = DraftTrack(), [0, 0, 0]
    drafter.observe(track, tokens, lease, hidden[:2])
    return DraftRequest(track, tokens, lease, DRAFTS, _best)


def _best(logits: FloatArray, depth: int, subset: TokenSubset | None) -> int:
    return int(logits.argmax())
