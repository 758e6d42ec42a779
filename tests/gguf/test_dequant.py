"""Decoders against the format's own package, to the bit, on blocks of random bytes."""

import gguf
import numpy as np
import pytest

from headlong.errors import GGUFError, UnsupportedError
from headlong.gguf import DECODABLE, GGMLType, dequantise
from headlong.gguf.blocks import LAYOUTS

COLS = 512


def random_blocks(kind: GGMLType, rows: int, seed: int) -> np.ndarray:
    raw = np.random.default_rng(seed).integers(0, 256, (rows, kind.row_bytes(COLS)), dtype=np.uint8)
    if kind in LAYOUTS:
        # Scales of a real file are small and finite; the other half of the rows keeps any bits.
        records = raw[: rows // 2].reshape(-1).view(LAYOUTS[kind])
        for field in {"d", "dmin", "m"} & set(records.dtype.names or ()):
            records[field] = np.random.default_rng(seed + 1).normal(0, 0.01, len(records))
        raw[: rows // 2] = records.view(np.uint8).reshape(rows // 2, -1)
    return raw


@pytest.mark.parametrize("kind", sorted(DECODABLE))
def test_equals_the_reference_to_the_bit(kind: GGMLType) -> None:
    raw = random_blocks(kind, 200, seed=int(kind))
    found = dequantise(raw, kind, 200, COLS)
    if kind in (GGMLType.F32, GGMLType.F16):
        wanted = raw.view("<f4" if kind is GGMLType.F32 else "<f2").astype(np.float32)
    else:
        with np.errstate(all="ignore"):
            wanted = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(int(kind)))
    assert found.dtype == np.float32
    assert found.shape == (200, COLS)
    assert np.isfinite(found).mean() > 0.5
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    known = ~np.isnan(found)
    np.testing.assert_array_equal(found[known].view(np.uint32), wanted[known].view(np.uint32))


@pytest.mark.parametrize("kind", [GGMLType.Q4_K, GGMLType.Q8_0, GGMLType.BF16])
def test_large_tensors_are_decoded_in_pieces_that_fit_together(kind: GGMLType) -> None:
    rows = (1 << 18) // COLS + 3
    raw = random_blocks(kind, rows, seed=5)
    whole = dequantise(raw, kind, rows, COLS)
    for row in (0, rows - 4, rows - 3, rows - 1):
        single = dequantise(raw[row], kind, 1, COLS)
        np.testing.assert_array_equal(whole[row : row + 1], single)


def test_input_may_be_strided_and_read_only() -> None:
    raw = random_blocks(GGMLType.Q6_K, 8, seed=6)
    raw.flags.writeable = False
    every_other = dequantise(raw[::2], GGMLType.Q6_K, 4, COLS)
    np.testing.assert_array_equal(every_other, dequantise(raw, GGMLType.Q6_K, 8, COLS)[::2])
    every_other[0, 0] = 1  # the result is ours


def test_no_rows_give_an_empty_array() -> None:
    assert dequantise(np.zeros(0, np.uint8), GGMLType.Q4_K, 0, 256).shape == (0, 256)


def test_sizes_are_checked() -> None:
    with pytest.raises(GGUFError, match="2 rows of 32 Q8_0 elements take 68 bytes, but 67"):
        dequantise(np.zeros(67, np.uint8), GGMLType.Q8_0, 2, 32)
    with pytest.raises(GGUFError, match="a row of 33"):
        dequantise(np.zeros(68, np.uint8), GGMLType.Q8_0, 2, 33)


@pytest.mark.parametrize("kind", sorted(set(GGMLType) - DECODABLE))
def test_other_types_are_refused_by_name(kind: GGMLType) -> None:
    raw = np.zeros(kind.row_bytes(256), np.uint8)
    with pytest.raises(UnsupportedError, match=f"^{kind.name} is not supported.*Q4_K"):
        dequantise(raw, kind, 1, 256)
