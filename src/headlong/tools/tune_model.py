"""One loaded model, and an engine for each way of drafting with it: what `tune` measures on.

The engines share weights and cache, so that nothing but the drafting differs between them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from headlong.cache.memory import Cache
from headlong.cache.pages import Lease
from headlong.engine.calibrate import BEST, Measured, measure_costs
from headlong.engine.cost_cache import cost_cache
from headlong.engine.engine import Engine, Settings, TokenRoles, recorded
from headlong.engine.load import LoadedModel
from headlong.engine.requests import Completion, Requests
from headlong.engine.scheduler import PREFILL_ROWS
from headlong.errors import HeadlongError, ParameterError
from headlong.ops.batch import Batch, FloatArray, Segment
from headlong.ops.cpu import CpuOps, CpuWeight
from headlong.sampling import MAX_DRAFT, SamplingParams
from headlong.speculation import Auto, CostTable, DraftLength, Fixed
from headlong.speculation.drafter import DraftRequest, DraftTimes, DraftTrack, likeliest
from headlong.speculation.mtp import MTPDrafter

__all__ = ["AUTO", "Drafting", "Round", "TunedModel"]

AUTO: Final = "auto"

Drafting = int | str
"""A fixed draft length, 0 for none, or `AUTO`."""

_SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Round:
    """One verification pass over so many rows, and the drafts made after it, in seconds."""

    rows: int
    seconds: float
    drafts: DraftTimes | None


class TunedModel:
    """A model in memory, with room for one sequence of ``positions``.

    Raises `ParameterError` for more positions than it was trained for.
    """

    def __init__(self, loaded: LoadedModel[CpuWeight], positions: int) -> None:
        config = loaded.config
        if positions > config.context:
            raise ParameterError(
                f"--context and --tokens come to {positions} positions, but the model was trained "
                f"for {config.context}; give less of them."
            )
        self._loaded = loaded
        self._cache = Cache(
            config,
            context=positions,
            sequences=1,
            kv_type="f16",
            max_draft=MAX_DRAFT,
            mtp=loaded.head is not None,
        )
        self._positions = positions
        self._forward = recorded(loaded.trunk, self._cache)
        self._plain = self._engine(None, Fixed(0), CostTable())
        self._drafter: MTPDrafter[CpuWeight] | None = None
        if loaded.head is not None and self._cache.mtp_kv is not None:
            self._drafter = MTPDrafter(loaded.head, self._cache.mtp_kv)
            self._fixed = self._engine(self._drafter, Fixed(MAX_DRAFT), CostTable())
            costs = measure_costs(Measured(loaded.trunk, self._forward, self._drafter, self._cache))
            self._auto = self._engine(self._drafter, Auto(), costs)

    @property
    def has_head(self) -> bool:
        """Whether drafts can be made."""
        return self._drafter is not None

    def answer(self, prompt: Sequence[int], drafting: Drafting, tokens: int) -> Completion:
        """Answer greedily with exactly so many tokens."""
        engine = self._choose(drafting)
        requests = Requests(engine, self._loaded.tokenizer)
        cap = drafting if isinstance(drafting, int) else None
        params = SamplingParams(
            max_tokens=tokens, temperature=0.0, seed=_SEED, ignore_eos=True, draft_n_max=cap
        )
        return requests.finish([requests.submit(prompt, params)])[0]

    def keep_costs(self, ops: CpuOps) -> None:
        """Keep what the chosen lengths learned of costs, in place of what was known."""
        kept = cost_cache(ops, self._loaded.fingerprint, "f16")
        if kept is not None and self._drafter is not None:
            kept.save(self._auto.costs.record())

    def read(self, prompt: Sequence[int], *, head: bool) -> tuple[float, int]:
        """Read a prompt up to its first token; returns the seconds, and that token.

        With the head, the time includes its keys and values for the prompt.
        """
        engine = self._fixed if head else self._plain
        params = SamplingParams(max_tokens=2, temperature=0.0, seed=_SEED, ignore_eos=True)
        began = time.perf_counter()
        sequence = engine.submit(prompt, params)
        while not sequence.generated:
            engine.step()
            if sequence.error is not None:
                raise sequence.error
        seconds = time.perf_counter() - began
        engine.cancel(sequence)
        return seconds, sequence.tokens[-1]

    def rounds(
        self, script: Sequence[int], start: int, rows: Sequence[int], drafts: int, cycles: int
    ) -> Iterator[Round]:
        """Time rounds of growing size after ``start`` positions, all drafts being accepted.

        Each cycle begins at ``start`` again and runs one round for each of ``rows``; a first cycle
        that warms up is not reported.  ``script`` holds the tokens that such a sequence is made
        of: at least ``start + sum(rows) + 1``.
        """
        lease = self._cache.lease()
        try:
            track = self._fill(lease, script, start)
            for cycle in range(cycles + 1):
                if cycle:
                    # Keys and values are overwritten; the recurrent state runs on, which only a
                    # text would notice.
                    track = DraftTrack()
                    track.start = start
                for one in self._cycle(lease, track, script, start, rows, drafts):
                    if cycle:
                        yield one
        finally:
            self._cache.release(lease)

    def _cycle(
        self,
        lease: Lease,
        track: DraftTrack,
        script: Sequence[int],
        start: int,
        rows: Sequence[int],
        drafts: int,
    ) -> Iterator[Round]:
        position, fold = start, 0
        for count in rows:
            began = time.perf_counter()
            hidden = self._pass(lease, script, position, count, 1, fold)
            self._loaded.trunk.best(hidden, BEST)
            seconds = time.perf_counter() - began
            position, fold = position + count, count - 1
            times = None
            if self._drafter is not None and drafts:
                known = script[: position + 1]
                self._drafter.observe(track, known, lease, hidden)
                _, times = self._drafter.draft(
                    [DraftRequest(track, known, lease, drafts, likeliest, needs=1)]
                )
            yield Round(count, seconds, times)

    def _fill(self, lease: Lease, script: Sequence[int], start: int) -> DraftTrack:
        """Read the tokens before ``start`` as a prompt."""
        track = DraftTrack()
        for first in range(0, start, PREFILL_ROWS):
            count = min(PREFILL_ROWS, start - first)
            hidden = self._pass(lease, script, first, count, count, 0)
            if self._drafter is not None:
                self._drafter.observe(track, script[: first + count + 1], lease, hidden)
        return track

    def _pass(
        self, lease: Lease, script: Sequence[int], start: int, rows: int, final: int, fold: int
    ) -> FloatArray:
        tokens = np.array(script[start : start + rows], np.int32)
        segment = Segment(lease.slot, start, tokens, lease.reserve(start + rows), final, fold)
        return self._forward(Batch.of([segment]))

    def _choose(self, drafting: Drafting) -> Engine[CpuWeight]:
        if drafting == 0:
            return self._plain
        if self._drafter is None:
            raise HeadlongError(f"draft length {drafting} was asked of a model without an MTP head")
        return self._auto if drafting == AUTO else self._fixed

    def _engine(
        self, drafter: MTPDrafter[CpuWeight] | None, length: DraftLength, costs: CostTable
    ) -> Engine[CpuWeight]:
        tokenizer, config = self._loaded.tokenizer, self._loaded.config
        unused = (*tokenizer.unused_ids, *range(tokenizer.size, config.vocab))
        return Engine(
            self._loaded.trunk,
            self._cache,
            TokenRoles(eog=frozenset(tokenizer.eog_ids), unused=unused),
            Settings(self._positions, length),
            drafter,
            costs,
            self._forward,
        )
