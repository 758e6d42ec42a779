"""Encoders: byte for byte as the reference where it has one, and within stated bounds elsewhere.

Results are decoded with the format's own package, so that a mistake shared by our encoder and our
decoder would show.
"""

import gguf
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from headlong.errors import GGUFError, UnsupportedError
from headlong.gguf import DECODABLE, GGMLType, quantise

# Largest error of one element as a share of the largest magnitude in its block. Half a step of the
# sub-block's grid, or a whole step where the grid has no positive end; plus, in superblocks, half a
# step of the scale (and minimum) times the largest quant.
BOUNDS = {
    GGMLType.F16: 1 / 2048,
    GGMLType.BF16: 1 / 256,
    GGMLType.Q8_0: 1 / 254,
    GGMLType.Q4_0: 1 / 8,
    GGMLType.Q4_1: 1 / 15,
    GGMLType.Q5_0: 1 / 16,
    GGMLType.Q5_1: 1 / 31,
    GGMLType.Q2_K: 1 / 3 + 1 / 15 + 1 / 30,
    GGMLType.Q3_K: 1 / 4 + 1 / 32 + 1 / 64,
    GGMLType.Q4_K: 1 / 15 + 1 / 63 + 1 / 126,
    GGMLType.Q5_K: 1 / 31 + 1 / 63 + 1 / 126,
    GGMLType.Q6_K: 1 / 32 + 1 / 128 + 1 / 256,
    GGMLType.IQ4_NL: 14 / 127,
    GGMLType.IQ4_XS: 14 / 127 + 1 / 32 + 1 / 64,
    GGMLType.MXFP4: 1 / 4,
}

# Root mean square error over that of normally distributed data: a little above what ggml's own
# quantisers reach, far below what a wrong bit order would give (about 1).
NORMAL_ERROR = {
    GGMLType.F16: 0.0003,
    GGMLType.BF16: 0.002,
    GGMLType.Q8_0: 0.006,
    GGMLType.Q4_0: 0.09,
    GGMLType.Q4_1: 0.08,
    GGMLType.Q5_0: 0.045,
    GGMLType.Q5_1: 0.04,
    GGMLType.Q2_K: 0.34,
    GGMLType.Q3_K: 0.16,
    GGMLType.Q4_K: 0.08,
    GGMLType.Q5_K: 0.04,
    GGMLType.Q6_K: 0.02,
    GGMLType.IQ4_NL: 0.085,
    GGMLType.IQ4_XS: 0.085,
    GGMLType.MXFP4: 0.12,
}

LOSSY = sorted(DECODABLE - {GGMLType.F32})


def decoded(encoded: np.ndarray, kind: GGMLType, rows: int) -> np.ndarray:
    return gguf.quants.dequantize(
        encoded.reshape(rows, -1), gguf.GGMLQuantizationType(int(kind))
    ).astype(np.float32)


def normal(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)


def test_every_decodable_type_is_covered() -> None:
    assert set(BOUNDS) == set(NORMAL_ERROR) == set(LOSSY)


@pytest.mark.parametrize(
    "kind",
    [
        GGMLType.BF16,
        GGMLType.Q8_0,
        GGMLType.Q4_0,
        GGMLType.Q4_1,
        GGMLType.Q5_0,
        GGMLType.Q5_1,
        GGMLType.MXFP4,
    ],
)
def test_bytes_equal_the_reference(kind: GGMLType) -> None:
    x = normal(300, 256) * np.exp(normal(300, 1, seed=1) * 3)
    x[0] = 0
    x[1, 7] = 0
    reference = gguf.quants.quantize(x, gguf.GGMLQuantizationType(int(kind)))
    np.testing.assert_array_equal(quantise(x, kind), reference.view(np.uint8).reshape(-1))


def test_bfloat16_rounds_half_to_even_and_keeps_what_is_not_finite() -> None:
    bits = np.array(
        [0x3F808000, 0x3F818000, 0x3F808001, 0x7F800000, 0xFF800000, 0x7F800001, 0x7F7FFFFF],
        dtype=np.uint32,
    )
    found = quantise(bits.view(np.float32), GGMLType.BF16).view("<u2")
    assert found.tolist() == [0x3F80, 0x3F82, 0x3F81, 0x7F80, 0xFF80, 0x7FC0, 0x7F80]


