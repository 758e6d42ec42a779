"""Running estimates of durations, made for clocks of shared machines.

Timings are noisy in one direction: now and then a pass takes far too long. The first samples are
therefore reduced to their median, later ones move the estimate by a tenth of their relative
deviation, and none counts as more than 1.3 times what was expected: a lasting change is still
followed, by 2.6 % a sample. Too fast a pass there is not: what was expected was wrong.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

__all__ = ["ContextSlope", "Curve", "PassSeries", "Series", "clamp", "non_decreasing"]

# Samples of which the median is taken before averaging starts.
_SETTLING: Final = 5
# Weight of one live sample: half of a change is learned within 7 rounds.
WEIGHT: Final = 0.1
# A sample beyond these factors of what was expected counts as that much.
_SLOWEST: Final = 1.3
_FASTEST: Final = 0.5
# Taking out the cost of context leaves at least this share of a pass.
LEAST: Final = 1 / 3
# Before anything else is known, each row more costs 5 % of a pass.
_ROW_GROWTH: Final = 0.05


class Series:
    """A running estimate of one duration."""

    __slots__ = ("_early", "samples", "seconds")

    def __init__(self) -> None:
        self.samples = 0
        self.seconds = 0.0
        self._early: list[float] = []

    def observe(
        self, seconds: float, expected: float | None = None, weight: float = WEIGHT
    ) -> float:
        """Takes in a sample; returns its clamped ratio to what was expected, 1 while settling.

        expected: what this sample should have been, if not the estimate itself.
        """
        self.samples += 1
        if self.samples <= _SETTLING:
            self._early.append(seconds)
            self.seconds = sorted(self._early)[(self.samples - 1) // 2]
            return 1.0
        expected = self.seconds if expected is None else expected
        ratio = clamp(seconds, expected) / expected
        self.seconds *= ratio**weight
        return ratio

    def restore(self, seconds: float) -> None:
        """Starts from an estimate that many samples went into."""
        self.samples, self.seconds = 2 * _SETTLING, seconds

    def scale(self, factor: float) -> None:
        """Moves the estimate with the speed of the whole machine."""
        self.seconds *= factor
        if self.samples < _SETTLING:
            self._early = [seconds * factor for seconds in self._early]


class PassSeries:
    """The estimate for one row count, at the context at which it was lately measured."""

    __slots__ = ("context", "series")

    def __init__(self, context: float = 0.0) -> None:
        self.series = Series()
        self.context = context

    def expected(self, context: int, slope: float) -> float | None:
        """What a sample at this context should be; None before the first."""
        if not self.series.samples:
            return None
        level = self.series.seconds
        return max(level + slope * (context - self.context), level * LEAST)

    def observe(self, seconds: float, context: int, slope: float, weight: float = WEIGHT) -> float:
        """Takes in a sample and moves towards its context; returns its ratio to the expected."""
        expected = self.expected(context, slope)
        ratio = self.series.observe(seconds, expected, weight)
        step = (context - self.context) * max(weight, 1 / self.series.samples)
        if self.series.samples > _SETTLING:
            level = self.series.seconds
            self.series.seconds = max(level + slope * step, level * LEAST)
        self.context += step
        return ratio

    def at_no_context(self, slope: float) -> float:
        """The estimate for a context of 0."""
        level = self.series.seconds
        return max(level - slope * self.context, level * LEAST)


class ContextSlope:
    """Least squares for seconds per position of context, within row counts, older rounds fading.

    Only differences within one row count are looked at, so the slope is not mistaken for the cost
    of rows. What noise alone could have caused is left out: until contexts have spread, it is 0.
    """

    # Half of the weight is gone after 512 passes: long enough for a sequence to grow.
    _FADE: Final = 0.5 ** (1 / 512)

    __slots__ = ("_groups", "_weight", "_xx", "_xy", "_yy")

    def __init__(self) -> None:
        self._groups: dict[int, tuple[float, float, float]] = {}  # weight, mean x, mean y
        self._weight = self._xx = self._xy = self._yy = 0.0

    @property
    def seconds(self) -> float:
        """Seconds per position: the slope less two standard errors, never negative."""
        freedom = self._weight - len(self._groups) - 1
        if self._xx <= 0 or freedom <= 0:
            return 0.0
        slope = self._xy / self._xx
        unexplained = max(0.0, self._yy - slope * self._xy)
        return max(0.0, slope - 2 * math.sqrt(unexplained / freedom / self._xx))

    def observe(self, rows: int, seconds: float, context: int) -> None:
        """Takes in one pass (the running form of the sums, after Welford 1962)."""
        weight, mean_x, mean_y = self._groups.get(rows, (0.0, 0.0, 0.0))
        weight = weight * self._FADE + 1
        dx, dy = context - mean_x, seconds - mean_y
        mean_x += dx / weight
        mean_y += dy / weight
        self._groups[rows] = (weight, mean_x, mean_y)
        self._weight = self._weight * self._FADE + 1
        self._xx = self._xx * self._FADE + dx * (context - mean_x)
        self._xy = self._xy * self._FADE + dx * (seconds - mean_y)
        self._yy = self._yy * self._FADE + dy * (seconds - mean_y)


class Curve:
    """Seconds by rows through measured points, never falling."""

    __slots__ = ("_growth", "_rows", "_seconds")

    def __init__(self, rows: tuple[int, ...], seconds: tuple[float, ...]) -> None:
        self._rows = rows
        self._seconds = seconds
        if len(rows) == 1:
            self._growth = seconds[0] / (rows[0] + (1 - _ROW_GROWTH) / _ROW_GROWTH)
        else:
            # The slope behind the last point: over the upper half of the measured rows, since
            # between two neighbours it would be mostly noise.
            start = max(0, bisect_left(rows, rows[-1] / 2 + 0.5) - 1)
            self._growth = (seconds[-1] - seconds[start]) / (rows[-1] - rows[start])

    def at(self, rows: int) -> float:
        """Seconds of a pass of `rows` rows at no context."""
        known, seconds = self._rows, self._seconds
        place = bisect_left(known, rows)
        if place == len(known):
            return seconds[-1] + self._growth * (rows - known[-1])
        if known[place] == rows:
            return seconds[place]
        if place:
            share = (rows - known[place - 1]) / (known[place] - known[place - 1])
            return seconds[place - 1] + share * (seconds[place] - seconds[place - 1])
        if len(known) == 1:
            growth = self._growth
        else:
            growth = (seconds[1] - seconds[0]) / (known[1] - known[0])
        # Fewer rows never cost less than their share.
        return max(seconds[0] - growth * (known[0] - rows), seconds[0] * rows / known[0])


def non_decreasing(values: Sequence[float], weights: Sequence[float]) -> tuple[float, ...]:
    """The closest sequence that never falls, in weighted squares: neighbours that fall are merged.

    Pool-adjacent-violators (Ayer et al., Ann. Math. Stat. 26, 1955).
    """
    pools: list[tuple[float, float, int]] = []  # mean, weight, length
    for value, weight in zip(values, weights, strict=True):
        length = 1
        while pools and pools[-1][0] > value:
            other, other_weight, other_length = pools.pop()
            total = weight + other_weight
            value = (value * weight + other * other_weight) / total
            weight, length = total, length + other_length
        pools.append((value, weight, length))
    return tuple(value for value, _, length in pools for _ in range(length))


def clamp(seconds: float, expected: float) -> float:
    """A sample, brought within the factor that one sample may be off."""
    return min(max(seconds, expected * _FASTEST), expected * _SLOWEST)
