"""What a position of context costs: attention timed far from the beginning, without a prompt.

Only attention reads more as a sequence grows, so it is timed alone, layer after layer as in a
pass, over keys and values of zero.  A difference of whole passes would drown in their noise.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from headlong.cache.memory import Cache
from headlong.cache.pages import Lease
from headlong.models.qwen35 import Attention, Qwen35
from headlong.ops.batch import PAGE, Batch, Segment
from headlong.ops.protocol import W
from headlong.speculation.costs import ContextCost

_POSITIONS: Final = 4096
_BYTES: Final = 64 << 20
"""Where attention is timed: so deep, or as deep as so many bytes of keys and values go.  The memory
is committed by that; and it is more than most last-level caches, as a long context is."""

_LEAST_POSITIONS: Final = 256
"""A shorter context costs next to nothing."""

_ROWS: Final = 8
_REPEATS: Final = 5


def measure_context(trunk: Qwen35[W], cache: Cache) -> ContextCost:
    """Time attention of one row and of several, near the beginning and far from it.

    A context too short to matter costs nothing.
    """
    layers = [mixer for mixer in trunk.mixers if isinstance(mixer, Attention)]
    arrays = [a for kv in cache.kv for a in (kv.k, kv.v, kv.k_scale, kv.v_scale) if a is not None]
    size = sum(array[:1].nbytes for array in arrays) / PAGE
    deep = min(cache.free_pages * PAGE, _POSITIONS, int(_BYTES / max(size, 1)))
    if deep < _LEAST_POSITIONS or not layers:
        return ContextCost()
    lease = cache.lease()
    try:
        pages = lease.reserve(deep)
        for array in arrays:
            array[pages] = 0  # committed: unwritten pages would all be one in the caches
        one, several = (_slope(trunk, layers, cache, lease, rows, deep) for rows in (1, _ROWS))
    finally:
        cache.release(lease)
    return ContextCost(
        row=one,
        further_row=max(0.0, (several - one) / (_ROWS - 1)),
        draft=one / len(layers),
    )


def _slope(
    trunk: Qwen35[W], layers: list[Attention[W]], cache: Cache, lease: Lease, rows: int, deep: int
) -> float:
    """Seconds for each position, of all layers.  The least of some times: disturbance only adds."""

    def seconds(positions: int) -> float:
        pages = lease.reserve(positions)
        segment = Segment(lease.slot, positions - rows, np.zeros(rows, np.int32), pages, rows)
        batch = Batch.of([segment])
        rope = trunk.ops.angles(batch, trunk.frequencies)
        width = 2 * layers[0].shape.heads * layers[0].shape.head_dim
        qg = np.zeros((rows, width), np.float32)
        began = time.perf_counter()
        for mixer, layer in zip(layers, cache.kv, strict=True):
            trunk.ops.attend(qg, mixer.q_norm, trunk.config.eps, rope, layer, batch)
        return time.perf_counter() - began

    near = min(seconds(_ROWS) for _ in range(_REPEATS))
    far = min(seconds(deep) for _ in range(_REPEATS))
    return max(0.0, (far - near) / (deep - _ROWS))
