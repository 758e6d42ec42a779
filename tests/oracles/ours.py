"""Our trunk, MTP head and engine, run on one sequence, for comparison with an oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import numpy as np

from headlong.cache.memory import Cache
from headlong.engine.engine import Engine, Settings, TokenRoles
from headlong.engine.load import load_model
from headlong.ops.batch import Batch, Segment
from headlong.ops.protocol import Ops, W
from headlong.progress import Silent
from headlong.sampling import SamplingParams, TokenSubset
from headlong.speculation import CostTable, Fixed
from headlong.speculation.drafter import DraftRequest, DraftTrack, Guess
from headlong.speculation.mtp import MTPDrafter

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
MAX_DRAFT = 8


@dataclass(frozen=True, slots=True)
class Generated:
    """A greedy continuation and how it was speculated."""

    tokens: tuple[int, ...]
    drafted: int
    accepted: int


@dataclass(frozen=True, slots=True)
class TrunkRows:
    """Hidden states after the final norm [n, hidden] and logits [n, vocab], one row per token."""

    hidden: Floats
    logits: Floats


class Ours(Generic[W]):
    """The model at `path` on one backend."""

    def __init__(self, path: Path, ops: Ops[W], *, kv_type: str = "f16") -> None:
        self._model = load_model(path, ops, Silent())
        self._kv_type = kv_type

    def run(self, tokens: Sequence[int], chunk: int | None = None) -> TrunkRows:
        """The trunk over `tokens` from nothing, `chunk` rows per pass (default: all at once)."""
        cache = self._cache(len(tokens))
        hidden = self._hidden(cache, tokens, chunk or len(tokens))
        return TrunkRows(hidden, self._model.trunk.logits(hidden))

    def draft(self, tokens: Sequence[int], count: int) -> list[Floats]:
        """Draft logits [vocab] for the `count` tokens after `tokens`, each the best of its row.

        The last of `tokens` has not been through the trunk, as after sampling it.
        """
        assert self._model.head is not None
        cache = self._cache(len(tokens) + count)
        assert cache.mtp_kv is not None
        hidden = self._hidden(cache, tokens[:-1], len(tokens) - 1)
        drafter = MTPDrafter(self._model.head, cache.mtp_kv)
        track, lease = DraftTrack(), cache.lease()
        drafter.observe(track, tokens, lease, hidden)
        rows: list[Floats] = []

        def best(logits: Floats, depth: int, subset: TokenSubset | None) -> Guess:
            assert depth == len(rows)
            assert subset is None
            rows.append(logits.copy())
            return Guess(int(logits.argmax()), 1.0)

        drafter.draft([DraftRequest(track, tokens, lease, count, best)])
        return rows

    def greedy(self, prompt: Sequence[int], count: int, draft: int = 0) -> Generated:
        """The engine's `count` most likely tokens, drafting `draft` at a time; never ends early."""
        cache = self._cache(len(prompt) + count)
        drafter = None
        if draft:
            assert self._model.head is not None
            assert cache.mtp_kv is not None
            drafter = MTPDrafter(self._model.head, cache.mtp_kv)
        tokenizer = self._model.tokenizer
        engine = Engine(
            self._model.trunk,
            cache,
            TokenRoles(frozenset(tokenizer.eog_ids), tuple(tokenizer.unused_ids)),
            Settings(len(prompt) + count, Fixed(draft)),
            drafter,
            CostTable(),
        )
        params = SamplingParams(temperature=0.0, max_tokens=count, ignore_eos=True)
        sequence = engine.submit(prompt, params)
        while sequence.finish is None:
            engine.step()
        stats = sequence.stats
        return Generated(
            tuple(sequence.tokens[len(prompt) :]), stats.draft_n, stats.draft_n_accepted
        )

    def _cache(self, positions: int) -> Cache:
        return Cache(
            self._model.config,
            context=positions,
            sequences=2,
            kv_type=self._kv_type,
            max_draft=MAX_DRAFT,
            mtp=self._model.head is not None,
        )

    def _hidden(self, cache: Cache, tokens: Sequence[int], chunk: int) -> Floats:
        lease = cache.lease()
        parts = []
        for start in range(0, len(tokens), chunk):
            rows = np.array(tokens[start : start + chunk], np.int32)
            segment = Segment(
                slot=lease.slot,
                start=start,
                tokens=rows,
                pages=lease.reserve(start + len(rows)),
                final=len(rows),
            )
            batch = Batch.of([segment])
            parts.append(self._model.trunk.forward(batch, cache.kv, cache.recurrent))
        cache.release(lease)
        return np.concatenate(parts)
