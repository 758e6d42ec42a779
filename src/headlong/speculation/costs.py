"""What passes cost on this machine, in seconds: measured at start, kept true by live rounds.

Timings on a shared machine are noisy in one direction: now and then a pass takes far too long. The
first samples of a row count are therefore reduced to their median, later ones move the estimate by
a tenth of their relative deviation, and none counts as more than 1.3 times what was expected: a
lasting change is still followed, by 2.6 % a sample. A machine that slows down slows for every row
count, so part of each deviation goes to all estimates: those that are not being used keep up.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from headlong.errors import HeadlongError

__all__ = ["CostTable"]

# Samples of which the median is taken before averaging starts.
_SETTLING: Final = 5
# Weight of one live sample: half of a change is learned within 7 rounds.
_WEIGHT: Final = 0.1
# The part of it that goes to every other estimate.
_SHARED_WEIGHT: Final = 0.03
# A sample beyond this factor of what was expected counts as that much.
_CLAMP: Final = 1.3
# Taking out the cost of context leaves at least this share of a pass.
_LEAST: Final = 1 / 3
# Before anything else is known: each row more costs 5 % of a pass, the head's first pass 15 %
# (one layer of some twenty, a part of the vocabulary, and repair rows).
_ROW_GROWTH: Final = 0.05
_FIRST_DRAFT: Final = 0.15


class CostTable:
    """Seconds of a target pass by rows and context, and of drafting.

    Between measured row counts costs are interpolated linearly, and they never fall with rows.
    Before the first sample a pass of one row costs 1; rows and drafts are then guessed from it.
    Context is in positions; any measure will do that grows with what attention reads, as long as
    it is always the same.
    """

    def __init__(self) -> None:
        self._passes: dict[int, _Pass] = {}
        self._first_draft = _Series()
        self._draft_step = _Series()
        self._sampling = _Series()
        self._overhead = _Series()
        self._slope = _ContextSlope()
        self._curve: _Curve | None = None

    @property
    def measured_rows(self) -> tuple[int, ...]:
        """Row counts with at least one sample, ascending."""
        return tuple(sorted(self._passes))

    @property
    def first_draft_measured(self) -> bool:
        """Whether the head's first pass has been timed."""
        return self._first_draft.samples > 0

    @property
    def draft_step_measured(self) -> bool:
        """Whether a chained draft step has been timed."""
        return self._draft_step.samples > 0

    @property
    def seconds_per_position(self) -> float:
        """What a pass costs more for each position of context; 0 until it shows."""
        return self._slope.seconds

    def observe_pass(self, rows: int, seconds: float, context: int = 0) -> None:
        """Learns from one target pass of `rows` rows at `context` positions."""
        if rows < 1:
            raise HeadlongError(f"a pass of {rows} rows cannot be timed; it has at least 1")
        _check_seconds(seconds)
        entry = self._passes.setdefault(rows, _Pass())
        expected = entry.expected(context, self._slope.seconds)
        clamped = seconds if expected is None else _clamp(seconds, expected)
        ratio = entry.observe(seconds, context, self._slope.seconds)
        self._slope.observe(rows, clamped, context)
        self._share(ratio, entry)
        self._curve = None

    def observe_draft(self, first: float, chained: Sequence[float] = ()) -> None:
        """Learns from one round's drafting: the head's first pass, and each step chained to it."""
        for seconds in (first, *chained):
            _check_seconds(seconds)
        self._first_draft.observe(first)
        for seconds in chained:
            self._draft_step.observe(seconds)

    def observe_sampling(self, rows: int, seconds: float) -> None:
        """Learns from what sampling of `rows` rows took after a pass; part of passes from then."""
        _check_seconds(seconds)
        self._sampling.observe(seconds / rows)

    def observe_overhead(self, seconds: float) -> None:
        """Learns from what a round took beside its pass, its drafts, and sampling."""
        _check_seconds(seconds)
        self._overhead.observe(seconds)

    @property
    def round_overhead(self) -> float:
        """Seconds that every round takes whatever it drafts; 0 before the first is known."""
        return self._overhead.seconds if self._overhead.samples else 0.0

    def pass_seconds(self, rows: int, context: int = 0) -> float:
        """A target pass of `rows` rows (1 or more) at `context` positions, and their sampling."""
        if self._curve is None:
            self._curve = self._fit()
        return self._curve.at(rows) + self._slope.seconds * context + rows * self._sampling.seconds

    def passes(self, rows: int, count: int, context: int = 0) -> list[float]:
        """`pass_seconds` of so many row counts, from `rows` on."""
        return [self.pass_seconds(rows + more, context) for more in range(count)]

    def first_draft_seconds(self, context: int = 0) -> float:
        """The head's first pass of a round: repair rows, and the first draft."""
        if self._first_draft.samples:
            return self._first_draft.seconds
        return _FIRST_DRAFT * self.pass_seconds(1)

    def draft_step_seconds(self, context: int = 0) -> float:
        """One further draft: a pass of the head over one row per sequence."""
        return self._draft_step.seconds if self._draft_step.samples else self.first_draft_seconds()

    def draft_seconds(self, n: int, context: int = 0) -> float:
        """Drafting n tokens (0 or more) for each of the sequences together."""
        if n == 0:
            return 0.0
        return self.first_draft_seconds(context) + (n - 1) * self.draft_step_seconds(context)

    def _share(self, ratio: float, source: "_Pass") -> None:
        factor = ratio**_SHARED_WEIGHT
        for entry in self._passes.values():
            if entry is not source:
                entry.series.scale(factor)
        self._first_draft.scale(factor)
        self._draft_step.scale(factor)

    def _fit(self) -> "_Curve":
        points = sorted(self._passes.items())
        if not points:
            return _Curve((1,), (1.0,))
        slope = self._slope.seconds
        return _Curve(
            tuple(rows for rows, _ in points),
            _non_decreasing(
                [entry.at_no_context(slope) for _, entry in points],
                [min(entry.series.samples, 1 / _WEIGHT) for _, entry in points],
            ),
        )


