"""Memory that outlives a pass, one object per layer: keys and values, recurrent state.

Plain arrays; ``headlong.cache`` decides which pages and slots belong to whom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headlong.ops.batch import PAGE, FloatArray

KV_TYPES = ("f16", "q8_0")
Q8_BLOCK = 32
"""Values that share one scale in a q8_0 cache, as in the GGUF type of that name."""


@dataclass(frozen=True, slots=True)
class KVLayer:
    """Keys and values of one attention layer, ``[pages, kv_heads, PAGE, head_dim]``.

    ``f16``: float16 bit patterns, scales ``None``.  ``q8_0``: int8 with float16 scales
    ``[pages, kv_heads, PAGE, head_dim / 32]``.
    """

    k: npt.NDArray[np.uint16] | npt.NDArray[np.int8]
    v: npt.NDArray[np.uint16] | npt.NDArray[np.int8]
    k_scale: npt.NDArray[np.uint16] | None
    v_scale: npt.NDArray[np.uint16] | None

    @classmethod
    def allocate(cls, pages: int, kv_heads: int, head_dim: int, kind: str) -> KVLayer:
        """Reserve zeroed memory (the system commits it on first touch)."""
        shape = (pages, kv_heads, PAGE, head_dim)
        if kind == "f16":
            return cls(np.zeros(shape, np.uint16), np.zeros(shape, np.uint16), None, None)
        scales = (pages, kv_heads, PAGE, head_dim // Q8_BLOCK)
        return cls(
            np.zeros(shape, np.int8),
            np.zeros(shape, np.int8),
            np.zeros(scales, np.uint16),
            np.zeros(scales, np.uint16),
        )

    def copy_page(self, source: int, target: int) -> None:
        """Make one page hold what another does."""
        for array in (self.k, self.v, self.k_scale, self.v_scale):
            if array is not None:
                array[target] = array[source]


@dataclass(frozen=True, slots=True)
class DeltaNetShape:
    """Sizes of a gated delta-net layer."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    taps: int

    @property
    def channels(self) -> int:
        """Width of the convolution: queries, keys and values."""
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim


@dataclass(frozen=True, slots=True)
class RecurrentLayer:
    """State of one delta-net layer for every slot, float32.

    ``s`` ``[slots, value_heads, key_dim, value_dim]`` and ``conv`` ``[slots, taps - 1, channels]``
    (inputs before the convolution, oldest first) are the committed state.  The ``pending`` arrays
    hold what each unverified row would add to it: normalised keys, deltas, decays, inputs.
    """

    s: FloatArray
    conv: FloatArray
    pending_k: FloatArray
    pending_delta: FloatArray
    pending_decay: FloatArray
    pending_u: FloatArray

    @classmethod
    def allocate(cls, slots: int, shape: DeltaNetShape, max_draft: int) -> RecurrentLayer:
        """Reserve zeroed memory for ``slots`` sequences and ``max_draft`` pending rows each."""

        def zeros(*dims: int) -> FloatArray:
            return np.zeros((slots, *dims), np.float32)

        return cls(
            s=zeros(shape.value_heads, shape.key_dim, shape.value_dim),
            conv=zeros(shape.taps - 1, shape.channels),
            pending_k=zeros(max_draft, shape.key_heads * shape.key_dim),
            pending_delta=zeros(max_draft, shape.value_heads * shape.value_dim),
            pending_decay=zeros(max_draft, shape.value_heads),
            pending_u=zeros(max_draft, shape.channels),
        )

    def reset(self, slot: int) -> None:
        """Return a slot to the start of a sequence."""
        self.s[slot] = 0.0
        self.conv[slot] = 0.0