def test_plain_floats_are_stored_as_they_are() -> None:
    x = normal(3, 5)
    np.testing.assert_array_equal(quantise(x, GGMLType.F32).view("<f4"), x.reshape(-1))
    np.testing.assert_array_equal(quantise(x, GGMLType.F16).view("<f2"), x.astype("<f2").ravel())


@pytest.mark.parametrize("kind", LOSSY)
def test_normal_data_survive(kind: GGMLType) -> None:
    x = normal(64, 512)
    error = decoded(quantise(x, kind), kind, 64) - x
    assert np.sqrt(np.mean(error**2)) < NORMAL_ERROR[kind]


# One superblock: hypothesis draws a few elements and a fill, so that blocks with outliers, single
# spikes, ties and constant runs all come up.
BLOCK = arrays(
    np.float32,
    256,
    elements=st.floats(-1000, 1000, width=32).map(lambda x: 0.0 if abs(x) < 1e-2 else x),
    fill=st.sampled_from([0.0, 1.0, -1.0, 0.25]),
)


@pytest.mark.parametrize("kind", LOSSY)
@given(block=BLOCK)
@settings(max_examples=60, deadline=None)
def test_no_element_strays_beyond_the_bound(kind: GGMLType, block: np.ndarray) -> None:
    found = decoded(quantise(block, kind), kind, 1)[0]
    peak = np.abs(block).max()
    # float16 scales add a relative 2^-11, or their smallest step where they are subnormal, times
    # the largest quant (below 64) or scale (below 128).
    slack = peak / 512 + 64 * 128 * 2.0**-25
    assert np.abs(found - block).max() <= BOUNDS[kind] * peak + slack


@pytest.mark.parametrize("kind", LOSSY)
@pytest.mark.parametrize("scale", [0.0, 1e-38, 1e-12, 1e-7])
def test_vanishing_blocks_become_small_or_zero(kind: GGMLType, scale: float) -> None:
    x = normal(2, 256) * np.float32(scale)
    found = decoded(quantise(x, kind), kind, 2)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1e-4
    if scale == 0:
        assert not found.any()


@pytest.mark.parametrize("kind", sorted(DECODABLE - {GGMLType.F32, GGMLType.F16, GGMLType.BF16}))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_blocks_hold_only_finite_values(kind: GGMLType, value: float) -> None:
    x = normal(1, 256)
    x[0, 3] = value
    with pytest.raises(GGUFError, match=f"not finite cannot be stored as {kind.name}"):
        quantise(x, kind)


@pytest.mark.parametrize(
    "kind", sorted(DECODABLE - {GGMLType.F32, GGMLType.F16, GGMLType.BF16, GGMLType.MXFP4})
)
def test_values_beyond_the_scale_are_refused(kind: GGMLType) -> None:
    with pytest.raises(GGUFError, match=f"cannot be stored as {kind.name}"):
        quantise(normal(1, 256) * np.float32(1e12), kind)


def test_large_tensors_are_encoded_in_pieces_that_fit_together() -> None:
    x = normal((1 << 20) // 512 + 5, 512)
    whole = quantise(x, GGMLType.Q4_K).reshape(len(x), -1)
    for row in (0, len(x) - 6, len(x) - 5, len(x) - 1):
        np.testing.assert_array_equal(whole[row], quantise(x[row], GGMLType.Q4_K))


def test_other_float_types_and_strides_are_accepted() -> None:
    x = normal(8, 64)
    np.testing.assert_array_equal(
        quantise(x.astype(np.float64)[::2], GGMLType.Q8_0), quantise(x[::2], GGMLType.Q8_0)
    )


def test_shapes_and_types_are_checked() -> None:
    with pytest.raises(GGUFError, match="a row of 48"):
        quantise(normal(2, 48), GGMLType.Q8_0)
    with pytest.raises(UnsupportedError, match="no encoder for IQ3_S: choose one of F32, F16"):
        quantise(normal(1, 256), GGMLType.IQ3_S)
