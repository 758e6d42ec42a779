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
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Generic

import numpy as np

from headlong.cache.memory import Cache
from headlong.engine.drafting import Drafting, Drafts
from headlong.engine.grammar import GrammarState
from headlong.engine.judge import judge, predict
from headlong.engine.reuse import Reuse
from headlong.engine.scheduler import PREFILL_ROWS, Plan, Scheduler
from headlong.engine.sequence import FinishReason, Sequence, Timing
from headlong.errors import ContextError, HeadlongError, ParameterError
from headlong.models.qwen35 import Qwen35
from headlong.ops.batch import Batch, FloatArray, Segment
from headlong.ops.best import allowed_bits
from headlong.ops.protocol import W
from headlong.sampling import Sampler, SamplingParams, most_needed
from headlong.speculation import (
    CostTable,
    DraftLength,
    SpeculationStats,
    Verdict,
)
from headlong.speculation.drafter import Drafter


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
class Load:
    """What an engine has to do: sequences that run and wait, and pages of the KV cache in use.

    Pages of prompts that are only kept for later ones count as free.
    """

    slots: int
    running: int
    waiting: int
    pages: int
    pages_used: int


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
        forward: Callable[[Batch], FloatArray] | None = None,
    ) -> None:
        """Without ``forward``, a pass `recorded` for this engine alone."""
        self._model = model
        self._cache = cache
        self._forward = forward or recorded(model, cache)
        self._roles = roles
        self._allowed = allowed_bits(model.config.vocab, roles.unused)
        self._settings = settings
        self._drafting = Drafting(
            drafter, settings.draft_length, costs, roles.eog, shared=cache.prefixes is not None
        )
        self._reuse = Reuse(cache, self._drafting, roles.eog)
        self._scheduler = Scheduler(cache, self._reuse, settings.prefill_rows)
        self._ids = itertools.count()
        self.costs = costs
        self.totals = SpeculationStats()

    @property
    def vocab(self) -> int:
        """Columns of the model's logits."""
        return self._model.config.vocab

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return self._scheduler.busy

    @property
    def load(self) -> Load:
        """What there is to do."""
        running = self._scheduler.running
        return Load(
            slots=len(running) + self._cache.free_slots,
            running=len(running),
            waiting=len(self._scheduler.waiting),
            pages=self._cache.pages,
            pages_used=len({page for s in running if s.lease for page in s.lease.pages}),
        )

    def check(self, prompt: SequenceOf[int], params: SamplingParams) -> None:
        """Raise what `submit` would raise; changes nothing, so that any thread may ask."""
        self._check(prompt)
        self._sampler(prompt, params, seed=0)

    def submit(
        self,
        prompt: SequenceOf[int],
        params: SamplingParams,
        grammar: GrammarState | None = None,
    ) -> Sequence:
        """Queue a request; ``grammar``: that of the parameters, at its beginning.

        Raises `ParameterError` for an empty prompt or an id outside the vocabulary, and
        `ContextError` for a prompt that leaves no room to answer.
        """
        self._check(prompt)
        if (grammar is None) != (params.grammar is None):
            raise HeadlongError("a request has a grammar where its parameters have one")
        limit = self._settings.context
        if params.max_tokens is not None:
            limit = min(limit, len(prompt) + params.max_tokens)
        seed = secrets.randbits(32) if params.seed is None else params.seed
        sampler = self._sampler(prompt, params, seed)
        sequence = Sequence(
            id=next(self._ids),
            tokens=list(prompt),
            prompt=np.array(prompt, np.int32),
            params=params,
            limit=limit,
            seed=seed,
            sampler=sampler,
            history=sampler.history(prompt),
            acceptance=self._drafting.acceptance(),
            timing=Timing(submitted=time.perf_counter()),
            grammar=grammar,
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

    def _sampler(self, prompt: SequenceOf[int], params: SamplingParams, seed: int) -> Sampler:
        roles = self._roles
        return Sampler(params, self._model.config.vocab, seed, roles.unused, roles.eog, len(prompt))

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
        drafts = self._drafting.draft(plan.decode, [s for s, _ in plan.prefill])
        verified = self._verify(plan, drafts)
        emissions = self._commit(plan, drafts, verified)
        self._account(plan, drafts, verified, time.perf_counter() - began)
        return emissions

    def _verify(self, plan: Plan, drafts: Drafts) -> Verified:
        """One pass of the trunk over all rows, then the sampler on the rows that predict."""
        began = time.perf_counter()
        segments = [_prompt_segment(s, rows) for s, rows in plan.prefill]
        segments += [_decode_segment(s, d) for s, d in zip(plan.decode, drafts.tokens, strict=True)]
        batch = Batch.of(segments)
        hidden = self._forward(batch)
        parts = tuple(
            hidden[start : start + rows]
            for start, rows in zip(batch.row_start.tolist(), batch.rows.tolist(), strict=True)
        )
        # A prompt's last row predicts the first token; every row of a decoding sequence predicts.
        predicting = [
            part[-1:] if s.computed + rows == s.prompt_length else part[:0]
            for (s, rows), part in zip(plan.prefill, parts, strict=False)
        ] + list(parts[len(plan.prefill) :])
        sequences = [s for s, _ in plan.prefill] + list(plan.decode)
        needed = most_needed(
            s.sampler.reads for s, part in zip(sequences, predicting, strict=True) if len(part)
        )
        rows = iter(predict(self._model, np.concatenate(predicting), needed, self._allowed))
        computed = time.perf_counter()
        guesses = [()] * len(plan.prefill) + list(drafts.tokens)
        verdicts = [
            judge(sequence, guess, list(itertools.islice(rows, len(part))), self._roles.eog)
            if len(part)
            else None
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
            kept = next(hidden)
            self._reuse.anchor(sequence, kept[-1])
            emissions.append(self._advance(sequence, next(verdicts), kept))
            self._reuse.passed_mark(sequence)
        pairs = zip(plan.decode, drafts.probabilities, strict=True)
        for sequence, sure in pairs:
            verdict = next(verdicts)
            assert verdict is not None
            sequence.computed += 1 + verdict.accepted
            sequence.fold = verdict.accepted
            for counts in (sequence.stats, self.totals):
                counts.record(len(sure), verdict.accepted)
            self._drafting.learn_acceptance(sequence, sure, verdict.accepted)
            kept = next(hidden)[: 1 + verdict.accepted]
            self._reuse.anchor(sequence, kept[0])
            emissions.append(self._advance(sequence, verdict, kept))
        return emissions

    def _advance(self, sequence: Sequence, verdict: Verdict | None, hidden: FloatArray) -> Emission:
        """Append a verdict's tokens up to the first that ends the text."""
        fresh: list[int] = []
        reason = None
        for token in verdict.tokens if verdict else ():
            fresh.append(token)
            sequence.tokens.append(token)
            if token in self._roles.eog and not sequence.params.ignore_eos:
                reason = FinishReason.STOP
                break
            if sequence.matched:
                reason = FinishReason.STOP
                break
            if sequence.room <= 0:
                reason = FinishReason.LENGTH
                break
        if sequence.error is not None:
            reason = FinishReason.FAILED
        if fresh:
            now = time.perf_counter()
            sequence.timing.first_token = sequence.timing.first_token or now
            sequence.timing.last_token = now
        began = sequence.computed - len(hidden)
        followed = len(sequence.tokens) - 1 - began  # rows whose next token is known
        self._drafting.observe(sequence, hidden[:followed])
        if reason is not None:
            self._finish(sequence, reason)
        accepted = min(verdict.accepted, len(fresh)) if verdict else 0
        return Emission(sequence, tuple(fresh), accepted)

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        if sequence.finish is None:
            sequence.finish = reason
            if reason is not FinishReason.FAILED:
                self._reuse.keep(sequence)
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
        if plan.prefill:
            rows = sum(n for _, n in plan.prefill) + sum(1 + len(d) for d in drafts.tokens)
            self._scheduler.pace.observe(rows, verified.pass_seconds)
        if plan.decode and not plan.prefill:
            self._drafting.learn_costs(
                plan.decode, drafts, verified.pass_seconds, verified.sampling_seconds, seconds
            )


def recorded(model: Qwen35[W], cache: Cache) -> Callable[[Batch], FloatArray]:
    """A pass of the trunk over a cache, as a program; see `Ops.program`."""
    return model.ops.program(lambda batch: model.forward(batch, cache.kv, cache.recurrent))


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
