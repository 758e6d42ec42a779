"""Repeated measurements of one thing, reduced to what a reader can use."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import Final

from headlong.errors import ParameterError

__all__ = ["Samples"]

_RESAMPLES: Final = 1000
_OUTSIDE: Final = 0.025
"""Share of resampled medians left out on either side: the interval holds 95 %."""


@dataclass(frozen=True, slots=True)
class Samples:
    """At least one measurement, in the order in which they were made.

    Raises:
        ParameterError: there is none, or one is not a number above 0.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or not all(isfinite(value) and value > 0 for value in self.values):
            raise ParameterError(f"measured {self.values}, which is nothing to take a median of.")

    @classmethod
    def of(cls, values: Iterable[float]) -> Samples:
        """Collect measurements."""
        return cls(tuple(values))

    @property
    def median(self) -> float:
        """Half of the measurements lie on either side."""
        return median(self.values)

    @property
    def low(self) -> float:
        """The smallest."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest."""
        return max(self.values)

    def interval(self) -> tuple[float, float]:
        """The median's 95 % interval by percentile bootstrap (Efron, 1979), always the same one.

        With few measurements it cannot reach beyond the smallest and the largest.
        """
        draw = random.Random(0)
        count = len(self.values)
        medians = sorted(median(draw.choices(self.values, k=count)) for _ in range(_RESAMPLES))
        cut = int(_OUTSIDE * _RESAMPLES)
        return medians[cut], medians[-1 - cut]
