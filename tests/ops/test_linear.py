"""Products with packed weights: right values, and row by row the same bits however they are run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_cases import (
    BLOCKS_OF_32,
    BLOCKS_OF_256,
    EPS,
    FLOATS,
    TYPES,
    Floats,
    Matrix,
    activations,
    backend,
    best,
    linear,
    same_bits,
)

from headlong import _native
from headlong.gguf.types import GGMLType

ISAS = _native.isas()
FUSED = [isa for isa in ISAS if isa != "portable"]
"""Instruction sets with a fused multiply-add: they promise equal bits among each other."""


def shapes(kind: GGMLType) -> list[tuple[int, int]]:
    """Rows that fill no group of 16, and columns that fill no superblock where the type may."""
    if kind in FLOATS:
        return [(40, 256), (1, 1), (17, 50), (33, 515)]
    if kind in BLOCKS_OF_32:
        return [(40, 512), (1, 32), (17, 96), (33, 288), (16, 480)]
    return [(40, 512), (1, 256), (17, 768)]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_products_are_exact_but_for_float_rounding(kind: GGMLType, isa: str) -> None:
    for rows, cols in shapes(kind):
        matrix = Matrix.random(kind, rows, cols)
        x = activations(11, cols)
        (out,) = linear(backend(isa), x, matrix.pack())
        error = np.abs(out - matrix.product(x)) / matrix.magnitude(x)
        assert error.max() < 3e-7, (rows, cols)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", [*BLOCKS_OF_32, *BLOCKS_OF_256], ids=lambda kind: kind.name)
def test_sums_hold_the_largest_weights_and_activations(kind: GGMLType, isa: str) -> None:
    for fill in (0x00, 0xFF, 0x7F, 0x80, 0x0F, 0xF0):
        matrix = Matrix.random(kind, 16, 512)
        raw = np.full_like(matrix.raw, fill)
        blocks = raw.reshape(-1, kind.block_bytes)
        scales = matrix.raw.reshape(-1, kind.block_bytes)
        at = {"Q2_K": 80, "Q3_K": 108, "Q6_K": 208}.get(kind.name, 0)
        width = 1 if kind is GGMLType.MXFP4 else 4
        blocks[:, at : at + width] = scales[:, at : at + width]
        extreme = Matrix.of(kind, raw, 512)
        for x in (np.ones((3, 512), np.float32), -np.ones((3, 512), np.float32)):
            (out,) = linear(backend(isa), x, extreme.pack())
            error = np.abs(out - extreme.product(x))
            assert np.all(error <= 3e-7 * extreme.magnitude(x) + 1e-30), fill


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_a_row_has_the_same_bits_whatever_stands_beside_it(kind: GGMLType) -> None:
    matrix = Matrix.random(kind, 50, shapes(kind)[-1][1])
    packed = matrix.pack()
    x = activations(25, matrix.cols)
    for isa in ISAS:
        alone = np.concatenate(
            [linear(backend(isa, 1), x[i : i + 1], packed)[0] for i in range(len(x))]
        )
        for rows in range(1, 18):
            for threads in (1, 2):
                first = rows % 8
                (out,) = linear(backend(isa, threads), x[first : first + rows], packed)
                assert same_bits(out, alone[first : first + rows]), (isa, rows, threads)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_instruction_sets_with_fma_give_equal_bits(kind: GGMLType) -> None:
    if len(FUSED) < 2:
        pytest.skip("this machine has one instruction set with fused multiply-add")
    for rows, cols in shapes(kind):
        packed = Matrix.random(kind, rows, cols).pack()
        x = activations(9, cols)
        norm = np.abs(activations(1, cols, seed=3)[0])
        outs = [linear(backend(isa), x, packed, norm=norm)[0] for isa in FUSED]
        assert all(same_bits(out, outs[0]) for out in outs)


def test_many_rows_are_worked_off_in_blocks_without_a_trace() -> None:
    matrix = Matrix.random(GGMLType.Q4_K, 64, 512)
    packed = matrix.pack()
    x = activations(1100, 512)
    (out,) = linear(best(), x, packed)
    for first in (0, 511, 512, 1023, 1099):
        assert same_bits(out[first : first + 1], linear(best(), x[first : first + 1], packed)[0])


def test_threads_of_python_may_share_a_backend() -> None:
    packed = Matrix.random(GGMLType.Q4_K, 700, 512).pack()
    inputs = [activations(1 + i % 9, 512, seed=i) for i in range(40)]
    alone = [linear(best(), x, packed)[0] for x in inputs]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda x: linear(best(), x, packed)[0], inputs))
    assert all(same_bits(a, b) for a, b in zip(alone, together, strict=True))


@given(
    kind=st.sampled_from(TYPES),
    rows=st.integers(1, 70),
    blocks=st.integers(1, 12),
    t=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
    threads=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_any_shape(kind: GGMLType, rows: int, blocks: int, t: int, seed: int, threads: int) -> None:
    unit = {True: 7, False: kind.block_size}[kind in FLOATS]
    matrix = Matrix.random(kind, rows, unit * min(blocks, 3 if unit == 256 else 12), seed)
    x = activations(t, matrix.cols, seed)
    (out,) = linear(backend(ISAS[-1], threads), x, matrix.pack())
    assert np.all(np.abs(out - matrix.product(x)) <= 3e-7 * matrix.magnitude(x))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("t", [1, 3, 9])
def test_fused_operations_are_the_single_ones_bit_by_bit(isa: str, t: int) -> None:
    run = backend(isa)
    x, norm = activations(t, 512), np.abs(activations(1, 512, seed=2)[0])
    normed = np.empty_like(x)
    _native.rms_norm(run, x, norm, EPS, normed)
    matrices = [
        Matrix.random(GGMLType.Q4_K, 600, 512),
        Matrix.random(GGMLType.F32, 20, 512),
        Matrix.random(GGMLType.Q8_0, 33, 512),
    ]
    packed = [m.pack() for m in matrices]
    together = linear(run, x, *packed, norm=norm)
    for weight, out in zip(packed, together, strict=True):
        assert same_bits(out, linear(run, normed, weight)[0])

    square = Matrix.random(GGMLType.Q6_K, 512, 512).pack()
    added = np.empty_like(x)
    _native.linear_add(run, x, square, normed, added)
    assert same_bits(added, normed + linear(run, x, square)[0])
    in_place = normed.copy()
    _native.linear_add(run, x, square, in_place, in_place)
    assert same_bits(in_place, added)


def silu(x: Floats) -> Floats:
    return (x / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "kinds",
    [("Q4_K", "Q4_K", "Q6_K"), ("Q8_0", "Q5_0", "Q4_1"), ("F32", "BF16", "F16"),
     ("Q4_K", "F16", "F32"), ("F32", "F32", "Q8_0")],
    ids=" ".join,
)  # fmt: skip
def test_feed_forward(isa: str, kinds: tuple[str, str, str]) -> None:
    width, hidden = 256, 768
    gate, up, down = (
        Matrix.random(GGMLType[kind], *shape, seed=i)
        for i, (kind, shape) in enumerate(
            zip(kinds, [(hidden, width), (hidden, width), (width, hidden)], strict=True)
        )
    )
    x, norm = activations(21, width), np.abs(activations(1, width, seed=2)[0])
    packed = gate.pack(), up.pack(), down.pack()
    out = np.empty_like(x)
    _native.ffn(backend(isa), x, norm, EPS, *packed, out)

    n = np.empty_like(x)
    _native.rms_norm(backend(isa), x, norm, EPS, n)
    h = silu(linear(backend(isa), n, packed[0])[0]) * linear(backend(isa), n, packed[1])[0]
    # One step of the 8-bit activations of `down` may fall to the other side of a half.
    np.testing.assert_allclose(out, x + down.product(h), rtol=0, atol=2e-2)
    close = np.abs(out - (x + down.product(h))) < 1e-5 * down.magnitude(h)
    assert close.mean() > 0.9

    for threads, rows in ((1, 1), (2, 5), (1, 8), (2, 17)):
        part = x[2 : 2 + rows].copy()
        _native.ffn(backend(isa, threads), part, norm, EPS, *packed, part)
        assert same_bits(part, out[2 : 2 + rows]), (threads, rows)


@pytest.mark.parametrize("kind", ["Q4_K", "Q8_0", "Q6_K", "F16"])
@pytest.mark.parametrize("isa", ISAS)
def test_what_is_not_finite_stays_in_its_row(isa: str, kind: str) -> None:
    matrix = Matrix.random(GGMLType[kind], 40, 512)
    packed = matrix.pack()
    x = activations(6, 512)
    (clean,) = linear(backend(isa), x, packed)
    for bad in (np.nan, np.inf, -np.inf):
        x[2, 300], x[5, 0] = bad, bad
        (out,) = linear(backend(isa), x, packed)
        assert not np.isfinite(out[[2, 5]]).any()
        assert same_bits(out[[0, 1, 3, 4]], clean[[0, 1, 3, 4]])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ["Q4_K", "Q8_0", "Q6_K", "IQ4_NL"])
def test_the_smallest_and_the_largest_activations(isa: str, kind: str) -> None:
    matrix = Matrix.random(GGMLType[kind], 16, 512)
    packed = matrix.pack()
    x = activations(5, 512)
    x[1] = 0
    x[2] *= np.float32(1e-42)  # subnormal: counts as zero
    x[3] *= np.float32(1e-34)
    x[4] *= np.float32(1e37)
    with np.errstate(over="ignore"):
        (out,) = linear(backend(isa), x, packed)
    assert not out[1:3].any()
    for row in (3, 4):
        want = matrix.product(x[row : row + 1])
        np.testing.assert_allclose(out[row : row + 1], want, rtol=2e-4, atol=1e-38)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("cols", [1, 15, 16, 63, 64, 100, 2048, 5000])
def test_rms_norm(isa: str, cols: int) -> None:
    x, weight = activations(7, cols) * 3, activations(1, cols, seed=4)[0]
    out = np.empty_like(x)
    _native.rms_norm(backend(isa), x, weight, EPS, out)
    wide = x.astype(np.float64)
    want = wide / np.sqrt((wide**2).mean(1, keepdims=True) + EPS) * weight
    np.testing.assert_allclose(out, want, rtol=2e-6, atol=1e-7)
    one = np.empty_like(x[:1])
    _native.rms_norm(backend(isa, 1), x[3:4], weight, EPS, one)
    assert same_bits(one, out[3:4])


@pytest.mark.parametrize("isa", ISAS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_argmax_takes_the_first_of_equals_and_never_nan(isa: str, data: st.DataObject) -> None:
    values = st.sampled_from([0.0, 1.0, -1.0, 2.0, np.nan, -np.inf, np.inf])
    cols = data.draw(st.integers(1, 70))
    row = st.lists(values, min_size=cols, max_size=cols)
    x = np.array(data.draw(st.lists(row, min_size=1, max_size=3)), np.float32)
    index, value = argmax(isa, x)
    for i, r in enumerate(x):
        if np.isnan(r).all():
            assert index[i] == 0
            assert np.isnan(value[i])
        else:
            assert index[i] == np.flatnonzero(r == np.nanmax(r))[0]  # nanargmax: NaN is -inf
            assert value[i] == np.nanmax(r)


@pytest.mark.parametrize("isa", ISAS)
def test_argmax_over_a_vocabulary(isa: str) -> None:
    x = activations(5, 248_320)
    x[1, [77, 9_000, 248_319]] = 50
    x[2, 248_319] = 50
    x[3, 0] = 50
    index, value = argmax(isa, x)
    assert index.tolist() == x.argmax(1).tolist()
    assert same_bits(value, x.max(1))


def argmax(isa: str, x: Floats) -> tuple[np.ndarray, Floats]:
    index = np.full(len(x), -7, np.int32)
    value = np.empty(len(x), np.float32)
    _native.argmax_rows(backend(isa), x, index, value)
    return index, value
