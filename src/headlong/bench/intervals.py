"""How sure a figure is: medians, paired bootstrap intervals, drift and noise.

Percentile bootstrap after Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), ch. 13.
Pairs (the same prompt in the same round of the run) are drawn together, so that what both arms
share, such as a prompt's difficulty or a warm machine, cancels.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CONFIDENCE",
    "DRIFT_LIMIT",
    "NOISE_LIMIT",
    "Estimate",
    "drift",
    "flags",
    "geometric_mean",
    "median_estimate",
    "noise",
    "percentile",
    "ratio_estimate",
]

CONFIDENCE: Final = 0.95
DRIFT_LIMIT: Final = 0.05
"""Relative change over a run above which it is flagged."""
NOISE_LIMIT: Final = 0.05
"""Coefficient of variation above which a run is flagged."""

_DRAWS: Final = 2000
_SEED: Final = 20260101  # of the draws: the same samples always give the same interval


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of ``count`` samples and its interval; both ends are None below two samples."""

    value: float
    low: float | None
    high: float | None
    count: int

    def excludes(self, value: float) -> bool:
        """Whether the interval is known and leaves the value out."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high


def median_estimate(samples: Sequence[float]) -> Estimate:
    """The median with its bootstrap interval.

    Raises:
        ValueError: no samples.
    """
    value = statistics.median(samples)
    if len(samples) < 2:
        return Estimate(value, None, None, len(samples))
    values = np.asarray(samples, dtype=np.float64)
    return _interval(value, np.median(values[_draws(len(values))], axis=1), len(values))


def ratio_estimate(base: Sequence[float], other: Sequence[float]) -> Estimate:
    """How many times ``base`` the paired ``other`` is: geometric mean of the pairs' ratios.

    Raises:
        ValueError: no pairs, unequal lengths, or a value that is not above 0.
    """
    if len(base) != len(other):
        raise ValueError(f"{len(base)} and {len(other)} samples are no pairs")
    if not base or min(*base, *other, math.inf) <= 0:
        raise ValueError("a ratio needs pairs of values above 0")
    logs = np.log(np.asarray(other, dtype=np.float64) / np.asarray(base, dtype=np.float64))
    value = float(np.exp(logs.mean()))
    if len(logs) < 2:
        return Estimate(value, None, None, len(logs))
    return _interval(value, np.exp(logs[_draws(len(logs))].mean(axis=1)), len(logs))


def percentile(samples: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of the samples lie, linear between neighbours.

    Raises:
        ValueError: no samples.
    """
    if not samples:
        raise ValueError("no samples")
    return float(np.quantile(np.asarray(samples, dtype=np.float64), share))


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of ratios.

    Raises:
        ValueError: no values, or one that is not above 0.
    """
    return float(ratio_estimate([1.0] * len(values), values).value)


def drift(samples: Sequence[float]) -> float | None:
    """Relative change from the first to the last of samples in the order of measuring.

    By the median of all slopes between two samples (Theil and Sen), so that one outlier is none.
    None below three samples.
    """
    middle = statistics.median(samples) if samples else 0.0
    if len(samples) < 3 or middle <= 0:
        return None
    slopes = [
        (late - early) / (j - i)
        for i, early in enumerate(samples)
        for j, late in enumerate(samples[i + 1 :], i + 1)
    ]
    return statistics.median(slopes) * (len(samples) - 1) / middle


def noise(samples: Sequence[float]) -> float | None:
    """Coefficient of variation: standard deviation by mean.  None below two samples."""
    mean = statistics.fmean(samples) if samples else 0.0
    if len(samples) < 2 or mean <= 0:
        return None
    return statistics.stdev(samples) / mean


def flags(samples: Sequence[float]) -> tuple[str, ...]:
    """Warnings about one figure measured several times, e.g. ``drift +6 %`` or ``noise 8 %``."""
    found = []
    change, variation = drift(samples), noise(samples)
    if change is not None and abs(change) > DRIFT_LIMIT:
        found.append(f"drift {100 * change:+.0f} %")
    if variation is not None and variation > NOISE_LIMIT:
        found.append(f"noise {100 * variation:.0f} %")
    return tuple(found)


def _draws(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(_SEED).integers(0, count, size=(_DRAWS, count))


def _interval(value: float, drawn: NDArray[np.float64], count: int) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return Estimate(value, float(low), float(high), count)
