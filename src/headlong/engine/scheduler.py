"""Who runs in the next step: waiting requests in order, prompts in chunks, every decode row.

Only the order of work is decided here.  Row invariance makes every order give the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from headlong.cache.memory import Cache
from headlong.engine.pace import Pace
from headlong.engine.reuse import Reuse
from headlong.engine.sequence import Sequence

PREFILL_ROWS = 256
"""Most prompt rows per step: enough that weights are read once for many rows."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One step: prompt chunks as (sequence, rows), and the sequences that decode."""

    prefill: tuple[tuple[Sequence, int], ...]
    decode: tuple[Sequence, ...]


class Scheduler:
    """Admits requests while there are slots; oldest first."""

    def __init__(self, cache: Cache, reuse: Reuse, prefill_rows: int = PREFILL_ROWS) -> None:
        self._cache = cache
        self._reuse = reuse
        self.pace = Pace(prefill_rows)
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []

    @property
    def busy(self) -> bool:
        """Whether anything is waiting or running."""
        return bool(self.waiting or self.running)

    def submit(self, sequence: Sequence) -> None:
        """Queue a request."""
        self.waiting.append(sequence)

    def plan(self) -> Plan:
        """Admit what fits, then share the prompt rows of this step among prompts."""
        self._admit()
        prompts = [s for s in self.running if s.prefilling]
        decode = tuple(s for s in self.running if not s.prefilling)
        if not prompts:
            return Plan((), decode)
        alone = len(self.running) == 1 and not self.waiting
        rows = _share(prompts, self.pace.rows(alone=alone))
        return Plan(tuple((s, n) for s, n in zip(prompts, rows, strict=True) if n), decode)

    def _admit(self) -> None:
        for sequence in tuple(self.waiting):
            if not self._cache.free_slots:
                return
            if self._reuse.awaits(sequence, [s for s in self.running if s.prefilling]):
                continue
            self.waiting.remove(sequence)
            self._reuse.begin(sequence)
            self.running.append(sequence)

    def clear(self) -> list[Sequence]:
        """Forget every request, whatever state it is in; returns them."""
        everything = [*self.running, *self.waiting]
        self.running.clear()
        self.waiting.clear()
        return everything

    def retire(self, sequence: Sequence) -> None:
        """Forget a request that has finished, wherever it stands."""
        if sequence.lease is not None:
            self._cache.release(sequence.lease)
            sequence.lease = None
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)


def _share(prompts: SequenceOf[Sequence], rows: int) -> list[int]:
    """Rows for each prompt, oldest first.

    Half are for the oldest, so that it ends; the others go to those with the least left to read,
    which a long prompt should not keep waiting; what nobody else wants, to the oldest again.
    """
    wanted = [s.chunk_end - s.computed for s in prompts]
    shares = [0] * len(prompts)
    shares[0] = min(wanted[0], rows if len(prompts) == 1 else (rows + 1) // 2)
    left = rows - shares[0]
    for index in sorted(range(1, len(prompts)), key=lambda i: prompts[i].to_read):
        shares[index] = min(wanted[index], left)
        left -= shares[index]
    shares[0] += min(wanted[0] - shares[0], left)
    return shares
