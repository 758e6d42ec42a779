from __future__ import annotations

import random

import pytest

from headlong.bench.intervals import (
    drift,
    flags,
    geometric_mean,
    median_estimate,
    noise,
    percentile,
    ratio_estimate,
)


def test_pairs_cancel_what_they_share() -> None:
    draw = random.Random(1)
    base = [draw.uniform(10, 100) for _ in range(30)]
    other = [value * 1.5 * draw.uniform(0.99, 1.01) for value in base]
    ratio = ratio_estimate(base, other)
    assert ratio.value == pytest.approx(1.5, rel=0.01)
    assert ratio.low is not None and ratio.high is not None
    assert 1.48 < ratio.low < ratio.value < ratio.high < 1.52
    assert ratio.excludes(1.0) and not ratio.excludes(1.5)
    shuffled = ratio_estimate(base, draw.sample(other, len(other)))
    assert shuffled.low is not None and shuffled.high is not None
    assert shuffled.high - shuffled.low > 10 * (ratio.high - ratio.low)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    draw = random.Random(2)
    held = 0
    for _ in range(100):
        base = [draw.gauss(50, 5) for _ in range(20)]
        other = [value * 1.2 * draw.gauss(1, 0.05) for value in base]
        held += not ratio_estimate(base, other).excludes(1.2)
    assert 85 <= held <= 100


def test_the_same_samples_give_the_same_interval() -> None:
    samples = [3.0, 1.0, 2.0, 5.0]
    assert median_estimate(samples) == median_estimate(samples)
    assert median_estimate(samples).value == 2.5
    assert median_estimate([4.0]).low is None
    assert not median_estimate([4.0]).excludes(1.0)


@pytest.mark.parametrize(
    ("base", "other"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [-1.0])]
)
def test_what_has_no_ratio(base: list[float], other: list[float]) -> None:
    with pytest.raises(ValueError, match="pairs"):
        ratio_estimate(base, other)


def test_drift_and_noise() -> None:
    assert drift([100, 102, 104, 106, 108]) == pytest.approx(8 / 104)
    assert drift([100, 100, 500, 100, 100]) == 0
    assert drift([1.0, 2.0]) is None
    assert noise([1.0]) is None
    assert noise([9.0, 10.0, 11.0]) == pytest.approx(0.1)
    assert flags([100.0, 100.5, 99.8]) == ()
    assert flags([100, 97, 94, 91, 88]) == ("drift -13 %", "noise 5 %")


def test_percentiles_and_means() -> None:
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2
    assert percentile([1.0], 0.99) == 1
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2)
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)
