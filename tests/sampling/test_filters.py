import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_sampler import best_first, slow_min_p, slow_top_p, slow_typical_p, softmax

from headlong.sampling.filters import (
    keep_min_p,
    keep_top_p,
    keep_typical_p,
    likely,
    nucleus,
    top_k,
)

# Few distinct values, so that ties and -inf are common.
LOGITS = st.lists(
    st.one_of(st.sampled_from([0.0, -0.0, 1.0, -2.5, -math.inf]), st.floats(-30, 30, width=32)),
    min_size=1,
    max_size=400,
)
SHARE = st.floats(0, 1)


def alive(logits: list[float]) -> list[float]:
    return sorted((x for x in logits if x > -math.inf), reverse=True) or [0.0]


def on_the_edge(logits: list[float], p: float) -> bool:
    """Whether a running sum comes so close to p that rounding decides."""
    return bool((np.abs(np.cumsum(softmax(logits)) - p) < 1e-12).any())


@given(LOGITS, st.integers(1, 500))
def test_top_k(logits: list[float], k: int) -> None:
    assert top_k(np.array(logits, np.float32), k).tolist() == best_first(logits)[:k]


@pytest.mark.parametrize("size", [63, 64, 65, 4095, 4096, 10_007])
@pytest.mark.parametrize("values", [3, 50, 10**6])
def test_top_k_of_longer_rows(size: int, values: int) -> None:
    row = np.random.default_rng(size).integers(0, values, size).astype(np.float32)
    row[::5] = -math.inf
    expected = best_first(row.tolist())
    for k in (1, 2, 15, 16, 17, 40, size // 3, size):
        assert top_k(row, k).tolist() == expected[:k]


def test_top_k_of_nothing_is_nothing() -> None:
    assert top_k(np.full(1000, -math.inf, np.float32), 40).size == 0


@given(LOGITS, SHARE)
def test_nucleus_is_top_p_of_everything(logits: list[float], p: float) -> None:
    order = best_first(logits)
    best = [logits[i] for i in order]
    if not order or on_the_edge(best, p):
        return
    row = np.array(logits, np.float32)
    assert nucleus(row, p).tolist() == order[: slow_top_p(best, p)]


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0])
def test_nucleus_of_a_long_row(p: float, scale: float) -> None:
    row = (np.random.default_rng(1).standard_normal(20_000) * scale).astype(np.float32)
    order = np.argsort(-row, kind="stable")
    weights = np.exp(row[order].astype(np.float64))
    wanted = int(np.searchsorted(np.cumsum(weights) / weights.sum(), p - 1e-9)) + 1
    kept = nucleus(row, p)
    assert abs(kept.size - min(wanted, row.size)) <= 1 or p == 1.0
    assert np.array_equal(kept, order[: kept.size])
    assert p < 1.0 or kept.size > 0.99 * row.size


@given(LOGITS, st.floats(1e-6, 1))
def test_likely_holds_all_that_min_p_keeps(logits: list[float], p: float) -> None:
    order = best_first(logits)
    if not order:
        return
    found = likely(np.array(logits, np.float32), p)
    kept = keep_min_p(np.array([logits[i] for i in order]), p)
    assert found.tolist() == order[: found.size]
    assert found.size >= kept
    assert all(logits[i] >= logits[order[0]] + math.log(p) - 0.02 for i in found)


@given(LOGITS, SHARE)
def test_top_p(logits: list[float], p: float) -> None:
    best = alive(logits)
    if not on_the_edge(best, p):
        assert keep_top_p(np.array(best), p) == slow_top_p(best, p)


@given(LOGITS, SHARE)
def test_min_p(logits: list[float], p: float) -> None:
    best = alive(logits)
    ratios = np.exp(np.array(best) - best[0])
    if not (np.abs(ratios - p) < 1e-12).any() or p in (0, 1):
        assert keep_min_p(np.array(best), p) == slow_min_p(best, p)


@given(LOGITS, SHARE)
def test_typical_p(logits: list[float], p: float) -> None:
    best = alive(logits)
    probabilities = np.array(softmax(best))
    surprise = -np.log(probabilities)
    distance = np.abs(surprise - (probabilities * surprise).sum())
    order = np.argsort(distance, kind="stable")
    gaps = np.diff(distance[order])
    equal = np.diff(np.array(best)[order]) == 0
    edge = np.abs(np.cumsum(probabilities[order]) - p) < 1e-9
    if ((gaps < 1e-9) & ~equal).any() or edge.any():
        return  # rounding decides
    assert keep_typical_p(np.array(best), p).tolist() == slow_typical_p(best, p)


def test_typical_p_can_drop_the_best() -> None:
    # One token of 0.4 and sixty of 0.01: the entropy is 3.1 nats, the best one's surprise 0.9 and
    # the others' 4.6, so the others are the typical ones.
    logits = np.log(np.array([0.4] + [0.01] * 60))
    kept = keep_typical_p(logits, 0.5)
    assert kept.size == 50
    assert 0 not in kept


@pytest.mark.parametrize("p", [0.0, 1e-300, 0.5, 1.0])
def test_something_always_stays(p: float) -> None:
    for logits in (np.array([5.0]), np.zeros(7), np.array([50.0, -50.0])):
        assert 1 <= keep_top_p(logits, p) <= logits.size
        assert 1 <= keep_min_p(logits, p) <= logits.size
        assert 1 <= keep_typical_p(logits, p).size <= logits.size
        assert nucleus(logits.astype(np.float32), p).size >= 1


def test_reaching_is_enough() -> None:
    halves = np.zeros(2)
    assert keep_top_p(halves, 0.5) == 1
    assert keep_min_p(halves, 1.0) == 2
    assert nucleus(halves.astype(np.float32), 0.5).tolist() == [0]
    assert keep_typical_p(halves, 0.5).tolist() == [0]


def test_hand_computed() -> None:
    logits = np.log(np.array([0.5, 0.25, 0.15, 0.1]))
    assert [keep_top_p(logits, p) for p in (0.4, 0.6, 0.8, 0.95)] == [1, 2, 3, 4]
    assert [keep_min_p(logits, p) for p in (0.6, 0.4, 0.25, 0.1)] == [1, 2, 3, 4]
    # Entropy 1.208 nats; surprises 0.69 1.39 1.90 2.30: distances 0.51 0.18 0.69 1.09.
    assert keep_typical_p(logits, 0.2).tolist() == [1]
    assert keep_typical_p(logits, 0.7).tolist() == [0, 1]
    assert keep_typical_p(logits, 0.8).tolist() == [0, 1, 2]
