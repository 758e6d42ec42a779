"""The drafts of a round: how far for whom, and what the round then taught."""

from __future__ import annotations

import time
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from headlong.engine.sequence import Sequence
from headlong.errors import HeadlongError
from headlong.ops.batch import FloatArray
from headlong.ops.best import Candidates
from headlong.sampling import Logits, TokenSubset, probability
from headlong.speculation import Acceptance, Auto, CostTable, DraftLength, Fixed
from headlong.speculation.drafter import Drafter, DraftRequest, DraftTimes, GoesOn, Guess, always
from headlong.speculation.review import Reviewer
from headlong.speculation.stopping import Allowance, Course


@dataclass(frozen=True, slots=True)
class Drafts:
    """Draft tokens of all decoding sequences, in their order, and their probabilities.

    ``seconds`` are those of the drafter and of what the engine does around it.
    """

    tokens: tuple[tuple[int, ...], ...]
    probabilities: tuple[tuple[float, ...], ...]
    times: DraftTimes | None
    seconds: float


class Drafting:
    """Asks the drafter, if there is one, for as many tokens per sequence as should pay."""

    def __init__(
        self,
        drafter: Drafter | None,
        length: DraftLength,
        costs: CostTable,
        ends: frozenset[int],
        *,
        shared: bool = False,
    ) -> None:
        """``shared``: pages may go on to sequences that draft, whether or not theirs did."""
        self._shared = shared
        self._drafter = drafter
        self._length = length
        self._costs = costs
        self._ends = ends
        self._acceptance = Acceptance()
        self._reviewer = Reviewer(costs)

    def acceptance(self) -> Acceptance:
        """For a new request: what all before it taught."""
        return Acceptance(prior=self._acceptance)

    def draft(self, sequences: SequenceOf[Sequence], reading: SequenceOf[Sequence] = ()) -> Drafts:
        """Let the drafter guess; others are ``reading`` their prompts in the same pass."""
        allowances = self._allowances(sequences, reading)
        wanted = [(s, a) for s, a in zip(sequences, allowances, strict=True) if a.limit]
        if self._drafter is None or not wanted:
            nothing: tuple[tuple[()], ...] = ((),) * len(sequences)
            return Drafts(nothing, nothing, None, 0.0)
        began = time.perf_counter()
        works = [_Guesswork(s, a, self._ends) for s, a in wanted]
        made, times = self._drafter.draft([work.request() for work in works])
        for work in works:
            work.forget()
        by_id = {s.id: work.usable(g) for (s, _), work, g in zip(wanted, works, made, strict=True)}
        guesses = [by_id.get(s.id, ()) for s in sequences]
        return Drafts(
            tuple(tuple(guess.token for guess in own) for own in guesses),
            tuple(tuple(guess.probability for guess in own) for own in guesses),
            times,
            time.perf_counter() - began,
        )

    def observe(self, sequence: Sequence, hidden: FloatArray) -> None:
        """Show the drafter the rows that were kept of a sequence that goes on."""
        if self._drafter is None or sequence.lease is None:
            return
        if self._shared or self._cap(sequence):
            self._drafter.observe(sequence.track, sequence.tokens, sequence.lease, hidden)

    def resume(self, sequence: Sequence, position: int, hidden: FloatArray) -> None:
        """A sequence begins after ``position`` tokens that another one read.

        ``hidden`` ``[hidden]``: the trunk's row of the last of them.
        """
        sequence.track.start = position - 1
        sequence.track.rows = [hidden]

    def settle(self, sequence: Sequence, position: int) -> None:
        """Let the drafter finish its part of the pages before ``position``, to be shared."""
        if self._drafter is not None and sequence.lease is not None:
            self._drafter.settle(sequence.track, sequence.tokens, sequence.lease, position)

    def learn_acceptance(
        self, sequence: Sequence, probabilities: tuple[float, ...], accepted: int
    ) -> None:
        """What became of a draft.  Where lengths are fixed nobody wants to know."""
        if not isinstance(self._length, Auto):
            return
        sequence.acceptance.record(len(probabilities), accepted, probabilities)
        if self._reviewer.listening:  # a sample will do for those who come later
            self._acceptance.record(len(probabilities), accepted, probabilities)

    def learn_costs(
        self,
        sequences: SequenceOf[Sequence],
        drafts: Drafts,
        pass_seconds: float,
        sampling_seconds: float,
        seconds: float,
    ) -> None:
        """What a round took, and its parts; only where its lengths were chosen."""
        if not self._reviewer.listening:
            return
        costs = self._costs
        rows = sum(1 + len(draft) for draft in drafts.tokens)
        context = sum(len(s.tokens) for s in sequences)
        costs.observe_pass(rows, pass_seconds, context, len(sequences))
        costs.observe_sampling(rows, max(1e-9, sampling_seconds))
        beside = seconds - pass_seconds - sampling_seconds - drafts.seconds
        costs.observe_overhead(max(1e-9, beside - self._reviewer.seconds))
        if drafts.times is not None:
            times = drafts.times
            first = drafts.seconds - sum(times.chained)  # with what any draft takes
            costs.observe_draft(first, times.chained, context, times.sequences, times.active)

    def _allowances(
        self, sequences: SequenceOf[Sequence], reading: SequenceOf[Sequence]
    ) -> tuple[Allowance, ...]:
        if self._drafter is None or not sequences:
            return (Allowance(0, 0),) * len(sequences)
        caps = [self._cap(s) for s in sequences]
        if isinstance(self._length, Fixed):
            return tuple(Allowance(cap, cap, cap) for cap in caps)
        # Whoever reads will soon decode. A draft is worth the time that its tokens would take then,
        # not now, when a pass is long anyway but each row in it costs the same.
        running = [*sequences, *reading]
        caps += [0] * len(reading)
        requests = [(s.acceptance, cap) for s, cap in zip(running, caps, strict=True)]
        context = sum(s.computed for s in running)
        allowances = self._reviewer.review(tuple(s.id for s in running), requests, context)
        return allowances[: len(sequences)]

    def _cap(self, sequence: Sequence) -> int:
        """The longest draft that a sequence may have; once 0, it stays so."""
        return self._length.cap(sequence.params.draft_n_max, sequence.room)


