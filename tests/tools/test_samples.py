"""Repeated measurements: medians, ranges, and an interval that can be trusted to be the same."""

from __future__ import annotations

import random

import pytest

from headlong.errors import ParameterError
from headlong.tools.samples import Samples


def test_median_and_range() -> None:
    samples = Samples.of(iter((3.0, 1.0, 2.0)))
    assert samples.values == (3.0, 1.0, 2.0)
    assert (samples.low, samples.median, samples.high) == (1.0, 2.0, 3.0)
    assert Samples((1.0, 2.0)).median == 1.5


@pytest.mark.parametrize("values", [(), (1.0, 0.0), (-1.0,), (float("nan"),), (float("inf"),)])
def test_what_is_no_measurement(values: tuple[float, ...]) -> None:
    with pytest.raises(ParameterError, match="nothing to take a median of"):
        Samples(values)


def test_the_interval_of_few_measurements_is_their_range() -> None:
    samples = Samples((30.0, 31.0, 35.0))
    assert samples.interval() == (30.0, 35.0)
    assert Samples((4.0,)).interval() == (4.0, 4.0)


def test_the_interval_holds_the_median_and_shrinks() -> None:
    draw = random.Random(1)
    few = Samples.of(draw.gauss(100, 5) for _ in range(8))
    many = Samples.of(draw.gauss(100, 5) for _ in range(200))
    for samples in (few, many):
        low, high = samples.interval()
        assert samples.low <= low <= samples.median <= high <= samples.high
        assert samples.interval() == (low, high)
    assert many.interval()[1] - many.interval()[0] < few.interval()[1] - few.interval()[0]


def test_the_interval_covers_what_it_says() -> None:
    """Of 200 experiments with 9 measurements, about 95 % of the intervals hold the true median."""
    draw = random.Random(2)
    covered = 0
    for _ in range(200):
        low, high = Samples.of(draw.gauss(100, 5) for _ in range(9)).interval()
        covered += low <= 100 <= high
    assert covered >= 0.88 * 200
    assert covered < 200
