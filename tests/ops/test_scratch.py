from __future__ import annotations

import gc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.ops import scratch
from headlong.ops.scratch import LEAST_BYTES, Scratch


def address(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> int:
    return array.ctypes.data


def test_memory_is_used_again_once_nobody_refers_to_it() -> None:
    memory = Scratch()
    first = memory.array((256, 128), np.float32)
    second = memory.array((256, 128), np.float32)
    assert address(first) != address(second)
    places, held = {address(first), address(second)}, memory.held
    view = second[3:, :5].T
    del first, second
    third = memory.array((256, 128), np.float32)
    fourth = memory.array((256, 128), np.float32)
    assert address(third) in places
    assert address(fourth) not in places  # the view still stands on it
    del view
    assert address(memory.array((250, 120), np.float32)) in places  # of nearly the same size
    assert memory.held == held * 3 // 2


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 3000)), max_size=12))
def test_arrays_in_use_never_share_memory(shapes: list[tuple[int, int]]) -> None:
    memory = Scratch()
    arrays = []
    for number, shape in enumerate(shapes):
        array = memory.array(shape, np.float32)
        assert array.shape == shape
        assert array.flags.c_contiguous
        array.fill(number)
        arrays.append(array)
        if number % 3 == 2:
            del arrays[0]
    for earlier, later in pairwise(arrays):
        assert earlier[0, 0] < later[0, 0]
    assert all(len(np.unique(array)) == 1 for array in arrays)
    wanted = sum(a.nbytes for a in arrays if a.nbytes >= LEAST_BYTES)
    assert memory.held <= 1.25 * sum(4 * r * c for r, c in shapes) + 1
    assert memory.held >= wanted


def test_what_is_small_or_too_much_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Scratch()
    assert memory.array((4, 4), np.int32).dtype == np.int32
    assert memory.held == 0
    monkeypatch.setattr(scratch, "MOST_BYTES", 3 * LEAST_BYTES)
    arrays = [memory.array((LEAST_BYTES,), np.uint8) for _ in range(5)]
    assert memory.held == 3 * LEAST_BYTES
    assert len({address(array) for array in arrays}) == 5
    del arrays
    gc.collect()
    assert memory.held == 3 * LEAST_BYTES
