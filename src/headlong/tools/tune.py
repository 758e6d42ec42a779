"""What multi-token prediction costs and gains on this machine with this file, piece by piece.

Costs: a pass over 1, 2, ... rows, the draft steps, the prompt with and without the head.  Gains:
tokens per second for every draft length, in turns, so that a machine that slows down slows all of
them; and what the costs and the acceptance predict for each, so that a gap between the two shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, cycle, islice
from pathlib import Path
from typing import Final

from headlong.engine.load import load_model
from headlong.engine.requests import Completion
from headlong.errors import ParameterError
from headlong.models.rehearsal import Rehearsal
from headlong.ops.cpu import CpuOps
from headlong.progress import Progress
from headlong.sampling import MAX_DRAFT
from headlong.speculation import SpeculationStats
from headlong.tools.inspect import describe
from headlong.tools.machine import Machine, describe_machine
from headlong.tools.prompts import DEMO_PROMPT
from headlong.tools.samples import Samples
from headlong.tools.tune_model import AUTO, Drafting, TunedModel

__all__ = [
    "QUICK",
    "Decoding",
    "DraftSteps",
    "Pass",
    "Plan",
    "Reading",
    "Tuning",
    "tune",
]

_LEAST_ROWS: Final = 8
"""Passes are timed up to at least so many rows."""

_BANDWIDTH_BYTES: Final = 256 << 20
"""Read to measure bandwidth: several times the last-level cache of a desktop."""

_SWEEPS: Final = 3

_CHAIN: Final = 16
"""Tokens that a model with made-up weights writes by itself, to be its prompt."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Raises:
        ParameterError: a number is out of range; the message names its flag.
    """

    max_draft: int = 7  # longest fixed draft
    tokens: int = 64  # of each timed answer
    context: int = 0  # tokens at least before passes and answers
    prompt: int = 512  # tokens of the prompt that is timed
    cycles: int = 10  # timings of each pass
    repeats: int = 3  # timings of prompts and answers

    def __post_init__(self) -> None:
        """Check ranges."""
        for flag, value, low, high in (
            ("--max-draft", self.max_draft, 1, MAX_DRAFT),
            ("--tokens", self.tokens, 2, 1 << 16),
            ("--context", self.context, 0, 1 << 24),
            ("prompt", self.prompt, 1, 1 << 16),
            ("cycles", self.cycles, 1, 1000),
            ("repeats", self.repeats, 1, 1000),
        ):
            if not low <= value <= high:
                raise ParameterError(f"{flag} is {value}; it must be {low} to {high}.")

    @property
    def rows(self) -> range:
        """Rows of the passes that are timed."""
        return range(1, max(_LEAST_ROWS, self.max_draft + 1) + 1)


QUICK: Final = Plan(tokens=48, prompt=256, cycles=3, repeats=1)
"""About a quarter of the work: enough to choose a draft length, too little for a report."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A verification pass over so many rows of one sequence."""

    rows: int
    seconds: Samples
    cost: float  # c(rows): its median over that of one row


@dataclass(frozen=True, slots=True)
class DraftSteps:
    """Seconds of the head's first step of a round, repairs included, and of each further one.

    The costs are medians over that of a pass over one row.
    """

    first: Samples
    first_cost: float
    chained: Samples | None  # None where only drafts of one token were made
    chained_cost: float | None


@dataclass(frozen=True, slots=True)
class Reading:
    """Tokens per second of a prompt up to its first token, without the head and with it."""

    tokens: int
    plain: Samples
    head: Samples | None
    identical: bool  # whether both gave the same first tokens

    @property
    def ratio(self) -> float | None:
        """Share of the speed that is left with the head; medians."""
        return None if self.head is None else self.head.median / self.plain.median


