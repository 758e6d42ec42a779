"""An engine with its parts in reach, so that tests can see what it holds and steer its costs."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headlong.cache.memory import Cache
from headlong.engine.engine import Emission, Engine, Settings, TokenRoles
from headlong.engine.load import LoadedModel, load_model
from headlong.engine.requests import Requests
from headlong.engine.sequence import Sequence
from headlong.ops.cpu import CpuOps
from headlong.ops.protocol import Ops
from headlong.progress import Silent
from headlong.sampling import MAX_DRAFT, SamplingParams
from headlong.speculation import CostTable, DraftLength, Fixed
from headlong.speculation.mtp import MTPDrafter
from recording_ops import RecordingOps


class GivenCosts(CostTable):
    """A machine on which a pass takes 1 and each row after the first `row` more, a draft `draft`.

    What live rounds take makes no difference.
    """

    def __init__(self, row: float, draft: float) -> None:
        super().__init__()
        self._row = row
        self._draft = draft

    def observe_pass(
        self, rows: int, seconds: float, context: int = 0, sequences: int = 1, *, live: bool = True
    ) -> None:
        assert rows >= 1
        assert seconds > 0

    def observe_draft(
        self,
        first: float,
        chained: SequenceOf[float] = (),
        context: int = 0,
        sequences: int = 1,
        active: SequenceOf[int] = (),
    ) -> None:
        assert min([first, *chained]) > 0
        assert len(active) == len(chained)
        assert all(1 <= width <= sequences for width in active)

    def observe_sampling(self, rows: int, seconds: float) -> None:
        assert seconds > 0

    def observe_overhead(self, seconds: float) -> None:
        assert seconds > 0

    def passes(self, rows: int, count: int, context: int = 0, sequences: int = 1) -> list[float]:
        return [1 + self._row * (n - 1) for n in range(rows, rows + count)]

    def first_draft_seconds(self, context: int = 0) -> float:
        return self._draft

    def draft_step_seconds(self, context: int = 0) -> float:
        return self._draft


@dataclass(slots=True)
class Rig:
    """An engine and what it was made of."""

    model: LoadedModel[Any]
    ops: RecordingOps[Any]
    cache: Cache
    engine: Engine[Any]
    requests: Requests[Any]
    slots: int
    pages: int

    @classmethod
    def make(
        cls,
        path: Path,
        *,
        draft: DraftLength | None = None,
        context: int = 256,
        sequences: int = 4,
        prefill_rows: int = 256,
        costs: CostTable | None = None,
        kv_type: str = "f16",
        leading_rows: int | None = None,
        backend: Ops[Any] | None = None,
        retain: int = 0,
    ) -> Rig:
        """Load `path` and build; without `draft`, three tokens are drafted."""
        ops = RecordingOps(backend or CpuOps(1))
        model = load_model(path, ops, Silent())
        cache = Cache(
            model.config,
            context=context,
            sequences=sequences,
            kv_type=kv_type,
            max_draft=MAX_DRAFT,
            mtp=True,
            retain=retain,
        )
        assert model.head is not None
        assert cache.mtp_kv is not None
        drafter = MTPDrafter(model.head, cache.mtp_kv, leading_rows or model.config.vocab)
        tokenizer = model.tokenizer
        engine = Engine(
            model.trunk,
            cache,
            TokenRoles(frozenset(tokenizer.eog_ids), tokenizer.unused_ids),
            Settings(context, draft or Fixed(3), prefill_rows),
            drafter,
            costs or CostTable(),
        )
        requests = Requests(engine, tokenizer)
        return cls(model, ops, cache, engine, requests, cache.free_slots, cache.free_pages)

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing is held."""
        free = (self.cache.free_slots, self.cache.free_pages)
        return not self.engine.busy and free == (self.slots, self.pages)

    def submit(self, prompt: SequenceOf[int], **params: object) -> Sequence:
        """Queue a greedy request."""
        return self.engine.submit(prompt, greedy(**params))

    def step(self) -> dict[int, Emission]:
        """One step; emissions by sequence id."""
        return {emission.sequence.id: emission for emission in self.engine.step()}

    def run(self) -> None:
        """Step until nothing is left."""
        while self.engine.busy:
            self.engine.step()


def greedy(**params: object) -> SamplingParams:
    """Parameters with a temperature of 0."""
    return SamplingParams(**{"temperature": 0.0, **params})  # type: ignore[arg-type]


def generated(sequence: Sequence) -> list[int]:
    """What a sequence has generated."""
    return sequence.tokens[sequence.prompt_length :]
