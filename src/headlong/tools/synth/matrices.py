"""Matrices of noise in block formats, with a few rows or columns that are not noise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headlong.gguf.quant import quantise
from headlong.gguf.types import GGMLType
from headlong.tools.synth.blocks import random_blocks

__all__ = ["Band", "Patch", "diagonal", "noise_rows", "rows_at_once"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_CHUNK: Final = 8 << 20
"""Bytes of a tensor made at a time."""

_TILE: Final = 256
"""Patches begin and end at multiples of this column: whole blocks of any format."""


@dataclass(frozen=True, slots=True)
class Band:
    """Consecutive rows of the same standard deviation."""

    rows: int
    std: float


@dataclass(frozen=True, slots=True)
class Patch:
    """Numbers [rows, cols] that replace the noise from (row, column) on."""

    row: int
    column: int
    values: Floats


def diagonal(row: int, column: int, size: int, value: float) -> tuple[Patch, ...]:
    """Patches that connect `size` columns to as many rows one to one, from (row, column) on."""
    tile = value * np.eye(_TILE, dtype=np.float32)
    return tuple(Patch(row + at, column + at, tile) for at in range(0, size, _TILE))


def rows_at_once(type: GGMLType, cols: int) -> int:
    """Rows that make a piece of some megabytes."""
    return max(1, _CHUNK // type.row_bytes(cols))


def noise_rows(
    type: GGMLType,
    cols: int,
    bands: Sequence[Band],
    patches: Sequence[Patch],
    rng: np.random.Generator,
) -> Iterator[Bytes]:
    """A matrix of the bands one below the other, in pieces [rows, row bytes].

    A patch replaces whole blocks: elements that it does not set in a block are zero there.
    """
    top = 0
    for band in bands:
        bottom = top + band.rows
        while top < bottom:
            count = min(rows_at_once(type, cols), bottom - top)
            out = random_blocks(rng, type, count * cols // type.block_size, band.std)
            out = out.reshape(count, -1)
            for patch in patches:
                _apply(patch, out, top, type)
            yield out
            top += count


def _apply(patch: Patch, out: Bytes, top: int, type: GGMLType) -> None:
    """Encode those rows of a patch that lie in the piece `out`, whose first row is `top`."""
    first, last = max(patch.row, top), min(patch.row + len(patch.values), top + len(out))
    if first >= last:
        return
    start = type.row_bytes(patch.column)
    encoded = quantise(patch.values[first - patch.row : last - patch.row], type)
    encoded = encoded.reshape(last - first, -1)
    out[first - top : last - top, start : start + encoded.shape[1]] = encoded
