"""The heart: ``step()`` is plan -> draft -> verify -> commit.

Tokens in, tokens out; text is made elsewhere.  One pass of the trunk per step computes prompt
chunks and, for every decoding sequence, its last token and the drafts after it.  A draft is
accepted exactly where the sampler, fed with the trunk's own logits, picks the same token: the
text is what it would be without drafts.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Generic

import numpy as np

from headlong.cache.memory import Cache
from headlong.engine.judge import judge, predict
from headlong.engine.scheduler import PREFILL_ROWS, Plan, Scheduler
from headlong.engine.sequence import FinishReason, Sequence, Timing
from headlong.errors import ContextError, HeadlongError, ParameterError
from headlong.models.qwen35 import Qwen35
from headlong.ops.batch import Batch, FloatArray, Segment
from headlong.ops.best import allowed_bits
from headlong.ops.protocol import W
from headlong.sampling import Sampler, SamplingParams, TokenSubset, needed_by, probability
from headlong.speculation import (
    Acceptance,
    Auto,
    CostTable,
    DraftLength,
    Fixed,
    SpeculationStats,
    Verdict,
)
from headlong.speculation.drafter import Drafter, DraftRequest, DraftTimes, GoesOn, Guess, always
from headlong.speculation.review import Reviewer
from headlong.speculation.stopping import Allowance, Course


@dataclass(frozen=True, slots=True)
class TokenRoles:
    """Ids with a meaning to the engine: those that end a text, those that no text holds."""

    eog: frozenset[int]
    unused: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """How an engine runs: positions per sequence, draft lengths, prompt rows per step."""

    context: int
    draft_length: DraftLength
    prefill_rows: int = PREFILL_ROWS


@dataclass(frozen=True, slots=True)
class Emission:
    """What a step did for one sequence.

    ``tokens`` are new, of which the first ``accepted`` came from drafts.  While a prompt is being
    read there are none, and ``sequence.computed`` tells how far.  ``sequence.finish`` is set with
    the last of them.
    """

    sequence: Sequence
    tokens: tuple[int, ...]
    accepted: int


@dataclass(frozen=True, slots=True)
class Drafts:
    """Draft tokens of every decoding sequence of a plan, in its order, and their probabilities.

    ``seconds`` are those of the drafter and of what the engine does around it.
    """

    tokens: tuple[tuple[int, ...], ...]
    probabilities: tuple[tuple[float, ...], ...]
    times: DraftTimes | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Verified:
    """What the trunk said: its hidden states by sequence, and a verdict where one was due."""

    hidden: tuple[FloatArray, ...]
    verdicts: tuple[Verdict | None, ...]
    pass_seconds: float
    sampling_seconds: float


class Engine(Generic[W]):
    """Runs many sequences on one model."""

    def __init__(
        self,
        model: Qwen35[W],
        cache: Cache,
        roles: TokenRoles,
        settings: Settings,
        drafter: Drafter | None,
        costs: CostTable,
    ) -> None:
        self._model = model
        self._cache = cache
        self._forward = model.ops.program(
            lambda batch: model.forward(batch, cache.kv, cache.recurrent)
        )
        self._roles = roles
        self._allowed = allowed_bits(model.config.vocab, roles.unused)
        self._settings = settings
        self._drafter = drafter
        self._scheduler = Scheduler(cache, settings.prefill_rows)
        self._ids = itertools.count()
        self._acceptance = Acceptance()
        self._reviewer = Reviewer(costs)
        self.costs = costs
        self.totals = SpeculationStats()

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return self._scheduler.busy

    def submit(self, prompt: SequenceOf[int], params: SamplingParams) -> Sequence:
        """Queue a request.

        Raises `ParameterError` for an empty prompt or an id outside the vocabulary, and
        `ContextError` for a prompt that leaves no room to answer.
        """
        self._check(prompt)
        limit = self._settings.context
        if params.max_tokens is not None:
            limit = min(limit, len(prompt) + params.max_tokens)
        seed = secrets.randbits(32) if params.seed is None else params.seed
        vocab = self._model.config.vocab
        sampler = Sampler(params, vocab, seed, self._roles.unused, self._roles.eog, len(prompt))
        sequence = Sequence(
            id=next(self._ids),
            tokens=list(prompt),
            prompt_length=len(prompt),
            params=params,
            limit=limit,
            seed=seed,
            sampler=sampler,
            history=sampler.history(prompt),
            acceptance=Acceptance(prior=self._acceptance),
            timing=Timing(submitted=time.perf_counter()),
        )
        self._scheduler.submit(sequence)
        return sequence

    def logits(self, tokens: SequenceOf[int]) -> FloatArray:
        """Logits of the token after these, float32 ``[vocab]``, without disturbing what runs.

        Raises what `submit` raises, and `ContextError` while every slot is taken.
        """
        self._check(tokens)
        lease = self._cache.lease()
        try:
            for start in range(0, len(tokens), self._settings.prefill_rows):
                piece = np.array(tokens[start : start + self._settings.prefill_rows], np.int32)
                pages = lease.reserve(start + piece.size)
                segment = Segment(lease.slot, start, piece, pages, final=piece.size)
                hidden = self._model.forward(
                    Batch.of([segment]), self._cache.kv, self._cache.recurrent
                )
            row: FloatArray = self._model.logits(hidden[-1:])[0]
            return row
        finally:
            self._cache.release(lease)

    def _check(self, prompt: SequenceOf[int]) -> None:
        vocab = self._model.config.vocab
        if not prompt:
            raise ParameterError("the prompt holds no tokens; give it at least one.")
        if min(prompt) < 0 or max(prompt) >= vocab:
            raise ParameterError(f"a prompt token lies outside 0..{vocab - 1}.")
        if len(prompt) >= self._settings.context:
            raise ContextError(
                f"the prompt has {len(prompt)} tokens and the context only "
                f"{self._settings.context}; shorten it or load with a larger context."
            )

    def cancel(self, sequence: Sequence) -> None:
        """End a request early; harmless if it has ended.  Not to be called during a `step`."""
        self._finish(sequence, FinishReason.CANCELLED)

    def reset(self) -> None:
        """Forget every request: the way out of a `step` that raised and left them half-way."""
        for sequence in self._scheduler.clear():
            sequence.lease = None
            sequence.finish = FinishReason.CANCELLED
        self._cache.clear()

    def step(self) -> list[Emission]:
        """Do one round for everything that runs; returns what each sequence gained."""
        if not self.busy:
            return []
        began = time.perf_counter()
        plan = self._scheduler.plan()
        drafts = self._draft(plan)
        verified = self._verify(plan, drafts)
        emissions = self._commit(plan, drafts, verified)
        self._account(plan, drafts, verified, time.perf_counter() - began)
        return emissions

    def _draft(self, plan: Plan) -> Drafts:
        """Let the drafter guess as many tokens per sequence as should pay."""
        allowances = self._allowances(plan)
        wanted = [(s, a) for s, a in zip(plan.decode, allowances, strict=True) if a.limit]
        if self._drafter is None or not wanted:
            nothing: tuple[tuple[()], ...] = ((),) * len(plan.decode)
            return Drafts(nothing, nothing, None, 0.0)
        began = time.perf_counter()
        marks = [len(s.history) for s, _ in wanted]
        made, times = self._drafter.draft([self._request(s, a) for s, a in wanted])
        for (sequence, _), mark in zip(wanted, marks, strict=True):
            sequence.history.truncate(mark)
        by_id = {s.id: self._up_to_end(g) for (s, _), g in zip(wanted, made, strict=True)}
        guesses = [by_id.get(s.id, ()) for s in plan.decode]
        return Drafts(
            tuple(tuple(guess.token for guess in own) for own in guesses),
            tuple(tuple(guess.probability for guess in own) for own in guesses),
            times,
            time.perf_counter() - began,
        )

    def _allowances(self, plan: Plan) -> tuple[Allowance, ...]:
        setting = self._settings.draft_length
        if self._drafter is None or not plan.decode:
            return (Allowance(0, 0),) * len(plan.decode)
        caps = [self._cap(s) for s in plan.decode]
        if isinstance(setting, Fixed):
            return tuple(Allowance(cap, cap, cap) for cap in caps)
        requests = [(s.acceptance, cap) for s, cap in zip(plan.decode, caps, strict=True)]
        context = sum(len(s.tokens) for s in plan.decode)
        return self._reviewer.review(tuple(s.id for s in plan.decode), requests, context)

    def _cap(self, sequence: Sequence) -> int:
        """The longest draft that a sequence may have; once 0, it stays so."""
        return self._settings.draft_length.cap(sequence.params.draft_n_max, sequence.room)

    def _up_to_end(self, guesses: SequenceOf[Guess]) -> tuple[Guess, ...]:
        """A draft without what it says after the end of the text."""
        ends = (i for i, guess in enumerate(guesses, 1) if guess.token in self._roles.eog)
        return tuple(guesses[: next(ends, None)])

    def _request(self, sequence: Sequence, allowance: Allowance) -> DraftRequest:
        def guess(logits: FloatArray, depth: int, subset: TokenSubset | None) -> Guess:
            position = len(sequence.tokens) + depth
            try:
                token = sequence.sampler.sample(logits, sequence.history, position, subset)
            except HeadlongError:  # NaN, or every column banned; that may cost time, never the text
                sequence.history.append(0)
                return Guess(0, 0.0)
            sequence.history.append(token)
            column = token if subset is None else int(np.searchsorted(subset.ids, token))
            return Guess(token, probability(logits, column))

        assert sequence.lease is not None
        goes_on: GoesOn = always
        if allowance.forced < allowance.limit:
            goes_on = Course(allowance, sequence.acceptance.calibration)
        return DraftRequest(
            sequence.track, sequence.tokens, sequence.lease, allowance.limit, guess, goes_on
        )

    def _verify(self, plan: Plan, drafts: Drafts) -> Verified:
        """One pass of the trunk over all rows, then the sampler on the rows that predict."""
        began = time.perf_counter()
        segments = [_prompt_segment(s, rows) for s, rows in plan.prefill]
        segments += [_decode_segment(s, d) for s, d in zip(plan.decode, drafts.tokens, strict=True)]
        batch = Batch.of(segments)
        hidden = self._forward(batch)
        parts = tuple(
            hidden[start : start + rows]
            for start, rows in zip(batch.row_start, batch.rows, strict=True)
        )
        # A prompt's last row predicts the first token; every row of a decoding sequence predicts.
        predicting = [
            part[-1:] if s.computed + rows == s.prompt_length else part[:0]
            for (s, rows), part in zip(plan.prefill, parts, strict=False)
        ] + list(parts[len(plan.prefill) :])
        sequences = [s for s, _ in plan.prefill] + list(plan.decode)
        needed = needed_by(
            s.sampler for s, part in zip(sequences, predicting, strict=True) if len(part)
        )
        rows = iter(predict(self._model, np.concatenate(predicting), needed, self._allowed))
        computed = time.perf_counter()
        guesses = [()] * len(plan.prefill) + list(drafts.tokens)
        verdicts = [
            judge(sequence, guess, list(itertools.islice(rows, len(part)))) if len(part) else None
            for sequence, part, guess in zip(sequences, predicting, guesses, strict=True)
        ]
        done = time.perf_counter()
        return Verified(parts, tuple(verdicts), computed - began, done - computed)

    def _commit(self, plan: Plan, drafts: Drafts, verified: Verified) -> list[Emission]:
        """Keep what was accepted, drop the rest, tell the drafter, end what is complete."""
        emissions = []
        hidden = iter(verified.hidden)
        verdicts = iter(verified.verdicts)
        for sequence, rows in plan.prefill:
            sequence.computed += rows
            sequence.fold = 0
            emissions.append(self._advance(sequence, next(verdicts), next(hidden)))
        pairs = zip(plan.decode, drafts.probabilities, strict=True)
        for sequence, sure in pairs:
            verdict = next(verdicts)
            assert verdict is not None
            sequence.computed += 1 + verdict.accepted
            sequence.fold = verdict.accepted
            for counts in (sequence.stats, self.totals):
                counts.record(len(sure), verdict.accepted)
            if isinstance(self._settings.draft_length, Auto):  # nobody else wants to know
                for learner in (sequence.acceptance, self._acceptance):
                    learner.record(len(sure), verdict.accepted, sure)
            kept = next(hidden)[: 1 + verdict.accepted]
            emissions.append(self._advance(sequence, verdict, kept))
        return emissions

    def _advance(self, sequence: Sequence, verdict: Verdict | None, hidden: FloatArray) -> Emission:
        """Append a verdict's tokens up to the first that ends the text."""
        fresh: list[int] = []
        for token in verdict.tokens if verdict else ():
            fresh.append(token)
            sequence.tokens.append(token)
            if token in self._roles.eog and not sequence.params.ignore_eos:
                self._finish(sequence, FinishReason.STOP)
                break
            if sequence.room <= 0:
                self._finish(sequence, FinishReason.LENGTH)
                break
        if sequence.error is not None:
            self._finish(sequence, FinishReason.FAILED)
        if fresh:
            now = time.perf_counter()
            sequence.timing.first_token = sequence.timing.first_token or now
            sequence.timing.last_token = now
        if self._drafter is not None and sequence.lease is not None and self._cap(sequence):
            self._drafter.observe(sequence.track, sequence.tokens, sequence.lease, hidden)
        accepted = min(verdict.accepted, len(fresh)) if verdict else 0
        return Emission(sequence, tuple(fresh), accepted)

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        if sequence.finish is None:
            sequence.finish = reason
            self._scheduler.retire(sequence)

    def _account(self, plan: Plan, drafts: Drafts, verified: Verified, seconds: float) -> None:
        """Book the round's seconds; where lengths were chosen they also teach the cost table."""
        spent = drafts.times.total if drafts.times else 0.0
        share = 1.0 / max(1, len(plan.decode))
        drafting = sum(1 for draft in drafts.tokens if draft)
        for sequence, draft in zip(plan.decode, drafts.tokens, strict=True):
            sequence.stats.spend(
                draft=spent / drafting if draft else 0.0,
                verify=verified.pass_seconds * share,
                sampling=verified.sampling_seconds * share,
            )
        if plan.decode:
            self.totals.spend(
                draft=spent, verify=verified.pass_seconds, sampling=verified.sampling_seconds
            )
        if plan.prefill or not plan.decode or not self._reviewer.listening:
            return
        rows = sum(1 + len(d) for d in drafts.tokens)
        context = sum(len(s.tokens) for s in plan.decode)
        self.costs.observe_pass(rows, verified.pass_seconds, context, len(plan.decode))
        self.costs.observe_sampling(rows, max(1e-9, verified.sampling_seconds))
        beside = seconds - verified.pass_seconds - verified.sampling_seconds - drafts.seconds
        self.costs.observe_overhead(max(1e-9, beside - self._reviewer.seconds))
        if drafts.times:
            first = drafts.seconds - sum(drafts.times.chained)  # with what any draft takes
            self.costs.observe_draft(first, drafts.times.chained, context)


def _prompt_segment(sequence: Sequence, rows: int) -> Segment:
    assert sequence.lease is not None
    sequence.timing.prefill_began = sequence.timing.prefill_began or time.perf_counter()
    start = sequence.computed
    return Segment(
        slot=sequence.lease.slot,
        start=start,
        tokens=np.array(sequence.tokens[start : start + rows], np.int32),
        pages=sequence.lease.reserve(start + rows),
        final=rows,
    )


def _decode_segment(sequence: Sequence, draft: SequenceOf[int]) -> Segment:
    """The newest token, which is certain, and the drafts after it, which are not."""
    assert sequence.lease is not None
    return Segment(
        slot=sequence.lease.slot,
        start=sequence.computed,
        tokens=np.array([sequence.tokens[-1], *draft], np.int32),
        pages=sequence.lease.reserve(sequence.computed + 1 + len(draft)),
        final=1,
        fold=sequence.fold,
    )