class _Guesswork:
    """One sequence's draft in the making: guesses go ahead of its history and its grammar."""

    def __init__(self, sequence: Sequence, allowance: Allowance, ends: frozenset[int]) -> None:
        self._sequence = sequence
        self._allowance = allowance
        self._ends = ends
        self._mark = len(sequence.history)
        self._inner: GoesOn = always
        if allowance.forced < allowance.limit:
            self._inner = Course(allowance, sequence.acceptance.calibration)

    def request(self) -> DraftRequest:
        """What the drafter is asked."""
        sequence = self._sequence
        assert sequence.lease is not None
        return DraftRequest(
            sequence.track,
            sequence.tokens,
            sequence.lease,
            self._allowance.limit,
            self._guess,
            self._inner if sequence.grammar is None else self._goes_on,
            sequence.sampler.needs,
        )

    def forget(self) -> None:
        """Take back what the guesses did."""
        self._sequence.history.truncate(self._mark)
        if self._sequence.grammar is not None:
            self._sequence.grammar.truncate(self._sequence.generated)

    def usable(self, guesses: SequenceOf[Guess]) -> tuple[Guess, ...]:
        """A draft without what it says after the end of the text, or against the grammar."""
        for i, guess in enumerate(guesses):
            if guess.token in self._ends:
                return tuple(guesses[: i + 1])
            if self._sequence.grammar is not None and not guess.probability:
                return tuple(guesses[:i])
        return tuple(guesses)

    def _guess(self, logits: Logits, depth: int, subset: TokenSubset | None) -> Guess:
        try:
            guess = self._sampled(logits, depth, subset)
        except HeadlongError:  # NaN, or every column banned; that may cost time, never the text
            guess = Guess(0, 0.0)
        self._sequence.history.append(guess.token)
        return guess

    def _sampled(self, logits: Logits, depth: int, subset: TokenSubset | None) -> Guess:
        sequence, grammar = self._sequence, self._sequence.grammar
        position = len(sequence.tokens) + depth
        if grammar is None or isinstance(logits, Candidates):
            token = sequence.sampler.sample(logits, sequence.history, position, subset)
            return Guess(token, probability(logits, token, subset))
        mask = grammar.mask()
        if mask.only is not None:  # whatever the drafter thinks, and be it not of its vocabulary
            guess = Guess(mask.only, 1.0)
        else:
            logits, subset = mask.restrict(logits, subset)
            token = sequence.sampler.sample(logits, sequence.history, position, subset)
            guess = Guess(token, probability(logits, token, subset))
        if guess.token not in self._ends:
            grammar.append(guess.token)
        return guess

    def _goes_on(self, guess: Guess) -> bool:
        grammar = self._sequence.grammar
        over = guess.token in self._ends or (grammar is not None and grammar.complete)
        return bool(guess.probability) and not over and self._inner(guess)
