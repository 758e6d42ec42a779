"""Encoders: numbers to ggml's block formats, in numpy.

These make test models, synthetic models and requantised heads. The formats with one scale per 32
elements round exactly as ggml's reference encoders do. The superblock formats take each scale from
the extremes of its sub-block; they do not search for the scale of least error as a production
quantiser does, so their error is a little larger while the layout is the same.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headlong.errors import GGUFError, UnsupportedError
from headlong.gguf.blocks import IQ4_VALUES, LAYOUTS, MXFP4_VALUES
from headlong.gguf.types import GGMLType

__all__ = ["quantise"]

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Quants = NDArray[np.integer[Any]]

# Elements encoded at a time. Temporaries are a few four-byte copies of the chunk, so 1 Mi elements
# keep them around 32 MiB however large the tensor is.
_CHUNK: Final = 1 << 20


def quantise(x: NDArray[np.floating[Any]], type: GGMLType) -> Bytes:
    """Encode rows of numbers.

    Args:
        x: [..., cols], any float dtype; block formats read it as float32.
        type: the format; `cols` must be a multiple of its block size.

    Returns:
        The encoded rows one after another, uint8 [bytes].

    Raises:
        GGUFError: `cols` does not fit the block size, or a value is too large or not finite, so
            that a block format cannot hold it.
        UnsupportedError: there is no encoder for `type`.
    """
    flat = np.ascontiguousarray(x).reshape(-1)
    if type is GGMLType.F32:
        return flat.astype("<f4").view(np.uint8)
    if type is GGMLType.F16:
        with np.errstate(over="ignore"):
            return flat.astype("<f2").view(np.uint8)
    encode = _ENCODERS.get(type)
    if encode is None:
        names = ", ".join(["F32", "F16", *(known.name for known in _ENCODERS)])
        raise UnsupportedError(f"there is no encoder for {type.name}: choose one of {names}.")
    type.row_bytes(x.shape[-1] if x.ndim else 1)
    blocks = flat.reshape(-1, type.block_size)
    out = np.empty((len(blocks), type.block_bytes), dtype=np.uint8)
    step = max(1, _CHUNK // type.block_size)
    for start in range(0, len(blocks), step):
        chunk = blocks[start : start + step].astype(np.float32)
        if type is not GGMLType.BF16 and not np.isfinite(chunk).all():
            raise GGUFError(
                f"values that are not finite cannot be stored as {type.name}: use F32, F16 or BF16."
            )
        # A scale of zero, or one so small that its inverse overflows, gives inf or nan on the way
        # to a quant; `_ratio` and the clips put those back into range.
        with np.errstate(all="ignore"):
            out[start : start + step] = encode(chunk)
    return out.reshape(-1)


# --- Shared steps. Blocks are float32 [n, block_size]; quants are uint8 or int8 of the same shape.


def _records(type: GGMLType, count: int) -> NDArray[np.void]:
    return np.zeros(count, dtype=LAYOUTS[type])


def _bytes(records: NDArray[np.void]) -> Bytes:
    return records.view(np.uint8).reshape(len(records), -1)


def _half(scale: Floats, type: GGMLType) -> NDArray[np.float16]:
    half = scale.astype(np.float16)
    if not np.isfinite(half).all():
        raise GGUFError(
            f"values up to {np.abs(scale).max():.3g} times the largest quant cannot be stored as "
            f"{type.name}: its float16 scale ends at 65504. Rescale the tensor or use F32."
        )
    return half


def _ratio(x: Floats, divisor: Floats) -> Floats:
    """x / divisor, and 0 where the divisor is 0."""
    quotient: Floats = np.where(divisor == 0, np.float32(0), x / divisor)
    return quotient


def _inverse(scale: Floats) -> Floats:
    return _ratio(np.ones_like(scale), scale)


def _peak(x: Floats) -> Floats:
    """The element of largest magnitude along the last axis, with its sign, [..., 1]."""
    return np.take_along_axis(x, np.abs(x).argmax(axis=-1, keepdims=True), axis=-1)


def _round(x: Floats, low: int, high: int) -> NDArray[np.int8]:
    return np.rint(np.nan_to_num(x)).clip(low, high).astype(np.int8)


def _nibbles(quants: Quants) -> Quants:
    """[..., 2 * k] quants below 16 to [..., k] bytes: first half low, second half high."""
    half = quants.shape[-1] // 2
    return quants[..., :half] | quants[..., half:] << 4


def _nearest(x: Floats, levels: NDArray[np.int8]) -> Bytes:
    """Index of the nearest level for each element; of equal levels the first index."""
    ordered, index = np.unique(levels, return_index=True)
    middles = (ordered[1:].astype(np.float32) + ordered[:-1]) / 2
    return index[np.searchsorted(middles, np.nan_to_num(x))].astype(np.uint8)


# --- Formats without sub-blocks.


def _bf16(x: Floats) -> Bytes:
    bits = x.view(np.uint32)
    # Round half to even on the 16 bits that go; a nan is only truncated (rounding could carry it
    # into infinity) and made quiet.
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet = (bits >> 16) | 0x40
    return np.where(np.isnan(x), quiet, rounded).astype("<u2").view(np.uint8).reshape(len(x), 2)


def _q8_0(x: Floats) -> Bytes:
    scale = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    scaled = np.nan_to_num(x * _inverse(scale)).clip(-127, 127)
    records = _records(GGMLType.Q8_0, len(x))
    records["d"] = _half(scale, GGMLType.Q8_0)[:, 0]
    # Half away from zero, as C's roundf does; np.rint would take half to even.
    whole = np.trunc(scaled)
    records["qs"] = whole + np.trunc(2 * (scaled - whole))
    return _bytes(records)


def _symmetric(x: Floats, half_range: int) -> tuple[Floats, Bytes]:
    """Scale and quants of a format whose quants run from 0 to 2 * half_range - 1, zero in the
    middle: the element of largest magnitude becomes quant 0, the end that reaches further."""
    scale = _peak(x) / np.float32(-half_range)
    raised = np.nan_to_num(x * _inverse(scale)) + np.float32(half_range + 0.5)
    return scale, np.trunc(raised).clip(0, 2 * half_range - 1).astype(np.uint8)


def _affine(x: Floats, top: int) -> tuple[Floats, Floats, Bytes]:
    """Scale, minimum and quants of a format whose quants run from 0 to top above a minimum."""
    low = x.min(axis=-1, keepdims=True)
    scale = (x.max(axis=-1, keepdims=True) - low) / np.float32(top)
    raised = np.nan_to_num((x - low) * _inverse(scale)) + np.float32(0.5)
    return scale, low, np.trunc(raised).clip(0, top).astype(np.uint8)


def _fifth_bits(quants: Bytes) -> Bytes:
    return np.packbits(quants >> 4, axis=-1, bitorder="little")


def _q4_0(x: Floats) -> Bytes:
    scale, quants = _symmetric(x, 8)
    records = _records(GGMLType.Q4_0, len(x))
    records["d"] = _half(scale, GGMLType.Q4_0)[:, 0]
    records["qs"] = _nibbles(quants)
    return _bytes(records)


def _q4_1(x: Floats) -> Bytes:
    scale, low, quants = _affine(x, 15)
    records = _records(GGMLType.Q4_1, len(x))
    records["d"] = _half(scale, GGMLType.Q4_1)[:, 0]
    records["m"] = _half(low, GGMLType.Q4_1)[:, 0]
    records["qs"] = _nibbles(quants)
    return _bytes(records)


def _q5_0(x: Floats) -> Bytes:
    scale, quants = _symmetric(x, 16)
    records = _records(GGMLType.Q5_0, len(x))
    records["d"] = _half(scale, GGMLType.Q5_0)[:, 0]
    records["qh"] = _fifth_bits(quants)
    records["qs"] = _nibbles(quants & 15)
    return _bytes(records)


def _q5_1(x: Floats) -> Bytes:
    scale, low, quants = _affine(x, 31)
    records = _records(GGMLType.Q5_1, len(x))
    records["d"] = _half(scale, GGMLType.Q5_1)[:, 0]
    records["m"] = _half(low, GGMLType.Q5_1)[:, 0]
    records["qh"] = _fifth_bits(quants)
    records["qs"] = _nibbles(quants & 15)
    return _bytes(records)


def _iq4_nl(x: Floats) -> Bytes:
    # The peak lands on level -127, the table's far end.
    scale = _peak(x) / np.float32(IQ4_VALUES[0])
    half = _half(scale, GGMLType.IQ4_NL)
    records = _records(GGMLType.IQ4_NL, len(x))
    records["d"] = half[:, 0]
    records["qs"] = _nibbles(_nearest(_ratio(x, half.astype(np.float32)), IQ4_VALUES))
    return _bytes(records)


def _mxfp4(x: Floats) -> Bytes:
    # The shared exponent puts the peak between 4 and 8; E2M1 ends at 6 = 1.5 * 2^2. The stored
    # exponent has a bias of 127, and one more because the table holds doubled values.
    peak = np.abs(x).max(axis=-1, keepdims=True)
    exponent = np.where(peak > 0, np.floor(np.log2(peak)) - 2 + 127, 0).clip(0, 254)
    scaled = np.ldexp(x, (128 - exponent).astype(np.int32))
    records = _records(GGMLType.MXFP4, len(x))
    records["e"] = exponent[:, 0]
    records["qs"] = _nibbles(_nearest(scaled, MXFP4_VALUES))
    return _bytes(records)


# --- Superblocks of 256. Sub-block scales (and minima) are whole multiples of d (and dmin).


def _six_bit_pairs(scales: Bytes, minima: Bytes) -> Bytes:
    """Pack [n, 8] scales and minima below 64 into [n, 12] bytes, as Q4_K and Q5_K hold them."""
    packed = np.empty((len(scales), 12), dtype=np.uint8)
    packed[:, 0:4] = scales[:, :4] | (scales[:, 4:] >> 4) << 6
    packed[:, 4:8] = minima[:, :4] | (minima[:, 4:] >> 4) << 6
    packed[:, 8:12] = (scales[:, 4:] & 15) | (minima[:, 4:] & 15) << 4
    return packed


def _affine_super(
    x: Floats, type: GGMLType, *, sub: int, top: int, scale_top: int
) -> tuple[NDArray[np.float16], NDArray[np.float16], Bytes, Bytes, Bytes]:
    """d [n, 1], dmin [n, 1], scales and minima [n, 256 / sub], quants [n, 256 / sub, sub]."""
    parts = x.reshape(len(x), -1, sub)
    # A minimum above zero cannot be stored (minima are subtracted), so zero stands in for it.
    low = np.minimum(parts.min(axis=-1), 0)
    span = (parts.max(axis=-1).clip(0) - low) / np.float32(top)
    d = _half(span.max(axis=-1, keepdims=True) / np.float32(scale_top), type)
    dmin = _half((-low).max(axis=-1, keepdims=True) / np.float32(scale_top), type)
    wide, wide_min = d.astype(np.float32), dmin.astype(np.float32)
    scales = _round(_ratio(span, wide), 0, scale_top).astype(np.uint8)
    minima = _round(_ratio(-low, wide_min), 0, scale_top).astype(np.uint8)
    shifted = parts + (wide_min * minima)[..., None]
    quants = _round(_ratio(shifted, (wide * scales)[..., None]), 0, top).astype(np.uint8)
    return d, dmin, scales, minima, quants


def _symmetric_super(
    x: Floats, type: GGMLType, *, sub: int, far: int, scale_far: int
) -> tuple[NDArray[np.float16], NDArray[np.int8], NDArray[np.int8]]:
    """d [n, 1], scales [n, 256 / sub] in [-scale_far, scale_far), quants [n, 256 / sub, sub] in
    [-far, far): both peaks go to the negative end, which reaches one step further."""
    parts = x.reshape(len(x), -1, sub)
    span = _peak(parts)[..., 0] / np.float32(-far)
    d = _half(_peak(span) / np.float32(-scale_far), type)
    wide = d.astype(np.float32)
    scales = _round(_ratio(span, wide), -scale_far, scale_far - 1)
    quants = _round(_ratio(parts, (wide * scales)[..., None]), -far, far - 1)
    return d, scales, quants


def _two_bit_planes(quants: Quants) -> Quants:
    """[n, 256] quants below 4 to [n, 64] bytes in the order of Q2_K and Q3_K."""
    planes = quants.reshape(-1, 2, 4, 32)
    packed = planes[:, :, 0] | planes[:, :, 1] << 2 | planes[:, :, 2] << 4 | planes[:, :, 3] << 6
    return packed.reshape(-1, 64)


def _q2_k(x: Floats) -> Bytes:
    d, dmin, scales, minima, quants = _affine_super(x, GGMLType.Q2_K, sub=16, top=3, scale_top=15)
    records = _records(GGMLType.Q2_K, len(x))
    records["d"], records["dmin"] = d[:, 0], dmin[:, 0]
    records["scales"] = scales | minima << 4
    records["qs"] = _two_bit_planes(quants.reshape(-1, 256))
    return _bytes(records)


def _q3_k(x: Floats) -> Bytes:
    d, scales, quants = _symmetric_super(x, GGMLType.Q3_K, sub=16, far=4, scale_far=32)
    stored = (scales + 32).astype(np.uint8)
    raised = (quants + 4).astype(np.uint8).reshape(-1, 256)
    records = _records(GGMLType.Q3_K, len(x))
    records["d"] = d[:, 0]
    low, high = stored & 15, (stored >> 4).reshape(-1, 4, 4)
    records["scales"][:, :8] = low[:, :8] | low[:, 8:] << 4
    records["scales"][:, 8:] = high[:, 0] | high[:, 1] << 2 | high[:, 2] << 4 | high[:, 3] << 6
    records["qs"] = _two_bit_planes(raised & 3)
    thirds = (raised >> 2).reshape(-1, 8, 32)
    records["hmask"] = np.packbits(thirds, axis=1, bitorder="little")[:, 0]
    return _bytes(records)


def _q4_k(x: Floats) -> Bytes:
    d, dmin, scales, minima, quants = _affine_super(x, GGMLType.Q4_K, sub=32, top=15, scale_top=63)
    records = _records(GGMLType.Q4_K, len(x))
    records["d"], records["dmin"] = d[:, 0], dmin[:, 0]
    records["scales"] = _six_bit_pairs(scales, minima)
    records["qs"] = _nibbles(quants.reshape(-1, 4, 64)).reshape(-1, 128)
    return _bytes(records)


def _q5_k(x: Floats) -> Bytes:
    d, dmin, scales, minima, quants = _affine_super(x, GGMLType.Q5_K, sub=32, top=31, scale_top=63)
    records = _records(GGMLType.Q5_K, len(x))
    records["d"], records["dmin"] = d[:, 0], dmin[:, 0]
    records["scales"] = _six_bit_pairs(scales, minima)
    records["qh"] = np.packbits(quants >> 4, axis=1, bitorder="little")[:, 0]
    records["qs"] = _nibbles((quants & 15).reshape(-1, 4, 64)).reshape(-1, 128)
    return _bytes(records)


def _q6_k(x: Floats) -> Bytes:
    d, scales, quants = _symmetric_super(x, GGMLType.Q6_K, sub=16, far=32, scale_far=128)
    raised = (quants + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    records = _records(GGMLType.Q6_K, len(x))
    records["d"] = d[:, 0]
    records["scales"] = scales
    records["ql"] = _nibbles((raised & 15).reshape(-1, 2, 128)).reshape(-1, 128)
    high = raised >> 4
    records["qh"] = (
        high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6
    ).reshape(-1, 64)
    return _bytes(records)


def _iq4_xs(x: Floats) -> Bytes:
    parts = x.reshape(-1, 8, 32)
    span = _peak(parts)[..., 0] / np.float32(IQ4_VALUES[0])
    d = _half(_peak(span) / np.float32(-32), GGMLType.IQ4_XS)
    wide = d.astype(np.float32)
    scales = _round(_ratio(span, wide), -32, 31)
    stored = (scales + 32).astype(np.uint8)
    quants = _nearest(_ratio(parts, (wide * scales)[..., None]), IQ4_VALUES)
    records = _records(GGMLType.IQ4_XS, len(x))
    records["d"] = d[:, 0]
    records["scales_l"] = (stored[:, 0::2] & 15) | (stored[:, 1::2] & 15) << 4
    shifts = np.arange(0, 16, 2, dtype=np.uint16)
    records["scales_h"] = ((stored >> 4).astype(np.uint16) << shifts).sum(axis=-1)
    records["qs"] = _nibbles(quants).reshape(-1, 128)
    return _bytes(records)


_ENCODERS: Final[dict[GGMLType, Callable[[Floats], Bytes]]] = {
    GGMLType.BF16: _bf16,
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
