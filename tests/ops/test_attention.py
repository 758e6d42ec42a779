"""Attention and the KV cache: against the reference, and row by row the same bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequence_cases import EPS, WAYS, Attention, best, bits, cpu, tokens

from headlong import _native
from headlong.ops.batch import PAGE, Batch, FloatArray, Segment, rotary_frequencies
from headlong.ops.cpu import CpuOps, instruction_sets
from headlong.ops.reference import ReferenceOps
from headlong.ops.state import KV_TYPES, KVLayer

SHAPES = [  # query heads, KV heads, head dim, rotated dims
    (8, 2, 256, 64),
    (10, 2, 64, 32),  # five heads a group: 3 + 2
    (7, 1, 96, 10),  # odd group, pairs that fill no vector
    (3, 3, 16, 16),
    (2, 1, 512, 0),
    (17, 1, 80, 80),
]


@pytest.mark.parametrize("kind", KV_TYPES)
@pytest.mark.parametrize(("isa", "threads"), WAYS)
def test_stored_keys_and_values_are_the_reference_ones(isa: str, threads: int, kind: str) -> None:
    case = Attention.random(150, kind=kind, start=40)
    other = replace(case, cache=KVLayer(*(copy(a) for a in arrays(case.cache))))
    case.store(cpu(isa, threads), 0, 150)
    other.store(ReferenceOps(), 0, 150)  # type: ignore[arg-type]
    for mine, theirs in zip(arrays(case.cache), arrays(other.cache), strict=True):
        if mine is None:
            continue
        if mine.dtype == np.uint16:
            a, b = mine.view(np.float16), theirs.view(np.float16)
            assert np.array_equal(np.isnan(a), np.isnan(b)), "no other cell may be written"
            kept = ~np.isnan(a)
            np.testing.assert_allclose(a[kept], b[kept], rtol=1e-3, atol=1e-6)
        else:
            assert np.abs(mine.astype(int) - theirs.astype(int)).max() <= 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("isa", instruction_sets())
def test_attention_is_the_reference_one(isa: str, shape: tuple[int, int, int, int]) -> None:
    heads, kv_heads, dim, rotated = shape
    case = Attention.random(70, heads=heads, kv_heads=kv_heads, dim=dim, rotated=rotated, start=470)
    case.store(best(), 0, 70)
    wanted = case.attend(ReferenceOps(), 0, 70)  # type: ignore[arg-type]
    np.testing.assert_allclose(case.attend(cpu(isa, 2), 0, 70), wanted, rtol=0, atol=3e-6)


@pytest.mark.parametrize("isa", instruction_sets())
def test_attention_over_an_int8_cache_is_the_reference_one(isa: str) -> None:
    case = Attention.random(40, dim=64, start=1100, kind="q8_0")
    case.store(best(), 0, 40)
    wanted = case.attend(ReferenceOps(), 0, 40)  # type: ignore[arg-type]
    np.testing.assert_allclose(case.attend(cpu(isa, 2), 0, 40), wanted, rtol=0, atol=3e-6)


@pytest.mark.parametrize("kind", KV_TYPES)
@pytest.mark.parametrize(("isa", "threads"), WAYS)
def test_a_row_has_the_same_bits_in_any_pass(isa: str, threads: int, kind: str) -> None:
    """The stream crosses a page, a chunk and a block of rows; passes of 1, 2, ... 17, all rows."""
    ops = cpu(isa, threads)
    case = Attention.random(170, start=1400, kind=kind)
    case.store(ops, 0, 170)
    whole = case.attend(ops, 0, 170)
    first = 0
    for rows in range(1, 18):
        assert bits(case.attend(ops, first, rows)) == bits(whole[first : first + rows])
        first += rows


@pytest.mark.parametrize("kind", KV_TYPES)
@pytest.mark.parametrize("isa", instruction_sets())
def test_threads_do_not_change_a_bit(isa: str, kind: str) -> None:
    case = Attention.random(33, start=2040, kind=kind)
    case.store(cpu(isa, 1), 0, 33)
    stored = [copy(a) for a in arrays(case.cache)]
    case.store(cpu(isa, 2), 0, 33)
    for one, two in zip(stored, arrays(case.cache), strict=True):
        assert one is None or bits(one) == bits(two)
    assert bits(case.attend(cpu(isa, 1), 0, 33)) == bits(case.attend(cpu(isa, 2), 0, 33))


@pytest.mark.skipif(
    not {"avx2", "avx512"} <= set(instruction_sets()), reason="needs AVX2 and AVX-512"
)
@pytest.mark.parametrize("kind", KV_TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_vector_widths_agree_bit_for_bit(shape: tuple[int, int, int, int], kind: str) -> None:
    heads, kv_heads, dim, rotated = shape
    if kind == "q8_0" and dim % 32:
        dim += 32 - dim % 32
    case = Attention.random(
        90, heads=heads, kv_heads=kv_heads, dim=dim, rotated=rotated, start=1000, kind=kind
    )
    stored = []
    for isa in ("avx2", "avx512"):
        case.store(cpu(isa, 2), 0, 90)
        stored.append([None if a is None else bits(a) for a in arrays(case.cache)])
    assert stored[0] == stored[1]
    assert bits(case.attend(cpu("avx2", 2), 0, 90)) == bits(case.attend(cpu("avx512", 2), 0, 90))


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_other_sequences_of_a_batch_do_not_matter(data: st.DataObject) -> None:
    """Sequences of random lengths in one cache, in random order, against each alone."""
    ops = best()
    lengths = data.draw(st.lists(st.tuples(st.integers(0, 700), st.integers(1, 20)), min_size=1,
                                 max_size=5))  # fmt: skip
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    pages = [-(-(start + rows) // PAGE) for start, rows in lengths]
    cache = KVLayer.allocate(sum(pages), 2, 32, "f16")
    cache.k[...] = rng.standard_normal(cache.k.shape).astype(np.float16).view(np.uint16)
    cache.v[...] = rng.standard_normal(cache.v.shape).astype(np.float16).view(np.uint16)
    owners = np.split(rng.permutation(sum(pages)).astype(np.int32), np.cumsum(pages)[:-1])
    segments = [
        Segment(i, start, tokens(rows), owners[i], rows) for i, (start, rows) in enumerate(lengths)
    ]
    qg = [rng.standard_normal((rows, 4 * 64)).astype(np.float32) for _, rows in lengths]
    norm = np.ones(32, np.float32)

    def attend(order: list[int]) -> FloatArray:
        batch = Batch.of([segments[i] for i in order])
        rope = best().angles(batch, rotary_frequencies(16, 1e4))
        return ops.attend(np.concatenate([qg[i] for i in order]), norm, EPS, rope, cache, batch)

    order = data.draw(st.permutations(range(len(lengths))))
    together = np.split(attend(list(order)), np.cumsum([lengths[i][1] for i in order])[:-1])
    for place, i in enumerate(order):
        assert bits(together[place]) == bits(attend([i]))


def test_a_broken_row_breaks_no_row_before_it() -> None:
    """A draft that overflowed must not reach the row it followed, not even as 0 * NaN."""
    case = Attention.random(8, start=60)
    case.store(best(), 0, 8)
    wanted = case.attend(best(), 0, 8)
    case.v[5] = np.nan
    case.k[5] = np.inf
    case.store(best(), 0, 8)
    got = case.attend(best(), 0, 8)
    assert bits(got[:5]) == bits(wanted[:5])
    assert np.isnan(got[5:]).all()


@pytest.mark.parametrize("isa", instruction_sets())
@pytest.mark.parametrize("what", ["query", "gate"])
def test_nan_stays_with_its_row_and_head(isa: str, what: str) -> None:
    case = Attention.random(6, start=600)
    case.store(best(), 0, 6)
    wanted = case.attend(cpu(isa, 2), 0, 6).reshape(6, case.heads, case.dim)
    view = case.qg.reshape(6, case.heads, 2, case.dim)
    view[2, 3, 0 if what == "query" else 1, :] = np.nan
    got = case.attend(cpu(isa, 2), 0, 6).reshape(6, case.heads, case.dim)
    assert np.isnan(got[2, 3]).all()
    got[2, 3] = wanted[2, 3]
    assert bits(got) == bits(wanted)


@pytest.mark.parametrize("isa", instruction_sets())
def test_scores_far_apart_stay_exact(isa: str) -> None:
    """One position outweighs all others by more than float32 can express."""
    case = Attention.random(1, heads=1, kv_heads=1, dim=16, rotated=0, start=130)
    keys = case.cache.k.view(np.float16)
    keys[np.isfinite(keys)] = -50
    case.q_norm[:] = 50
    case.qg[:] = 1
    case.k[:] = 1
    case.store(best(), 0, 1)
    out = case.attend(cpu(isa, 2), 0, 1)
    gate = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(out, case.v.astype(np.float16) * np.float32(gate), rtol=1e-6)


@pytest.mark.parametrize("kind", KV_TYPES)
def test_values_without_finite_size_come_back_as_nan(kind: str) -> None:
    case = Attention.random(1, kind=kind)
    case.v[0, 3] = np.nan
    case.store(best(), 0, 1)
    out = case.attend(best(), 0, 1).reshape(case.heads, case.dim)
    assert np.isnan(out[:3, 3]).all()  # heads of the first KV head
    assert np.isfinite(out[3:]).all()


def test_a_pass_without_rows_does_nothing() -> None:
    case = Attention.random(4)
    before = bits(case.cache.k)
    case.store(best(), 0, 0)
    assert bits(case.cache.k) == before
    assert case.attend(best(), 0, 0).shape == (0, case.heads * case.dim)


def arrays(cache: KVLayer) -> list[np.ndarray]:
    return [cache.k, cache.v, cache.k_scale, cache.v_scale]  # type: ignore[list-item]


def copy(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else array.copy()


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


WRONG = {
    "a float64 input": ({"qg": np.zeros((2, 64))}, "qg must be float32"),
    "a strided input": ({"qg": np.zeros((2, 128), np.float32)[:, ::2]}, "qg must be a C-cont"),
    "half a head": ({"qg": np.zeros((2, 48), np.float32)}, "qg must be a whole number"),
    "an odd head": ({"q_norm": np.zeros(24, np.float32)}, "q_norm has 24 dims"),
    "a huge head": ({"q_norm": np.zeros(1024, np.float32)}, "q_norm has 1024 dims"),
    "three heads on two": (
        {"qg": np.zeros((2, 96), np.float32), "out": np.zeros((2, 48), np.float32)},
        "3 query heads do not divide among 2 KV heads",
    ),
    "a short out": ({"out": np.zeros((1, 32), np.float32)}, r"out must have shape \[2, 32\]"),
    "angles of other rows": ({"cos": np.zeros((3, 4), np.float32)}, "cos must have shape"),
    "too many pairs": (
        {"cos": np.zeros((2, 9), np.float32), "sin": np.zeros((2, 9), np.float32)},
        "more than half of a head",
    ),
    "an int64 table": ({"page_table": np.zeros((1, 2), np.int64)}, "page_table must be int32"),
    "a page that is not there": ({"page_table": ints(7, 4)[None]}, r"page_table\[0, 0\] is 7"),
    "a page below zero": ({"page_table": ints(-1, 0)[None]}, r"page_table\[0, 0\] is -1"),
    "too few pages": ({"pos_start": ints(127)}, "segment 0 needs 3"),
    "a position below zero": ({"pos_start": ints(-1)}, r"pos_start\[0\] is negative"),
    "a far position": ({"pos_start": ints(2**31 - 1)}, "ends at position 2147483649; at most"),
    "rows past the end": ({"rows": ints(3)}, "segment 0 ends at row 3 of 2"),
    "a negative count": ({"rows": ints(-2)}, r"rows\[0\] is negative"),
    "segments that overlap": (
        {"page_table": np.zeros((2, 2), np.int32), "row_start": ints(0, 1), "rows": ints(2, 1),
         "pos_start": ints(0, 0)},
        r"row_start\[1\] lies inside",
    ),
    "scales for an f16 cache": (
        {"k_scale": np.zeros((4, 2, 64, 1), np.uint16)}, "k_cache must be int8"
    ),
    "one scale of two": (
        {"k_cache": np.zeros((4, 2, 64, 16), np.int8), "v_cache": np.zeros((4, 2, 64, 16), np.int8),
         "k_scale": np.zeros((4, 2, 64, 1), np.uint16)},
        "k_scale and v_scale must both",
    ),
    "blocks of 32 in heads of 16": (
        {"k_cache": np.zeros((4, 2, 64, 16), np.int8), "v_cache": np.zeros((4, 2, 64, 16), np.int8),
         "k_scale": np.zeros((4, 2, 64, 1), np.uint16),
         "v_scale": np.zeros((4, 2, 64, 1), np.uint16)},
        "heads of a multiple of 32 dims",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name: str) -> None:
    changes, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        call_attend(best(), **changes)


def test_the_call_that_the_wrong_ones_change_is_right() -> None:
    call_attend(best())


def call_attend(ops: CpuOps, **changes: np.ndarray) -> None:
    arguments = {
        "qg": np.zeros((2, 64), np.float32),
        "q_norm": np.zeros(16, np.float32),
        "eps": EPS,
        "cos": np.zeros((2, 4), np.float32),
        "sin": np.zeros((2, 4), np.float32),
        "k_cache": np.zeros((4, 2, 64, 16), np.uint16),
        "v_cache": np.zeros((4, 2, 64, 16), np.uint16),
        "k_scale": None,
        "v_scale": None,
        "page_table": np.zeros((1, 2), np.int32),
        "row_start": ints(0),
        "rows": ints(2),
        "pos_start": ints(0),
        "out": np.zeros((2, 32), np.float32),
    }
    backend = _native.Backend(ops.threads, ops.isa)
    _native.attend(backend, **(arguments | changes))