@dataclass(frozen=True, slots=True)
class Decoding:
    """Answers made with one draft length.  Shares and means are over all of them."""

    draft: Drafting
    per_second: Samples  # tokens after the first, per second
    predicted: float | None  # the same from costs and acceptance; None for a chosen length
    drafted: float  # draft tokens per round
    tokens_per_round: float
    accepted: tuple[float, ...]  # of the drafts at depth 1, 2, ...
    draft_share: float  # of the time: drafting, passes, sampling; the rest is bookkeeping
    pass_share: float
    sampling_share: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """Everything that was measured with one file."""

    path: str
    name: str | None
    rehearsal: Rehearsal | None
    machine: Machine
    plan: Plan
    context: int  # tokens before passes and answers
    bandwidth: Samples  # GB/s of a plain read loop, in turns with the answers
    step_bytes: int  # that one token moves at least, half-way through an answer
    passes: tuple[Pass, ...]
    drafts: DraftSteps | None
    reading: Reading
    decoding: tuple[Decoding, ...]  # without drafts, 1, 2, ..., chosen
    differing: tuple[Drafting, ...]  # draft lengths with which any answer was another

    @property
    def identical(self) -> bool:
        """Whether every answer was the same, and every prompt's first token."""
        return not self.differing and self.reading.identical

    @property
    def plain(self) -> Decoding:
        """Without drafts."""
        return self.decoding[0]

    @property
    def best(self) -> Decoding:
        """The fastest fixed draft length."""
        fixed = [one for one in self.decoding if one.draft != AUTO]
        return max(fixed, key=lambda one: one.per_second.median)

    def speedup(self, decoding: Decoding) -> float:
        """How many times as fast as without drafts."""
        return decoding.per_second.median / self.plain.per_second.median

    @property
    def decode_share(self) -> float:
        """Share of the read bandwidth that plain decoding reaches, all its overhead included."""
        return self.plain.per_second.median * self.step_bytes / 1e9 / self.bandwidth.median

    @property
    def pass_share(self) -> float:
        """Share of the read bandwidth that a pass over one row reaches."""
        return self.step_bytes / self.passes[0].seconds.median / 1e9 / self.bandwidth.median


