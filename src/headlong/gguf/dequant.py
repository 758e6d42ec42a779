"""Decoders: ggml's block formats to float32, in numpy.

The reference for every kernel that reads blocks directly, and what embedding rows and small
tensors are decoded with. Each value is computed in float32 in the order ggml's reference decoders
use (scale times quant, then minus or plus the minimum), so results agree to the bit.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headlong.errors import GGUFError, UnsupportedError
from headlong.gguf.blocks import IQ4_VALUES, LAYOUTS, MXFP4_VALUES
from headlong.gguf.types import GGMLType

__all__ = ["dequantise"]

Floats = NDArray[np.float32]
Quants = NDArray[np.integer[Any]]

# Elements decoded at a time. 256 Ki elements are 1 MiB of result and a few of temporaries, which
# stay in cache: measured 1.5 to 2 times as fast as whole tensors, and 10 to 30 % faster than 64 Ki.
_CHUNK: Final = 1 << 18


def dequantise(raw: NDArray[np.uint8], type: GGMLType, rows: int, cols: int) -> Floats:
    """Decode rows of blocks.

    Args:
        raw: uint8, any shape with rows * type.row_bytes(cols) bytes, e.g. `GGUFFile.data(name)`.
        type: the format of `raw`.
        rows, cols: elements to decode; `cols` must be a multiple of the block size.

    Returns:
        float32 [rows, cols], a new array.

    Raises:
        GGUFError: `cols` does not fit the block size, or `raw` has another size.
        UnsupportedError: there is no decoder for `type`.
    """
    nbytes = rows * type.row_bytes(cols)
    if raw.size != nbytes:
        raise GGUFError(
            f"{rows} rows of {cols} {type.name} elements take {nbytes} bytes, but {raw.size} "
            "were given."
        )
    flat = np.ascontiguousarray(raw).reshape(-1)
    if type is GGMLType.F32:
        return flat.view("<f4").astype(np.float32).reshape(rows, cols)
    if type is GGMLType.F16:
        return flat.view("<f2").astype(np.float32).reshape(rows, cols)
    if type is GGMLType.BF16:
        return (flat.view("<u2").astype(np.uint32) << 16).view(np.float32).reshape(rows, cols)
    decode = _DECODERS.get(type)
    if decode is None:
        names = ", ".join(["F32", "F16", "BF16", *(known.name for known in _DECODERS)])
        raise UnsupportedError(
            f"{type.name} is not supported. Use a file whose tensors are among {names}."
        )
    blocks = flat.view(LAYOUTS[type])
    out = np.empty((len(blocks), type.block_size), dtype=np.float32)
    step = _CHUNK // type.block_size
    # A damaged scale may be nan or infinite; the product then is too, and nothing needs a warning.
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, len(blocks), step):
            part = blocks[start : start + step]
            out[start : start + step] = decode(part).reshape(len(part), -1)
    return out.reshape(rows, cols)


# --- Shared steps. Blocks are records [n]; a decoder returns float32 of n * block_size elements.


def _scale(blocks: NDArray[np.void], field: str) -> Floats:
    return blocks[field].astype(np.float32)[:, None]


def _nibbles(packed: Quants) -> Quants:
    """[..., k] bytes to [..., 2 * k] quants: low nibbles first, then high."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _fifth_bits(blocks: NDArray[np.void]) -> Quants:
    return np.unpackbits(blocks["qh"], axis=-1, bitorder="little") << 4


def _planes(packed: NDArray[np.uint8]) -> Quants:
    """[n, 64] bytes of two-bit quants to [n, 8, 32]: the planes of each 32 bytes one by one."""
    halves = packed.reshape(-1, 2, 1, 32)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)
    return ((halves >> shifts) & 3).reshape(-1, 8, 32)


def _bit_planes(packed: NDArray[np.uint8]) -> Quants:
    """[n, 32] bytes to [n, 8, 32] single bits: bit j of every byte makes plane j."""
    return np.unpackbits(packed[:, None, :], axis=1, bitorder="little")


def _six_bit_pairs(packed: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """The [n, 12] bytes of Q4_K and Q5_K to eight scales and eight minima below 64."""
    low, middle, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 63, (high & 15) | (low >> 6) << 4], axis=-1)
    minima = np.concatenate([middle & 63, (high >> 4) | (middle >> 6) << 4], axis=-1)
    return scales.astype(np.float32), minima.astype(np.float32)


# --- Formats without sub-blocks


def _q8_0(blocks: NDArray[np.void]) -> Floats:
    decoded: Floats = _scale(blocks, "d") * blocks["qs"]
    return decoded


def _q4_0(blocks: NDArray[np.void]) -> Floats:
    return _scale(blocks, "d") * (_nibbles(blocks["qs"]).astype(np.float32) - 8)


