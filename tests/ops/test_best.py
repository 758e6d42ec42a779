"""The fused LM head: the logits of `linear`, the best of them, and nothing that depends on how."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_cases import Floats, Matrix, activations, backend, best, linear, same_bits

from headlong import _native
from headlong.gguf.types import GGMLType
from headlong.ops.best import MOST_BEST, Best, Bits, allowed_bits
from headlong.ops.reference import best_of

ISAS = _native.isas()


def fused(
    run: _native.Backend,
    x: Floats,
    weight: _native.Packed,
    k: int,
    allowed: Bits | None = None,
) -> Best:
    logits = np.full((len(x), k), np.nan, np.float32)
    ids = np.full((len(x), k), -7, np.int32)
    sums = np.full(len(x), np.nan)
    _native.best(run, x, weight, allowed, logits, ids, sums)
    return Best(logits, ids, sums)


def check(got: Best, logits: Floats, k: int, allowed: Bits | None = None) -> None:
    expected = best_of(logits, k, allowed, log_sums=True)
    assert got.ids.tolist() == expected.ids.tolist()
    assert same_bits(got.logits, expected.logits)
    assert got.log_sums is not None
    assert expected.log_sums is not None
    np.testing.assert_allclose(got.log_sums, expected.log_sums, rtol=0, atol=2e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ["Q4_K", "Q6_K", "Q8_0", "F16", "F32"])
def test_best_of_the_logits_that_linear_gives(isa: str, kind: str) -> None:
    for outputs in (1, 15, 16, 500, 512, 513, 1100, 2601):
        weight = Matrix.random(GGMLType[kind], outputs, 256).pack()
        x = activations(9, 256) * 4
        for threads in (1, 2):
            run = backend(isa, threads)
            (logits,) = linear(run, x, weight)
            for k in (1, 2, 40, MOST_BEST, outputs):
                if k <= outputs:
                    check(fused(run, x, weight, k), logits, k)


@settings(max_examples=60, deadline=None)
@given(
    outputs=st.integers(1, 1500),
    rows=st.integers(1, 20),
    data=st.data(),
    seed=st.integers(0, 2**32 - 1),
    isa=st.sampled_from(ISAS),
    threads=st.integers(1, 3),
)
def test_bans_and_equals(
    outputs: int, rows: int, data: st.DataObject, seed: int, isa: str, threads: int
) -> None:
    # Few distinct rows of weights give many equal logits.
    some = Matrix.random(GGMLType.Q8_0, min(outputs, 7), 64, seed)
    rng = np.random.default_rng(seed)
    matrix = Matrix.of(GGMLType.Q8_0, some.raw[rng.integers(0, some.rows, outputs)], 64)
    banned = rng.choice(outputs, data.draw(st.integers(0, outputs)), replace=False)
    allowed = allowed_bits(outputs, banned.tolist())
    k = data.draw(st.integers(1, min(outputs, 200)))
    x = activations(rows, 64, seed) * 3
    run, weight = backend(isa, threads), matrix.pack()
    (logits,) = linear(run, x, weight)
    check(fused(run, x, weight, k, allowed), logits, k, allowed)


def test_rows_and_threads_make_no_difference() -> None:
    weight = Matrix.random(GGMLType.Q4_K, 5003, 512).pack()
    x = activations(70, 512) * 4
    for isa in ISAS:
        alone = [fused(backend(isa, 1), x[i : i + 1], weight, 40) for i in range(len(x))]
        for threads in (1, 2, 3):
            for rows in (1, 2, 3, 8, 9, 70):
                got = fused(backend(isa, threads), x[:rows], weight, 40)
                for i in range(rows):
                    assert got.ids[i].tolist() == alone[i].ids[0].tolist()
                    assert same_bits(got.logits[i], alone[i].logits[0])
                    assert got.log_sums is not None
                    assert alone[i].log_sums is not None
                    assert got.log_sums[i] == alone[i].log_sums[0]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_logit_comes_first_even_if_banned(isa: str, bad: float) -> None:
    values = np.random.default_rng(1).standard_normal((1000, 32)).astype(np.float32)
    values[[3, 700], 0] = bad
    matrix = Matrix.of(GGMLType.F32, values.view(np.uint8).reshape(1000, -1), 32)
    x = np.zeros((1, 32), np.float32)
    x[0, 0] = 1
    allowed = allowed_bits(1000, [3, 5, 700])
    got = fused(backend(isa), x, matrix.pack(), 3, allowed)
    assert got.ids[0, :2].tolist() == [3, 700]
    assert np.array_equal(got.logits[0, :2], [bad, bad], equal_nan=True)
    assert np.isfinite(got.logits[0, 2])


def test_a_hidden_state_that_is_not_finite_is_found() -> None:
    weight = Matrix.random(GGMLType.Q6_K, 900, 256).pack()
    x = activations(3, 256)
    x[1, 7] = np.nan
    got = fused(best(), x, weight, 5)
    assert np.isnan(got.logits[1]).all()
    assert got.ids[1].tolist() == [0, 1, 2, 3, 4]
    assert np.isfinite(got.logits[[0, 2]]).all()


def test_fewer_than_k() -> None:
    weight = Matrix.random(GGMLType.Q8_0, 40, 32).pack()
    allowed = allowed_bits(40, set(range(40)) - {7, 30})
    got = fused(best(), activations(1, 32), weight, 4, allowed)
    assert sorted(got.ids[0, :2].tolist()) == [7, 30]
    assert got.ids[0, 2:].tolist() == [-1, -1]
    assert got.logits[0, 2:].tolist() == [-math.inf, -math.inf]
    nothing = fused(best(), activations(1, 32), weight, 1, allowed_bits(40, range(40)))
    assert (nothing.ids[0, 0], nothing.rows()[0].log_sum) == (-1, -math.inf)


def test_leading_rows_take_the_bits_of_the_whole() -> None:
    weight = Matrix.random(GGMLType.Q8_0, 700, 32).pack()
    allowed = allowed_bits(700, [0, 1, 600])
    got = fused(best(), activations(2, 32), weight.head(333), 333, allowed)
    assert got.ids[0].tolist().count(-1) == 2
    assert got.ids.max() == 332


def f32(*shape: int) -> npt.NDArray[np.float32]:
    return np.zeros(shape, np.float32)


def i32(*shape: int) -> npt.NDArray[np.int32]:
    return np.zeros(shape, np.int32)


@pytest.mark.parametrize(
    ("x", "allowed", "values", "ids", "sums", "message"),
    [
        (f32(1, 31), None, f32(1, 1), i32(1, 1), None, "x must have shape"),
        (f32(1, 32), None, f32(2, 1), i32(2, 1), None, "values must have shape"),
        (f32(1, 32), None, f32(1, 0), i32(1, 0), None, "values needs 1..40"),
        (f32(1, 32), None, f32(1, 41), i32(1, 41), None, "values needs 1..40"),
        (f32(1, 32), None, f32(1, 2), i32(1, 1), None, "ids must have shape"),
        (f32(1, 32), np.zeros(4, np.uint8), f32(1, 1), i32(1, 1), None, "allowed needs a bit"),
        (f32(1, 32), f32(40), f32(1, 1), i32(1, 1), None, "allowed must be uint8"),
        (f32(1, 32), None, f32(1, 1), i32(1, 1), f32(1), "log_sums must be float64"),
        (f32(1, 32), None, f32(1, 1), i32(1, 1), np.zeros(2), "log_sums must have shape"),
    ],
)
def test_arguments_are_checked(
    x: object, allowed: object, values: object, ids: object, sums: object, message: str
) -> None:
    weight = Matrix.random(GGMLType.Q8_0, 40, 32).pack()
    with pytest.raises(ValueError, match=message):
        _native.best(best(), x, weight, allowed, values, ids, sums)  # type: ignore[arg-type]
    empty = _native.Packed(int(GGMLType.Q8_0), 40, 32)
    with pytest.raises(ValueError, match="not filled"):
        _native.best(best(), f32(1, 32), empty, None, f32(1, 1), i32(1, 1), None)