def tune(path: Path, plan: Plan, ops: CpuOps, progress: Progress) -> Tuning:
    """Load a file and measure; what was learned of costs is kept for the next `LLM`.

    Raises what loading raises, and `ParameterError` where the plan does not fit the model.
    """
    loaded = load_model(path, ops, progress)
    text = loaded.tokenizer.encode(DEMO_PROMPT)
    start = max(len(text) if loaded.rehearsal is None else _CHAIN, plan.context)
    read = min(plan.prompt, loaded.config.context - 2)
    rounds = start + sum(plan.rows) + plan.max_draft + 1
    model = TunedModel(loaded, max(start + plan.tokens, rounds, read + 2, len(text) + _CHAIN))
    # Made-up weights know one chain of tokens; their own words are on it.
    base = text if loaded.rehearsal is None else model.answer(text, 0, _CHAIN).tokens
    prompt = _extend(base, start)
    timed = _Timed(ops, model, plan, progress)
    reading = timed.reading(base, read)
    passes, drafts = timed.rounds(prompt)
    answers, bandwidth = timed.answers(prompt)
    model.keep_costs(ops)
    reference = answers[0][1][0].tokens
    differing = [draft for draft, made in answers if any(a.tokens != reference for a in made)]
    about = describe(path, start + plan.tokens // 2)
    assert about.step is not None  # it was loaded, so its sizes are known
    return Tuning(
        path=str(path),
        name=about.name,
        rehearsal=loaded.rehearsal,
        machine=describe_machine(ops),
        plan=plan,
        context=start,
        bandwidth=bandwidth,
        step_bytes=about.step.total,
        passes=passes,
        drafts=drafts,
        reading=reading,
        decoding=_decoding(answers, passes, drafts),
        differing=tuple(differing),
    )


class _Timed:
    """The measurements, each with its stage of progress."""

    def __init__(self, ops: CpuOps, model: TunedModel, plan: Plan, progress: Progress) -> None:
        self._ops = ops
        self._model = model
        self._plan = plan
        self._progress = progress

    def reading(self, base: Sequence[int], count: int) -> Reading:
        """Read prompts without the head and with it, in turns."""
        sides = (False, True) if self._model.has_head else (False,)
        rates: dict[bool, list[float]] = {side: [] for side in sides}
        same = True
        with self._progress.stage("reading prompts", self._plan.repeats, "times") as stage:
            for repeat in range(self._plan.repeats):
                # Another beginning every time: nothing of it has been seen.
                prompt = _extend(base, count, offset=repeat)
                tokens = set()
                for side in sides:
                    seconds, token = self._model.read(prompt, head=side)
                    rates[side].append(count / seconds)
                    tokens.add(token)
                same = same and len(tokens) == 1
                stage.advance(1)
        head = Samples.of(rates[True]) if self._model.has_head else None
        return Reading(count, Samples.of(rates[False]), head, same)

    def rounds(self, prompt: Sequence[int]) -> tuple[tuple[Pass, ...], DraftSteps | None]:
        """Passes of every size, and the drafts after them."""
        rows, cycles = self._plan.rows, self._plan.cycles
        script = _extend(prompt, len(prompt) + sum(rows) + 1)
        seconds: dict[int, list[float]] = {count: [] for count in rows}
        first: list[float] = []
        chained: list[float] = []
        with self._progress.stage("timing passes", len(rows) * cycles, "passes") as stage:
            for one in self._model.rounds(script, len(prompt), rows, self._plan.max_draft, cycles):
                seconds[one.rows].append(one.seconds)
                if one.drafts is not None:
                    first.append(one.drafts.first)
                    chained += one.drafts.chained
                stage.advance(1)
        samples = {count: Samples.of(times) for count, times in seconds.items()}
        single = samples[1].median
        passes = tuple(
            Pass(count, times, times.median / single) for count, times in samples.items()
        )
        if not first:
            return passes, None
        one_step, further = Samples.of(first), Samples.of(chained) if chained else None
        further_cost = further.median / single if further else None
        return passes, DraftSteps(one_step, one_step.median / single, further, further_cost)

    def answers(
        self, prompt: Sequence[int]
    ) -> tuple[list[tuple[Drafting, list[Completion]]], Samples]:
        """Answers with every draft length in turns, and the bandwidth measured between them."""
        lengths: list[Drafting] = [0]
        if self._model.has_head:
            lengths += [*range(1, self._plan.max_draft + 1), AUTO]
        tokens = self._plan.tokens
        made: list[tuple[Drafting, list[Completion]]] = [(length, []) for length in lengths]
        bandwidth = []
        total = len(lengths) * self._plan.repeats
        with self._progress.stage("timing answers", total, "answers") as stage:
            for length in (0, self._plan.max_draft, AUTO):
                if length in lengths:  # uncounted: memory is touched, the choice is learned
                    self._model.answer(prompt, length, tokens)
            for _ in range(self._plan.repeats):
                bandwidth.append(self._ops.read_bandwidth(_BANDWIDTH_BYTES, _SWEEPS))
                for length, completions in made:
                    completions.append(self._model.answer(prompt, length, tokens))
                    stage.advance(1)
        return made, Samples.of(bandwidth)


def _extend(tokens: Sequence[int], count: int, offset: int = 0) -> list[int]:
    """So many tokens, the given ones over and over, from the ``offset``-th on."""
    return list(islice(cycle(tokens), offset, offset + count))


@dataclass(frozen=True, slots=True)
class _Total:
    """All answers of one draft length together."""

    stats: SpeculationStats
    seconds: float  # from first tokens to last

    @classmethod
    def of(cls, made: Sequence[Completion]) -> _Total:
        stats = SpeculationStats()
        for one in made:
            stats.add(one.stats)
        return cls(stats, sum(one.timings.predicted_seconds for one in made))

    @property
    def accepted(self) -> tuple[float, ...]:
        """Share of the drafts at depth 1, 2, ... that were right up to there."""
        pairs = zip(self.stats.accepted_by_depth, self.stats.draft_n_by_depth, strict=True)
        return tuple(accepted / drafted for accepted, drafted in pairs)


def _decoding(
    answers: Sequence[tuple[Drafting, list[Completion]]],
    passes: Sequence[Pass],
    drafts: DraftSteps | None,
) -> tuple[Decoding, ...]:
    totals = {draft: _Total.of(made) for draft, made in answers}
    deepest = max(draft for draft in totals if isinstance(draft, int))
    predict = _prediction(totals[0], totals[deepest], passes, drafts)
    result = []
    for draft, made in answers:
        total = totals[draft]
        stats = total.stats
        result.append(
            Decoding(
                draft=draft,
                per_second=Samples.of(one.timings.predicted_per_second for one in made),
                predicted=predict(draft) if isinstance(draft, int) else None,
                drafted=stats.draft_n / stats.rounds,
                tokens_per_round=stats.tokens_per_round or 1.0,
                accepted=total.accepted,
                draft_share=stats.draft_seconds / total.seconds,
                pass_share=stats.verify_seconds / total.seconds,
                sampling_share=stats.sampling_seconds / total.seconds,
            )
        )
    return tuple(result)


def _prediction(
    plain: _Total, deepest: _Total, passes: Sequence[Pass], drafts: DraftSteps | None
) -> Callable[[int], float]:
    """Tokens per second of a draft length n: (1 + A_1 + ... + A_n) / (pass(n + 1) + draft(n)).

    A_j, the chance that a draft is right up to depth j, is taken from the longest drafts (Leviathan
    et al., 2023, with acceptance by depth).  Sampling, for every row, and bookkeeping, for every
    round, are added as they were without drafts.
    """
    tokens = list(accumulate(deepest.accepted, initial=1.0))
    rounds, sampled = plain.stats.rounds, plain.stats.sampling_seconds
    rest = max(0.0, plain.seconds - plain.stats.verify_seconds - sampled) / rounds

    def predict(n: int) -> float:
        seconds = passes[n].seconds.median + (n + 1) * sampled / rounds + rest
        if n and drafts is not None:
            chained = drafts.chained or drafts.first
            seconds += drafts.first.median + (n - 1) * chained.median
        return tokens[min(n, len(tokens) - 1)] / seconds

    return predict
