"""What passes cost on this machine, in seconds: measured at start, kept true by live rounds.

A machine that slows down slows for every row count, so the larger part of each deviation goes to
all estimates: those that are not being used keep up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Final

from headlong.errors import HeadlongError
from headlong.speculation.estimates import (
    LEAST,
    WEIGHT,
    ContextSlope,
    Curve,
    PassSeries,
    Series,
    clamp,
    non_decreasing,
)

__all__ = ["ContextCost", "CostRecord", "CostTable", "PassRecord"]

# The part of a sample's weight that goes to every other estimate.
_SHARED: Final = 0.6
# Live rounds know better than passes that were made to be timed: the first weighs a quarter, the
# second a fifth, until the usual weight is reached.
_EAGER: Final = 4
# Before anything else is known the head's first pass costs 15 % of a pass (one layer of some
# twenty, a part of the vocabulary, and repair rows).
_FIRST_DRAFT: Final = 0.15
# What a record may hold: a few hundred row counts, and times below a day.
_MOST_PASSES: Final = 256
_MOST: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class ContextCost:
    """Seconds for each position of context: a pass of one row, every further row, a draft step."""

    row: float = 0.0
    further_row: float = 0.0
    draft: float = 0.0

    def of_pass(self, rows: int, context: int, sequences: int) -> float:
        """A pass of `rows` rows over sequences of `context` positions together."""
        return context * (self.row + self.further_row * max(0.0, rows / sequences - 1))


@dataclass(frozen=True, slots=True)
class PassRecord:
    """Seconds of passes of so many rows at so many positions of context."""

    rows: int
    seconds: float
    context: float


@dataclass(frozen=True, slots=True)
class CostRecord:
    """A table at rest; ``lessons`` counts the live passes that taught it."""

    passes: tuple[PassRecord, ...]
    first_draft: float
    draft_step: float
    sampling: float
    overhead: float
    context: ContextCost
    lessons: int

    def checked(self) -> "CostRecord":
        """Itself.  Raises `ValueError` where it holds what no table does."""
        for number in (self.lessons, *(one.rows for one in self.passes)):
            if type(number) is not int:
                raise ValueError(f"{number!r} is no count")
        rows = [one.rows for one in self.passes]
        durations = [self.first_draft, self.draft_step, *(one.seconds for one in self.passes)]
        others = [self.sampling, self.overhead, *(one.context for one in self.passes)]
        others += [getattr(self.context, field.name) for field in fields(ContextCost)]
        for value in (*durations, *others):
            if type(value) not in (int, float) or not 0 <= value < _MOST:
                raise ValueError(f"{value!r} is no duration")
        if not all(durations) or self.lessons < 0 or not 0 < len(rows) <= _MOST_PASSES:
            raise ValueError("something is missing")
        if rows[0] < 1 or any(one >= other for one, other in pairwise(rows)):
            raise ValueError("row counts do not ascend")
        return self


class CostTable:
    """Seconds of a target pass by rows and context, and of drafting.

    Between measured row counts costs are interpolated linearly, and they never fall with rows.
    Before the first sample a pass of one row costs 1; rows and drafts are then guessed from it.
    Context is in positions, of all sequences together.  What it costs may be known beforehand;
    what passes teach beyond that is added.
    """

    def __init__(self, context: ContextCost | None = None) -> None:
        self._context = context or ContextCost()
        self._lessons = 0
        self._eager = _EAGER
        self._passes: dict[int, PassSeries] = {}
        self._first_draft = Series()
        self._draft_step = Series()
        self._sampling = Series()
        self._overhead = Series()
        self._slope = ContextSlope()
        self._curve: Curve | None = None

    @classmethod
    def of(cls, record: CostRecord) -> "CostTable":
        """The table that `record` was made of, as far as decisions go."""
        table = cls(record.context)
        table._lessons = record.lessons
        if record.lessons:
            table._eager = round(1 / WEIGHT)
        for one in record.passes:
            table._passes[one.rows] = PassSeries(one.context)
            table._passes[one.rows].series.restore(one.seconds)
        for series, seconds in (
            (table._first_draft, record.first_draft),
            (table._draft_step, record.draft_step),
            (table._sampling, record.sampling),
            (table._overhead, record.overhead),
        ):
            if seconds:
                series.restore(seconds)
        return table

    def record(self) -> CostRecord:
        """What is known, to be kept.  Call it on a table with passes and drafts measured."""
        return CostRecord(
            passes=tuple(
                PassRecord(rows, entry.series.seconds, entry.context)
                for rows, entry in sorted(self._passes.items())[:_MOST_PASSES]
            ),
            first_draft=self._first_draft.seconds,
            draft_step=self.draft_step_seconds(),
            sampling=self._sampling.seconds,
            overhead=self._overhead.seconds,
            context=self._context,
            lessons=self._lessons,
        )

    def scale(self, factor: float) -> None:
        """All of it, on a machine so many times as slow."""
        for entry in self._passes.values():
            entry.series.scale(factor)
        for series in (self._first_draft, self._draft_step, self._sampling, self._overhead):
            series.scale(factor)
        known = self._context
        self._context = ContextCost(
            known.row * factor, known.further_row * factor, known.draft * factor
        )
        self._curve = None

    @property
    def lessons(self) -> int:
        """Live passes that taught it, those before it was kept on disk included."""
        return self._lessons

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
        """What a pass of one row costs more for each position of context."""
        return self._context.row + self._slope.seconds

    def observe_pass(
        self, rows: int, seconds: float, context: int = 0, sequences: int = 1, *, live: bool = True
    ) -> None:
        """Learns from one target pass of `rows` rows over `context` positions.

        live: whether the pass served a request, and was not made to be timed.
        """
        if rows < 1:
            raise HeadlongError(f"a pass of {rows} rows cannot be timed; it has at least 1")
        _check_seconds(seconds)
        self._lessons += live
        weight = self._weight
        self._eager += live
        known = self._context.of_pass(rows, context, sequences)
        seconds = max(seconds - known, seconds * LEAST)
        entry = self._passes.setdefault(rows, PassSeries())
        expected = entry.expected(context, self._slope.seconds)
        clamped = seconds if expected is None else clamp(seconds, expected)
        ratio = entry.observe(seconds, context, self._slope.seconds, weight)
        self._slope.observe(rows, clamped, context)
        self._share(ratio ** (_SHARED * weight), entry)
        self._curve = None

    def observe_draft(
        self,
        first: float,
        chained: Sequence[float] = (),
        context: int = 0,
        sequences: int = 1,
        active: Sequence[int] = (),
    ) -> None:
        """Learns from one round's drafting: the head's first pass, and each step chained to it.

        The first was for so many sequences, the steps for the ``active`` ones (left out: for one).
        """
        for seconds in (first, *chained):
            _check_seconds(seconds)
        known, weight = self._context.draft * context, self._weight
        alone = max(first - known, first * LEAST) / self.draft_width(sequences)
        self._first_draft.observe(alone, weight=weight)
        for seconds, width in zip(chained, active or [1] * len(chained), strict=True):
            alone = max(seconds - known, seconds * LEAST) / self.draft_width(width)
            self._draft_step.observe(alone, weight=weight)

    def draft_width(self, sequences: int) -> float:
        """What drafting for so many sequences together costs, as a multiple of one.

        The head is a layer and a part of the LM head, run by the kernels of the target's pass: it
        is taken to grow with rows as that does.
        """
        if sequences <= 1 or not self._passes:
            return 1.0
        if self._curve is None:
            self._curve = self._fit()
        return self._curve.at(sequences) / self._curve.at(1)

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

    def pass_seconds(self, rows: int, context: int = 0, sequences: int = 1) -> float:
        """A target pass of `rows` rows (1 or more) at `context` positions, and their sampling."""
        return self.passes(rows, 1, context, sequences)[0]

    def passes(self, rows: int, count: int, context: int = 0, sequences: int = 1) -> list[float]:
        """`pass_seconds` of so many row counts, from `rows` on."""
        if self._curve is None:
            self._curve = self._fit()
        # Linear in rows, of which every sequence has one at least.
        known = self._context
        further = self._sampling.seconds + known.further_row * context / sequences
        first = (known.row - known.further_row + self._slope.seconds) * context
        at = self._curve.at
        return [at(n) + first + further * n for n in range(rows, rows + count)]

    def first_draft_seconds(self, context: int = 0) -> float:
        """The head's first pass of a round: repair rows, and the first draft."""
        if self._first_draft.samples:
            return self._first_draft.seconds + self._context.draft * context
        return _FIRST_DRAFT * self.pass_seconds(1, context)

    def draft_step_seconds(self, context: int = 0) -> float:
        """One further draft: a pass of the head over one row per sequence."""
        if self._draft_step.samples:
            return self._draft_step.seconds + self._context.draft * context
        return self.first_draft_seconds(context)

    def draft_seconds(self, n: int, context: int = 0) -> float:
        """Drafting n tokens (0 or more) for each of the sequences together."""
        if n == 0:
            return 0.0
        return self.first_draft_seconds(context) + (n - 1) * self.draft_step_seconds(context)

    @property
    def _weight(self) -> float:
        return max(WEIGHT, 1 / self._eager)

    def _share(self, factor: float, source: PassSeries) -> None:
        for entry in self._passes.values():
            if entry is not source:
                entry.series.scale(factor)
        self._first_draft.scale(factor)
        self._draft_step.scale(factor)

    def _fit(self) -> Curve:
        points = sorted(self._passes.items())
        if not points:
            return Curve((1,), (1.0,))
        slope = self._slope.seconds
        return Curve(
            tuple(rows for rows, _ in points),
            non_decreasing(
                [entry.at_no_context(slope) for _, entry in points],
                [min(entry.series.samples, 1 / WEIGHT) for _, entry in points],
            ),
        )


def _check_seconds(seconds: float) -> None:
    if not (math.isfinite(seconds) and seconds > 0):
        raise HeadlongError(f"a pass cannot take {seconds} seconds; the clock or its reader is off")
