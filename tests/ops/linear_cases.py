"""Random packed matrices, what they should give, and every way the kernels can run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from headlong import _native
from headlong.gguf.dequant import dequantise
from headlong.gguf.types import GGMLType
from tiny_blocks import Type, random_blocks

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

EPS = 1e-6
FLOATS = [GGMLType.F32, GGMLType.F16, GGMLType.BF16]
BLOCKS_OF_32 = [
    GGMLType[name] for name in ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "MXFP4")
]
BLOCKS_OF_256 = [GGMLType[name] for name in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS")]
TYPES = [*FLOATS, *BLOCKS_OF_32, *BLOCKS_OF_256]


@cache
def backend(isa: str, threads: int = 2) -> _native.Backend:
    """One pool of threads per way, kept for the whole run."""
    return _native.Backend(threads, isa)


def best() -> _native.Backend:
    """The fastest instruction set of this machine, two threads."""
    return backend(_native.isas()[-1])


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix of one type, in file form and dequantised."""

    type: GGMLType
    raw: Bytes
    """uint8 [rows, bytes of a row]"""
    values: Floats
    """[rows, cols]"""

    @classmethod
    def random(cls, kind: GGMLType, rows: int, cols: int, seed: int = 0) -> Matrix:
        """Random blocks; rows have a standard deviation of about 1 / sqrt(cols)."""
        rng = np.random.default_rng(seed)
        std = np.full(rows, cols**-0.5, np.float32)
        blocks = random_blocks(rng, std, cols, Type(int(kind)))
        return cls.of(kind, np.ascontiguousarray(blocks).view(np.uint8).reshape(rows, -1), cols)

    @classmethod
    def of(cls, kind: GGMLType, raw: Bytes, cols: int) -> Matrix:
        """Rows of GGUF bytes."""
        return cls(kind, raw, dequantise(raw, kind, len(raw), cols))

    @property
    def rows(self) -> int:
        return self.values.shape[0]

    @property
    def cols(self) -> int:
        return self.values.shape[1]

    def pack(self) -> _native.Packed:
        return _native.pack(best(), self.raw, int(self.type), self.rows, self.cols)

    def product(self, x: Floats) -> NDArray[np.float64]:
        """x times this, in float64, with the activations that the kernels see."""
        seen = x.astype(np.float64) if self.type in FLOATS else quantised(x)
        return seen @ self.values.T.astype(np.float64)

    def magnitude(self, x: Floats) -> NDArray[np.float64]:
        """What a rounding error of the product is relative to."""
        return np.abs(x).astype(np.float64) @ np.abs(self.values).T.astype(np.float64)


def quantised(x: Floats) -> NDArray[np.float64]:
    """Activations as 8-bit values times a scale per 256 columns, amax / 127."""
    rows, cols = x.shape
    padded = np.zeros((rows, -(-cols // 256), 256), np.float32)
    padded.reshape(rows, -1)[:, :cols] = x
    amax = np.abs(padded).max(axis=2, keepdims=True)
    inverse = np.float32(127) / np.where(amax > 0, amax, np.float32(1))
    q = np.rint(padded * inverse)
    scale = (amax / np.float32(127)).astype(np.float64)
    return (q * scale).reshape(rows, -1)[:, :cols]


def activations(rows: int, cols: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)


def linear(
    backend: _native.Backend,
    x: Floats,
    *weights: _native.Packed,
    norm: Floats | None = None,
) -> list[Floats]:
    outs = [np.full((len(x), w.rows), np.nan, np.float32) for w in weights]
    _native.linear(backend, x, norm, EPS, list(weights), outs)
    return outs


def same_bits(a: Floats, b: Floats) -> bool:
    return a.tobytes() == b.tobytes()
