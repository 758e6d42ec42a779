"""Who runs in the next step: waiting requests in order, prompts in chunks, every decode row.

Only the order of work is decided here.  Row invariance makes every order give the same tokens.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from headlong.cache.memory import Cache
from headlong.engine.sequence import Sequence

PREFILL_ROWS = 256
"""Prompt rows per step: enough that weights are read once for many rows, few enough that
sequences which are decoding get a turn, and Ctrl-C a chance, several times a second."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One step: prompt chunks as (sequence, rows), and the sequences that decode."""

    prefill: tuple[tuple[Sequence, int], ...]
    decode: tuple[Sequence, ...]


class Scheduler:
    """Admits requests while there are slots; oldest first."""

    def __init__(self, cache: Cache, prefill_rows: int = PREFILL_ROWS) -> None:
        self._cache = cache
        self._prefill_rows = prefill_rows
        self._waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def busy(self) -> bool:
        """Whether anything is waiting or running."""
        return bool(self._waiting or self.running)

    def submit(self, sequence: Sequence) -> None:
        """Queue a request."""
        self._waiting.append(sequence)

    def plan(self) -> Plan:
        """Admit what fits, then share the prompt rows of this step among prompts, oldest first."""
        while self._waiting and self._cache.free_slots:
            sequence = self._waiting.popleft()
            sequence.lease = self._cache.lease()
            self.running.append(sequence)
        left = self._prefill_rows
        prefill = []
        for sequence in self.running:
            if sequence.prefilling and left:
                rows = min(left, sequence.prompt_length - sequence.computed)
                prefill.append((sequence, rows))
                left -= rows
        decode = tuple(s for s in self.running if not s.prefilling)
        return Plan(tuple(prefill), decode)

    def clear(self) -> list[Sequence]:
        """Forget every request, whatever state it is in; returns them."""
        everything = [*self.running, *self._waiting]
        self.running.clear()
        self._waiting.clear()
        return everything

    def retire(self, sequence: Sequence) -> None:
        """Forget a request that has finished, wherever it stands."""
        if sequence.lease is not None:
            self._cache.release(sequence.lease)
            sequence.lease = None
            self.running.remove(sequence)
        else:
            self._waiting.remove(sequence)
