"""Byte layout of each block format, as numpy record types.

One place says where the scales and the quants of a block lie; the decoders, the encoders and the
kernels' packers read it from here. `d` and `dmin` (`m` in the 32-element formats) are the block's
float16 scale and minimum, `qs` the low bits of the elements, `qh`/`hmask` their high bits.

Order of elements:

- 32-element formats with nibbles: byte i holds element i (low) and i + 16 (high).
- Q4_K, Q5_K: four groups of 64 elements, 32 bytes each: element i (low) and i + 32 (high). Bit j
  of qh[i] is the fifth bit of element 32 j + i.
- Q2_K, Q3_K: two halves of 128 elements, 32 bytes each; byte i holds elements i, i + 32, i + 64,
  i + 96 from its low bits up. Bit j of hmask[i] is the third bit of element 32 j + i.
- Q6_K: two halves of 128 elements: 64 bytes ql hold i (low), i + 64 (high); 32 bytes qh hold two
  bits each of i, i + 32, i + 64, i + 96.
- IQ4_XS: eight sub-blocks, each laid out as a 32-element format.
"""

from typing import Final

import numpy as np

from headlong.gguf.types import GGMLType

__all__ = ["IQ4_VALUES", "LAYOUTS", "MXFP4_VALUES"]

LAYOUTS: Final[dict[GGMLType, np.dtype[np.void]]] = {
    GGMLType.Q4_0: np.dtype([("d", "<f2"), ("qs", "u1", 16)]),
    GGMLType.Q4_1: np.dtype([("d", "<f2"), ("m", "<f2"), ("qs", "u1", 16)]),
    GGMLType.Q5_0: np.dtype([("d", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)]),
    GGMLType.Q5_1: np.dtype([("d", "<f2"), ("m", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)]),
    GGMLType.Q8_0: np.dtype([("d", "<f2"), ("qs", "i1", 32)]),
    GGMLType.Q2_K: np.dtype(
        [("scales", "u1", 16), ("qs", "u1", 64), ("d", "<f2"), ("dmin", "<f2")]
    ),
    GGMLType.Q3_K: np.dtype(
        [("hmask", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), ("d", "<f2")]
    ),
    GGMLType.Q4_K: np.dtype(
        [("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qs", "u1", 128)]
    ),
    GGMLType.Q5_K: np.dtype(
        [("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128)]
    ),
    GGMLType.Q6_K: np.dtype(
        [("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), ("d", "<f2")]
    ),
    GGMLType.IQ4_NL: np.dtype([("d", "<f2"), ("qs", "u1", 16)]),
    GGMLType.IQ4_XS: np.dtype(
        [("d", "<f2"), ("scales_h", "<u2"), ("scales_l", "u1", 4), ("qs", "u1", 128)]
    ),
    GGMLType.MXFP4: np.dtype([("e", "u1"), ("qs", "u1", 16)]),
}
"""Record type of one block; its `itemsize` is the format's `block_bytes`."""

IQ4_VALUES: Final = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=np.int8
)
"""Levels of IQ4_NL and IQ4_XS, by nibble."""

MXFP4_VALUES: Final = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.int8)
"""Twice the E2M1 values of the OCP MX format, by nibble (so that they are whole numbers)."""