def _q4_1(blocks: NDArray[np.void]) -> Floats:
    quants = _nibbles(blocks["qs"]).astype(np.float32)
    return _scale(blocks, "d") * quants + _scale(blocks, "m")


def _q5_0(blocks: NDArray[np.void]) -> Floats:
    quants = _nibbles(blocks["qs"]) | _fifth_bits(blocks)
    return _scale(blocks, "d") * (quants.astype(np.float32) - 16)


def _q5_1(blocks: NDArray[np.void]) -> Floats:
    quants = _nibbles(blocks["qs"]) | _fifth_bits(blocks)
    return _scale(blocks, "d") * quants.astype(np.float32) + _scale(blocks, "m")


def _iq4_nl(blocks: NDArray[np.void]) -> Floats:
    return _scale(blocks, "d") * IQ4_VALUES.astype(np.float32)[_nibbles(blocks["qs"])]


def _mxfp4(blocks: NDArray[np.void]) -> Floats:
    # E8M0 exponent with bias 127, and one less because the table holds doubled values. ldexp also
    # gives the subnormal powers at the low end.
    exponent = blocks["e"].astype(np.int32)[:, None] - 128
    scale = np.ldexp(np.float32(1), exponent).astype(np.float32)
    return scale * MXFP4_VALUES.astype(np.float32)[_nibbles(blocks["qs"])]


# --- Superblocks of 256


def _q2_k(blocks: NDArray[np.void]) -> Floats:
    packed = blocks["scales"]
    scales = (_scale(blocks, "d") * (packed & 15).astype(np.float32))[..., None]
    minima = (_scale(blocks, "dmin") * (packed >> 4).astype(np.float32))[..., None]
    return scales * _planes(blocks["qs"]).reshape(-1, 16, 16).astype(np.float32) - minima


def _q3_k(blocks: NDArray[np.void]) -> Floats:
    packed = blocks["scales"]
    low = _nibbles(packed[:, :8])
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 4, 1)
    high = ((packed[:, None, 8:] >> shifts) & 3).reshape(-1, 16)
    scales = _scale(blocks, "d") * ((low | high << 4).astype(np.float32) - 32)
    quants = _planes(blocks["qs"]) | _bit_planes(blocks["hmask"]) << 2
    return scales[..., None] * (quants.reshape(-1, 16, 16).astype(np.float32) - 4)


def _five_or_four(blocks: NDArray[np.void], quants: Quants) -> Floats:
    scales, minima = _six_bit_pairs(blocks["scales"])
    wide = (_scale(blocks, "d") * scales)[..., None]
    low = (_scale(blocks, "dmin") * minima)[..., None]
    return wide * quants.astype(np.float32) - low


def _q4_k(blocks: NDArray[np.void]) -> Floats:
    return _five_or_four(blocks, _nibbles(blocks["qs"].reshape(-1, 4, 32)).reshape(-1, 8, 32))


def _q5_k(blocks: NDArray[np.void]) -> Floats:
    low = _nibbles(blocks["qs"].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    return _five_or_four(blocks, low | _bit_planes(blocks["qh"]) << 4)


def _q6_k(blocks: NDArray[np.void]) -> Floats:
    low = _nibbles(blocks["ql"].reshape(-1, 2, 64)).reshape(-1, 8, 32)
    quants = (low | _planes(blocks["qh"]) << 4).reshape(-1, 16, 16).astype(np.float32) - 32
    scales = _scale(blocks, "d") * blocks["scales"].astype(np.float32)
    return scales[..., None] * quants


def _iq4_xs(blocks: NDArray[np.void]) -> Floats:
    low = np.stack([blocks["scales_l"] & 15, blocks["scales_l"] >> 4], axis=-1).reshape(-1, 8)
    shifts = np.arange(0, 16, 2, dtype=np.uint16)
    high = (blocks["scales_h"][:, None] >> shifts) & 3
    scales = _scale(blocks, "d") * ((low | high << 4).astype(np.float32) - 32)
    quants = _nibbles(blocks["qs"].reshape(-1, 8, 16))
    decoded: Floats = scales[..., None] * IQ4_VALUES.astype(np.float32)[quants]
    return decoded


_DECODERS: Final[dict[GGMLType, Callable[[NDArray[np.void]], Floats]]] = {
    GGMLType.Q8_0: _q8_0,
    GGMLType.Q4_0: _q4_0,
    GGMLType.Q4_1: _q4_1,
    GGMLType.Q5_0: _q5_0,
    GGMLType.Q5_1: _q5_1,
    GGMLType.Q2_K: _q2_k,
    GGMLType.Q3_K: _q3_k,
    GGMLType.Q4_K: _q4_k,
    GGMLType.Q5_K: _q5_k,
    GGMLType.Q6_K: _q6_k,
    GGMLType.IQ4_NL: _iq4_nl,
    GGMLType.IQ4_XS: _iq4_xs,
    GGMLType.MXFP4: _mxfp4,
}
