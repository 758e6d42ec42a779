"""The gated delta-net: against the reference, in any cut, and after any rejected drafts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequence_cases import EPS, WAYS, DeltaNet, best, bits, cpu, rows_of

from headlong import _native
from headlong.ops.batch import Batch, FloatArray
from headlong.ops.cpu import CpuOps, instruction_sets
from headlong.ops.reference import ReferenceOps
from headlong.ops.state import DeltaNetShape, RecurrentLayer

SHAPES = [  # key heads, value heads, key dim, value dim, taps
    DeltaNetShape(2, 2, 128, 128, 4),
    DeltaNetShape(2, 6, 64, 32, 4),  # three value heads on each key head
    DeltaNetShape(1, 2, 16, 48, 2),  # a tile of two vectors and one of one
    DeltaNetShape(3, 3, 32, 16, 8),
    DeltaNetShape(1, 1, 256, 256, 3),
]
MEMBERS = ("s", "conv", "pending_k", "pending_delta", "pending_decay", "pending_u")
MAX_DRAFT = 4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("isa", instruction_sets())
def test_outputs_and_states_are_the_reference_ones(isa: str, shape: DeltaNetShape) -> None:
    """A prompt longer than a block, a verify pass, and one that folds what it left."""
    case = DeltaNet.random(60, shape)
    mine, theirs = case.state(2), case.state(2)
    for first, segment in [
        (0, rows_of(1, 45)),
        (45, rows_of(1, 5, final=1)),
        (50, rows_of(1, 4, final=1, fold=3)),
        (54, rows_of(1, 0, fold=2)),
        (54, rows_of(1, 6)),
    ]:
        part = case.rows(slice(first, first + segment.tokens.size))
        batch = Batch.of([segment])
        got = part.run(cpu(isa, 2), mine, batch)
        wanted = part.run(ReferenceOps(), theirs, batch)  # type: ignore[arg-type]
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
        for member in MEMBERS:
            np.testing.assert_allclose(
                getattr(mine, member), getattr(theirs, member), rtol=1e-4, atol=2e-5
            )


@given(
    cuts=st.lists(st.integers(1, 59), max_size=8),
    way=st.sampled_from(WAYS),
    pending=st.integers(1, 40),
)
@settings(max_examples=40, deadline=None)
def test_a_stream_has_the_same_bits_in_any_cut(
    cuts: list[int], way: tuple[str, int], pending: int
) -> None:
    case = DeltaNet.random(60)
    wanted_state = case.state()
    wanted = case.run(cpu(*way), wanted_state, Batch.of([rows_of(0, 60)]))
    state = case.state(pending=pending)
    edges = [0, *sorted(set(cuts)), 60]
    for first, last in itertools.pairwise(edges):
        part = case.rows(slice(first, last))
        got = part.run(cpu(*way), state, Batch.of([rows_of(0, last - first)]))
        assert bits(got) == bits(wanted[first:last])
    assert committed(state, 0) == committed(wanted_state, 0)


@pytest.mark.skipif(
    not {"avx2", "avx512"} <= set(instruction_sets()), reason="needs AVX2 and AVX-512"
)
@pytest.mark.parametrize("shape", SHAPES)
def test_vector_widths_agree_bit_for_bit(shape: DeltaNetShape) -> None:
    case = DeltaNet.random(50, shape)
    states = {isa: case.state() for isa in ("avx2", "avx512")}
    outs = [
        case.run(cpu(isa, 2), state, Batch.of([rows_of(0, 50, final=47)]))
        for isa, state in states.items()
    ]
    assert bits(outs[0]) == bits(outs[1])
    for member in MEMBERS:
        assert bits(getattr(states["avx2"], member)) == bits(getattr(states["avx512"], member))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_rejected_drafts_leave_no_trace(data: st.DataObject) -> None:
    """Random histories of drafting and rejecting end in the state of plain decoding, to the byte.

    Two sequences share every pass, and each drafts as many rows as it likes.
    """
    way = data.draw(st.sampled_from(WAYS))
    ops = cpu(*way)
    streams = [DeltaNet.random(40, seed=1), DeltaNet.random(40, seed=2)]
    wrong = DeltaNet.random(40, seed=3)
    state = streams[0].state(slots=3, pending=MAX_DRAFT)
    for member in MEMBERS[2:]:
        getattr(state, member)[...] = np.nan  # only what a pass wrote may be folded
    slots = (2, 0)
    done, fold = [0, 0], [0, 0]
    outputs: list[list[FloatArray]] = [[], []]
    for _ in range(data.draw(st.integers(1, 6))):
        segments, parts, accepted = [], [], []
        for i in range(2):
            drafts = data.draw(st.integers(0, MAX_DRAFT))
            right = data.draw(st.integers(0, drafts))
            index = np.arange(done[i], done[i] + 1 + right)
            parts.append((streams[i].rows(index), wrong.rows(np.arange(drafts - right))))
            segments.append(rows_of(slots[i], 1 + drafts, final=1, fold=fold[i]))
            accepted.append(right)
        out = joined([p for pair in parts for p in pair]).run(ops, state, Batch.of(segments))
        row = 0
        for i in range(2):
            outputs[i].append(out[row : row + 1 + accepted[i]])
            row += segments[i].tokens.size
            done[i] += 1 + accepted[i]
            fold[i] = accepted[i]
    settle = Batch.of([rows_of(slots[i], 0, fold=fold[i]) for i in range(2)])
    assert wrong.rows(slice(0, 0)).run(ops, state, settle).size == 0
    for i in range(2):
        plain = streams[i].state(slots=3)
        for row in range(done[i]):
            one = streams[i].rows(slice(row, row + 1))
            wanted = one.run(ops, plain, Batch.of([rows_of(slots[i], 1)]))
            assert bits(np.concatenate(outputs[i])[row]) == bits(wanted[0])
        assert committed(state, slots[i]) == committed(plain, slots[i])
    assert not state.s[1].any()
    assert not state.conv[1].any()


def test_a_pass_that_commits_nothing_leaves_the_state() -> None:
    case = DeltaNet.random(20)
    state = case.state()
    case.rows(slice(0, 15)).run(best(), state, Batch.of([rows_of(0, 15)]))
    before = committed(state, 0)
    case.rows(slice(15, 19)).run(best(), state, Batch.of([rows_of(0, 4, final=0)]))
    assert committed(state, 0) == before
    case.rows(slice(0, 0)).run(best(), state, Batch.of([rows_of(0, 0, fold=4)]))
    plain = case.state()
    case.rows(slice(0, 19)).run(best(), plain, Batch.of([rows_of(0, 19)]))
    assert committed(state, 0) == committed(plain, 0)


@pytest.mark.parametrize("isa", instruction_sets())
def test_nan_stays_with_its_sequence(isa: str) -> None:
    case = DeltaNet.random(9)
    batch = Batch.of([rows_of(0, 3), rows_of(1, 3), rows_of(2, 3)])
    wanted = case.run(cpu(isa, 2), case.state(3), batch)
    for name in ("qkv", "alpha", "beta", "z"):
        broken = DeltaNet.random(9)
        getattr(broken, name)[4] = np.nan
        got = broken.run(cpu(isa, 2), broken.state(3), batch)
        assert np.isnan(got[4]).all(), name
        assert bits(got[:4]) == bits(wanted[:4])
        assert bits(got[6:]) == bits(wanted[6:])


@pytest.mark.parametrize("isa", instruction_sets())
def test_extreme_gates(isa: str) -> None:
    """A decay too small for float32 forgets the state at once; none keeps it all."""
    shape = DeltaNetShape(1, 1, 16, 16, 2)
    case = DeltaNet.random(2, shape)
    case.weights.a[:] = -16
    state = case.state()
    state.s[...] = 1e30
    case.alpha[:] = 1000
    out = case.rows(slice(0, 1)).run(cpu(isa, 1), state, Batch.of([rows_of(0, 1)]))
    fresh = case.state()
    wanted = case.rows(slice(0, 1)).run(cpu(isa, 1), fresh, Batch.of([rows_of(0, 1)]))
    assert bits(out) == bits(wanted)
    assert bits(state.s) == bits(fresh.s)

    before = state.s.copy()
    case.alpha[:] = -1000
    case.beta[:] = -1000
    case.rows(slice(1, 2)).run(cpu(isa, 1), state, Batch.of([rows_of(0, 1)]))
    assert bits(state.s) == bits(before)


def committed(state: RecurrentLayer, slot: int) -> tuple[bytes, bytes]:
    return bits(state.s[slot]), bits(state.conv[slot])


def joined(parts: list[DeltaNet]) -> DeltaNet:
    return DeltaNet(
        parts[0].weights,
        *(np.concatenate([getattr(p, n) for p in parts]) for n in ("qkv", "z", "beta", "alpha")),
    )


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


WRONG = {
    "float64": ({"qkv": np.zeros((2, 96))}, "qkv must be float32"),
    "an odd head": ({"state": zeros(3, 2, 24, 16)}, "state heads of 24 x 16"),
    "a huge head": ({"state": zeros(3, 2, 512, 16)}, "state heads of 512 x 16"),
    "no keys": ({"qkv": zeros(2, 32)}, "no whole number of query and key heads"),
    "half a key head": ({"qkv": zeros(2, 80)}, "no whole number of query and key heads"),
    "three key heads": ({"qkv": zeros(2, 128)}, "2 value heads do not divide among 3 key heads"),
    "one tap": ({"conv_w": zeros(96, 1)}, "conv_w has 1 taps"),
    "nine taps": ({"conv_w": zeros(96, 9)}, "conv_w has 9 taps"),
    "other channels": ({"conv_w": zeros(97, 4)}, r"conv_w must have shape \[96, \*\]"),
    "other gates": ({"beta": zeros(2, 3)}, "beta must have shape"),
    "other conv": ({"conv": zeros(3, 4, 96)}, r"conv must have shape \[3, 3, 96\]"),
    "fewer pending": ({"pending_u": zeros(3, 1, 96)}, r"pending_u must have shape \[3, 2, 96\]"),
    "a slot too far": ({"slot": ints(3)}, r"slot\[0\] is 3, outside 0..2"),
    "a slot below zero": ({"slot": ints(-1)}, r"slot\[0\] is -1"),
    "a slot twice": (
        {"slot": ints(1, 1), "row_start": ints(0, 1), "rows": ints(1, 1), "fold": ints(0, 0),
         "final": ints(1, 1)},
        r"slot\[1\] appears twice",
    ),
    "too much to fold": ({"fold": ints(3)}, r"fold\[0\] is 3, outside 0..2"),
    "final past the rows": ({"final": ints(3)}, r"final\[0\] is 3, outside 0..2"),
    "final below zero": ({"final": ints(-1)}, r"final\[0\] is -1"),
    "too many drafts": (
        {"pending_k": zeros(3, 1, 32), "pending_delta": zeros(3, 1, 32),
         "pending_decay": zeros(3, 1, 2), "pending_u": zeros(3, 1, 96), "final": ints(0)},
        "leaves 2 rows pending; there is room for 1",
    ),
    "rows past the end": ({"row_start": ints(1)}, "segment 0 ends at row 3 of 2"),
    "a read-only state": ({"state": np.broadcast_to(np.float32(0), (3, 2, 16, 16))}, "state"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name: str) -> None:
    changes, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        call_delta_net(best(), **changes)


def test_the_call_that_the_wrong_ones_change_is_right() -> None:
    call_delta_net(best())


def call_delta_net(ops: CpuOps, **changes: np.ndarray) -> None:
    arguments = {
        "qkv": zeros(2, 96), "z": zeros(2, 32), "beta": zeros(2, 2), "alpha": zeros(2, 2),
        "conv_w": zeros(96, 4), "ssm_a": zeros(2), "dt_bias": zeros(2), "norm_w": zeros(16),
        "eps": EPS, "state": zeros(3, 2, 16, 16), "conv": zeros(3, 3, 96),
        "pending_k": zeros(3, 2, 32), "pending_delta": zeros(3, 2, 32),
        "pending_decay": zeros(3, 2, 2), "pending_u": zeros(3, 2, 96), "slot": ints(1),
        "row_start": ints(0), "rows": ints(2), "fold": ints(0), "final": ints(2),
        "out": zeros(2, 32),
    }  # fmt: skip
    backend = _native.Backend(ops.threads, ops.isa)
    _native.delta_net(backend, **(arguments | changes))
