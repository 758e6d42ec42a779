import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_sampler import slow_penalised

from headlong.sampling import SamplingParams
from headlong.sampling.penalties import penalise


def test_hand_computed() -> None:
    logits = np.array([2.0, -2.0, 0.0, -np.inf], np.float32)
    counts = np.array([1, 2, 3, 4])
    result = penalise(logits, counts, repeat=2.0, frequency=0.5, presence=0.25)
    assert result.tolist() == [0.25, -5.25, -1.75, -np.inf]
    assert result.dtype == np.float32
    assert logits.tolist() == [2.0, -2.0, 0.0, -np.inf]


def test_ones_and_zeros_change_nothing() -> None:
    logits = np.array([3.25, -1.5, 0.0], np.float32)
    same = penalise(logits, np.array([1, 2, 3]), repeat=1.0, frequency=0.0, presence=0.0)
    assert np.array_equal(same, logits)


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=8, max_size=8),
    st.lists(st.integers(0, 7), max_size=20),
    st.floats(0.1, 3),
    st.floats(-2, 2),
    st.floats(-2, 2),
)
def test_equals_one_token_at_a_time(
    logits: list[float], window: list[int], repeat: float, frequency: float, presence: float
) -> None:
    params = SamplingParams(
        repeat_penalty=repeat, frequency_penalty=frequency, presence_penalty=presence
    )
    row = np.array(logits, np.float32)
    ids, counts = np.unique(np.array(window, np.int64), return_counts=True)
    row[ids] = penalise(row[ids], counts, repeat=repeat, frequency=frequency, presence=presence)
    assert row.tolist() == pytest.approx(slow_penalised(logits, window, params), rel=1e-6)