class _Series:
    """A running estimate of one duration."""

    __slots__ = ("_early", "samples", "seconds")

    def __init__(self) -> None:
        self.samples = 0
        self.seconds = 0.0
        self._early: list[float] = []

    def observe(self, seconds: float, expected: float | None = None) -> float:
        """Takes in a sample; returns its clamped ratio to what was expected, 1 while settling.

        expected: what this sample should have been, if not the estimate itself.
        """
        self.samples += 1
        if self.samples <= _SETTLING:
            self._early.append(seconds)
            self.seconds = sorted(self._early)[(self.samples - 1) // 2]
            return 1.0
        expected = self.seconds if expected is None else expected
        ratio = _clamp(seconds, expected) / expected
        self.seconds *= ratio**_WEIGHT
        return ratio

    def scale(self, factor: float) -> None:
        """Moves the estimate with the speed of the whole machine."""
        self.seconds *= factor
        if self.samples < _SETTLING:
            self._early = [seconds * factor for seconds in self._early]


class _Pass:
    """The estimate for one row count, at the context at which it was lately measured."""

    __slots__ = ("context", "series")

    def __init__(self) -> None:
        self.series = _Series()
        self.context = 0.0

    def expected(self, context: int, slope: float) -> float | None:
        """What a sample at this context should be; None before the first."""
        if not self.series.samples:
            return None
        level = self.series.seconds
        return max(level + slope * (context - self.context), level * _LEAST)

    def observe(self, seconds: float, context: int, slope: float) -> float:
        """Takes in a sample and moves towards its context; returns its ratio to the expected."""
        expected = self.expected(context, slope)
        ratio = self.series.observe(seconds, expected)
        step = (context - self.context) * max(_WEIGHT, 1 / self.series.samples)
        if self.series.samples > _SETTLING:
            level = self.series.seconds
            self.series.seconds = max(level + slope * step, level * _LEAST)
        self.context += step
        return ratio

    def at_no_context(self, slope: float) -> float:
        """The estimate for a context of 0."""
        level = self.series.seconds
        return max(level - slope * self.context, level * _LEAST)


class _ContextSlope:
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


class _Curve:
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


def _non_decreasing(values: Sequence[float], weights: Sequence[float]) -> tuple[float, ...]:
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


def _clamp(seconds: float, expected: float) -> float:
    return min(max(seconds, expected / _CLAMP), expected * _CLAMP)


def _check_seconds(seconds: float) -> None:
    if not (math.isfinite(seconds) and seconds > 0):
        raise HeadlongError(f"a pass cannot take {seconds} seconds; the clock or its reader is off")
