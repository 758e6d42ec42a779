"""Random weights straight in block formats, at the speed of the random numbers.

Quantising random numbers would take minutes for a large model. Instead, the quants of a block are
random bits, and only its scales are set: so that values are symmetric around zero and have the
wanted standard deviation, and so that no block holds what a quantiser would not write.
"""

from collections.abc import Callable
from functools import cache
from math import log2
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headlong.gguf.blocks import LAYOUTS
from headlong.gguf.dequant import dequantise
from headlong.gguf.types import GGMLType

__all__ = ["random_blocks"]

Bytes = NDArray[np.uint8]
Records = NDArray[np.void]


def random_blocks(
    rng: np.random.Generator, type: GGMLType, count: int, std: float, spread: float = 0.25
) -> Bytes:
    """Random blocks.

    Args:
        rng: where the bits come from.
        type: a decodable format.
        count: number of blocks.
        std: standard deviation of the values; formats without scales take the power of two that
            comes nearest.
        spread: block scales vary by this share to both sides.

    Returns:
        uint8 [count, block_bytes].
    """
    size = count * type.block_bytes
    words = rng.integers(0, _ALL_BITS, -(-size // 8), dtype=np.uint64, endpoint=True)
    data = words.view(np.uint8)[:size].reshape(count, type.block_bytes)
    scale = std / _unit_std(type)
    if type in _FLOATS:
        _set_exponents(data, type, round(log2(scale)))
        return data
    records = data.view(LAYOUTS[type]).reshape(count)
    if type is GGMLType.MXFP4:
        # Only powers of two can be had; a random one of two neighbours keeps the mean right.
        power = log2(scale) + (records["e"] / np.float32(256) - 0.5)
        records["e"] = np.clip(np.rint(power) + 128, 1, 254).astype(np.uint8)
        return data
    # The random bits that lie where the scale goes choose it.
    choices = np.linspace(scale * (1 - spread), scale * (1 + spread), 256, dtype=np.float32)
    _SETTERS[type](records, choices[records["d"].view("<u2") & 255])
    return data


_ALL_BITS: Final = np.iinfo(np.uint64).max


@cache
def _unit_std(type: GGMLType) -> float:
    """Standard deviation of the values of random blocks made with a scale of 1 (see below)."""
    if type in _FLOATS:
        return float(np.sqrt(np.mean(_float_magnitudes() ** 2)))
    rng = np.random.Generator(np.random.SFC64(0))
    data = rng.integers(0, 256, (2048, type.block_bytes), dtype=np.uint8)
    records = data.view(LAYOUTS[type]).reshape(-1)
    if type is GGMLType.MXFP4:
        records["e"] = 128
    else:
        _SETTERS[type](records, np.ones(len(records), np.float32))
    return float(dequantise(data, type, len(records), type.block_size).std())


# --- Formats without blocks: a random sign and mantissa, and an exponent of two random bits.


_FLOATS: Final[dict[GGMLType, tuple[np.dtype[np.unsignedinteger[Any]], int, int]]] = {
    # type: (integer that holds it, bits of the mantissa, exponent bias)
    GGMLType.F32: (np.dtype("<u4"), 23, 127),
    GGMLType.F16: (np.dtype("<u2"), 10, 15),
    GGMLType.BF16: (np.dtype("<u2"), 7, 127),
}


def _set_exponents(data: Bytes, type: GGMLType, power: int) -> None:
    """Make magnitudes run from 2^power to 2^(power + 4), keeping signs and mantissas."""
    integer, mantissa, bias = _FLOATS[type]
    values = data.view(integer)
    lowest = max(power + bias, 1)  # below are subnormal numbers
    exponents = ((values >> mantissa & 3) + lowest).astype(integer)
    sign_and_mantissa = integer.type(1 << 8 * integer.itemsize - 1 | (1 << mantissa) - 1)
    values &= sign_and_mantissa
    values |= exponents << mantissa


def _float_magnitudes() -> NDArray[np.float64]:
    return np.array([1, 2, 4, 8])[:, None] * np.linspace(1, 2, 1025)[None, :-1]


# --- Block formats: each setter gets random records and a float32 scale per record.


def _signed(records: Records, scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scales of random sign: quants reach one step further down than up."""
    return np.where(records["qs"][:, 0] & 1, scale, -scale)


def _q8_0(records: Records, scale: NDArray[np.float32]) -> None:
    records["d"] = scale
    # Quantisers never write -128.
    np.maximum(records["qs"], -127, out=records["qs"])


def _symmetric(records: Records, scale: NDArray[np.float32]) -> None:
    records["d"] = _signed(records, scale)


def _affine(top: int) -> Callable[[Records, NDArray[np.float32]], None]:
    def set_scales(records: Records, scale: NDArray[np.float32]) -> None:
        records["d"] = scale
        records["m"] = scale * np.float32(-top / 2)

    return set_scales


def _q2_k(records: Records, scale: NDArray[np.float32]) -> None:
    # Scale and minimum of a sub-block alike, from 8 to 15; minima centre the quants 0..3.
    nibble = records["scales"] & 7 | 8
    records["scales"] = nibble | nibble << 4
    records["d"] = scale
    records["dmin"] = scale * np.float32(1.5)


def _affine_super(top: int) -> Callable[[Records, NDArray[np.float32]], None]:
    def set_scales(records: Records, scale: NDArray[np.float32]) -> None:
        # Scale and minimum of a sub-block alike, from 32 to 63, packed to 6 bits each.
        random = records["scales"]
        low, high = random[:, :4] & 31 | 32, random[:, 4:8] & 31 | 32
        packed = low | (high >> 4) << 6
        random[:, :4] = packed
        random[:, 4:8] = packed
        random[:, 8:] = (high & 15) * 17
        records["d"] = scale
        records["dmin"] = scale * np.float32(top / 2)

    return set_scales


def _q6_k(records: Records, scale: NDArray[np.float32]) -> None:
    random = records["scales"].view(np.uint8)
    magnitude = (random & 63 | 64).view(np.int8)
    records["scales"] = np.where(random & 128, -magnitude, magnitude)
    records["d"] = scale


_SETTERS: Final[dict[GGMLType, Callable[[Records, NDArray[np.float32]], None]]] = {
    GGMLType.Q8_0: _q8_0,
    GGMLType.Q4_0: _symmetric,
    GGMLType.Q4_1: _affine(15),
    GGMLType.Q5_0: _symmetric,
    GGMLType.Q5_1: _affine(31),
    GGMLType.Q2_K: _q2_k,
    GGMLType.Q3_K: _symmetric,
    GGMLType.Q4_K: _affine_super(15),
    GGMLType.Q5_K: _affine_super(31),
    GGMLType.Q6_K: _q6_k,
    GGMLType.IQ4_NL: _symmetric,
    GGMLType.IQ4_XS: _symmetric,
}
