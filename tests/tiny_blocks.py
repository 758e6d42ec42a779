"""Quantised weights for tiny models: encoded values, or blocks of random bits.

Random bits reach every code point and every sub-scale of a type, which encoded values do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

Type = GGMLQuantizationType
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class _Scales:
    """Where a block keeps its F16 scale and, if any, its F16 offset (byte positions)."""

    scale: int
    offset: int | None = None
    offset_ratio: float = 0.0
    """offset / scale that centres the block's values on zero."""


# Q4_1, Q5_1: value = scale * q + offset with q uniform on 0..15, 0..31.
# K types: value = scale * s * q - offset * m with s, m of equal distribution.
_SCALES = {
    Type.Q8_0: _Scales(0),
    Type.Q4_0: _Scales(0),
    Type.Q5_0: _Scales(0),
    Type.Q4_1: _Scales(0, 2, -7.5),
    Type.Q5_1: _Scales(0, 2, -15.5),
    Type.Q2_K: _Scales(80, 82, 1.5),
    Type.Q3_K: _Scales(108),
    Type.Q4_K: _Scales(0, 2, 7.5),
    Type.Q5_K: _Scales(0, 2, 15.5),
    Type.Q6_K: _Scales(208),
    Type.IQ4_NL: _Scales(0),
    Type.IQ4_XS: _Scales(0),
}


def encode(values: Floats, kind: Type) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """`values` (rows, columns) in the stored form of `kind`."""
    try:
        return quants.quantize(values, kind)
    except NotImplementedError:
        # The gguf package cannot encode this type. Imported here, so that tests of everything
        # else have models even where our package does not import.
        from headlong.gguf import GGMLType, quantise

        return quantise(values, GGMLType(kind)).reshape(len(values), -1)


def random_blocks(
    rng: np.random.Generator, std: Floats, columns: int, kind: Type
) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """A random matrix (len(std), columns) whose rows have about these standard deviations."""
    rows = len(std)
    if kind in (Type.F32, Type.F16, Type.BF16):
        values = std[:, None] * rng.standard_normal((rows, columns), dtype=np.float32)
        return quants.quantize(values, kind)
    per_block, size = GGML_QUANT_SIZES[kind]
    if columns % per_block:
        raise ValueError(f"rows of {columns} values do not fill {kind.name} blocks of {per_block}")
    per_row = columns // per_block
    count = rows * per_row
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    spread = rng.uniform(0.7, 1.3, count)
    _set_scales(blocks, kind, spread * np.repeat(std, per_row) / _unit_std(kind))
    return blocks.reshape(rows, -1)


def _set_scales(
    blocks: Bytes, kind: Type, scale: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> None:
    if kind is Type.MXFP4:
        # The scale is a power of two, 2 ** (byte - 128); rounding it is part of the spread.
        blocks[:, 0] = 128 + np.round(np.log2(scale))
        return
    where = _SCALES[kind]
    blocks[:, where.scale : where.scale + 2] = _halves(scale)
    if where.offset is not None:
        blocks[:, where.offset : where.offset + 2] = _halves(where.offset_ratio * scale)


def _halves(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Bytes:
    return values.astype("<f2").view(np.uint8).reshape(-1, 2)


@cache
def _unit_std(kind: Type) -> float:
    """Standard deviation of random blocks whose scale is 1."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (500, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    _set_scales(blocks, kind, np.ones(len(blocks)))
    return float(quants.dequantize(blocks, kind).std())
