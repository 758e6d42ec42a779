"""Noise: a pure function of (seed, position, id), uniform and uncorrelated along each of them."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong import _native

MASK = 2**64 - 1


def uniform(seed: int, position: int, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    return np.array([_native.uniform(seed, position, token) for token in ids.tolist()])


def gumbel(seed: int, position: int, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    return np.array([_native.gumbel(seed, position, token) for token in ids.tolist()])


def splitmix_finaliser(word: int) -> int:
    """Stafford's variant 13, in arbitrary precision."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)


def slow_uniform(seed: int, position: int, token: int) -> float:
    golden = 0x9E3779B97F4A7C15
    first = splitmix_finaliser((seed + golden) & MASK)
    second = splitmix_finaliser(first ^ splitmix_finaliser((position + 2 * golden) & MASK))
    word = splitmix_finaliser((token * golden + second) & MASK)
    return ((splitmix_finaliser(word ^ first) >> 12) + 0.5) * 2.0**-52


@given(st.integers(0, MASK), st.integers(0, 2**40), st.integers(0, 2**31))
def test_equals_integer_arithmetic(seed: int, position: int, token: int) -> None:
    u = slow_uniform(seed, position, token)
    assert uniform(seed, position, np.array([token]))[0] == u
    assert gumbel(seed, position, np.array([token]))[0] == pytest.approx(-math.log(-math.log(u)))


def test_the_finaliser_is_splitmix64s() -> None:
    # SplitMix64's first outputs from state 1234567, as given on Rosetta Code and in many a port:
    # they pin shifts and multipliers.
    state, outputs = 1234567, []
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        outputs.append(splitmix_finaliser(state))
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_known_values_stay() -> None:
    # A text belongs to its seed: these may never change.
    values = gumbel(42, 1000, np.array([0, 1, 248319]))
    assert values.tolist() == pytest.approx(
        [-0.7097046311269556, -1.1551936332776618, 3.167438214182449], rel=1e-14
    )


def test_values_are_finite_and_within_their_bounds() -> None:
    g = gumbel(3, 1, np.arange(300_000))
    assert np.isfinite(g).all()
    assert -3.61 < g.min() < -2.4
    assert 10 < g.max() < 36.74
    assert -math.log(-math.log(0.5 * 2.0**-52)) == pytest.approx(-3.605, abs=2e-3)
    top = (2.0**52 - 0.5) * 2.0**-52
    assert top < 1
    assert -math.log(-math.log(top)) == pytest.approx(36.7368, abs=1e-3)


def test_distribution_is_gumbel() -> None:
    g = np.sort(gumbel(11, 3, np.arange(100_000)))
    expected = np.exp(-np.exp(-g))
    distance = np.abs(expected - (np.arange(g.size) + 0.5) / g.size).max()
    assert distance < 1.95 / math.sqrt(g.size)  # Kolmogorov-Smirnov, p about 0.001
    assert g.mean() == pytest.approx(0.5772, abs=0.02)
    assert g.var() == pytest.approx(math.pi**2 / 6, abs=0.05)


def chi_square(u: npt.NDArray[np.float64], bins: int = 64) -> float:
    counts = np.bincount((u * bins).astype(int), minlength=bins)
    expected = u.size / bins
    return float(((counts - expected) ** 2).sum() / expected)


# 63 degrees of freedom: 1e-4 lie above 113, as many below 29.
N = 50_000


def along(axis: str, n: int) -> npt.NDArray[np.float64]:
    if axis == "ids":
        return uniform(5, 9, np.arange(n))
    one = np.array([77])
    if axis == "positions":
        return np.array([uniform(5, position, one)[0] for position in range(n)])
    if axis == "seeds":
        return np.array([uniform(seed, 9, one)[0] for seed in range(n)])
    return np.array([uniform(i << 32, i << 20, one)[0] for i in range(n)])


@pytest.mark.parametrize("axis", ["ids", "positions", "seeds", "high bits"])
def test_uniform_and_independent_along(axis: str) -> None:
    u = along(axis, 10_000)
    assert 29 < chi_square(u) < 113
    for lag in (1, 2, 64):
        a, b = u[:-lag], u[lag:]
        r = float(np.corrcoef(a, b)[0, 1])
        assert abs(r) < 4 / math.sqrt(u.size)
        # Pairs fill the square evenly.
        assert 29 < chi_square((np.floor(a * 8) * 8 + b * 8) / 64) < 113
    bits = (u[:, None] * 2.0 ** np.arange(1, 21) % 2) >= 1
    share = bits.mean(axis=0)
    assert np.abs(share - 0.5).max() < 4.5 * 0.5 / math.sqrt(u.size)


@pytest.mark.parametrize(
    ("first", "second"),
    [((0, 0), (0, 1)), ((0, 0), (1, 0)), ((0, 1), (1, 0)), ((7, 100), (100, 7)), ((3, 3), (4, 2))],
)
def test_neighbouring_streams_are_uncorrelated(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    ids = np.arange(N)
    a, b = uniform(*first, ids), uniform(*second, ids)
    for shift in (-1, 0, 1):
        assert abs(float(np.corrcoef(a, np.roll(b, shift))[0, 1])) < 4 / math.sqrt(N)
    assert not np.intersect1d(a, b).size  # nor one stream read from another offset
