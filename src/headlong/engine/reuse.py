"""Where a sequence begins: at nothing, or after what earlier ones have read; and what it leaves.

Reading a prompt ends chunks at *marks*, positions at which the recurrent state is set aside: on a
grid; near the prompt's end, if possible after its last whole message, since templates write the
beginning of an answer otherwise once it is history; and where it parts from prompts that were read
before, since what two share a third may share too.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from headlong.cache.memory import Cache
from headlong.cache.prefix import Found, PrefixCache
from headlong.engine.drafting import Drafting
from headlong.engine.sequence import Sequence
from headlong.ops.batch import PAGE, FloatArray, IntArray


class Reuse:
    """Begins sequences, and keeps what they computed, where the cache retains anything."""

    def __init__(self, cache: Cache, drafting: Drafting, ends: frozenset[int]) -> None:
        """``ends``: tokens that end a text, and so each message of a conversation."""
        self._cache = cache
        self._drafting = drafting
        self._ends = np.array(sorted(ends), np.int32)

    def begin(self, sequence: Sequence) -> None:
        """Lease memory and take over what is known of the prompt."""
        prefixes = self._prefixes(sequence)
        if prefixes is None:
            sequence.lease = self._cache.lease()
            return
        found = prefixes.use(sequence.prompt)
        sequence.lease = self._cache.lease(found.checkpoint)
        sequence.marks = self._marks(sequence, found)
        if found.checkpoint is not None:
            sequence.cached = sequence.computed = found.position
            sequence.anchor = found.checkpoint.hidden
            self._drafting.resume(sequence, found.position, found.checkpoint.hidden)

    def awaits(self, sequence: Sequence, reading: Iterable[Sequence]) -> bool:
        """Whether a waiting prompt had better wait for one that is being read.

        That one reads what both begin with, and then leaves it to be taken over.
        """
        prefixes = self._prefixes(sequence)
        if prefixes is None:
            return False
        known: int | None = None  # looked up once, and only where something is shared
        for other in reading:
            shared = _common(sequence.prompt, other.prompt)
            if shared < sequence.prompt_length - 1:
                shared = shared // PAGE * PAGE
            if shared < PAGE or not self._prefixes(other) or other.computed >= shared:
                continue
            if known is None:
                known = prefixes.find(sequence.prompt).position
            if shared - known < PAGE:
                continue
            if shared not in other.marks:
                other.marks = tuple(sorted((*other.marks, shared)))
            return True
        return False

    def anchor(self, sequence: Sequence, hidden: FloatArray) -> None:
        """The trunk's row ``[hidden]`` of the last position that a pass made certain.

        The next pass overwrites it, so it is copied, where anybody will ask for it.
        """
        if self._prefixes(sequence) is not None:
            sequence.anchor = hidden.copy()

    def passed_mark(self, sequence: Sequence) -> None:
        """A prompt chunk was read: set the state aside if it ended at a mark."""
        if sequence.computed in sequence.marks:
            self.keep(sequence)

    def keep(self, sequence: Sequence) -> None:
        """Remember all that is certain of a sequence that still has its lease."""
        prefixes = self._prefixes(sequence)
        position = sequence.computed - sequence.fold
        if (
            prefixes is None
            or sequence.lease is None
            or sequence.anchor is None
            or position <= sequence.cached
        ):
            return
        self._drafting.settle(sequence, position)
        checkpoint = self._cache.checkpoint(sequence.lease, position, sequence.anchor)
        prefixes.keep(sequence.tokens, checkpoint)

    def _prefixes(self, sequence: Sequence) -> PrefixCache | None:
        return self._cache.prefixes if sequence.params.cache_prompt else None

    def _marks(self, sequence: Sequence, found: Found) -> tuple[int, ...]:
        last = sequence.prompt_length - 1
        every = self._cache.size.checkpoint_interval
        marks = {*range(every, last, every), self._near_end(sequence.prompt)}
        if found.known - found.position >= PAGE:
            marks.add(found.known)
        return tuple(sorted(mark for mark in marks if found.position < mark <= last))

    def _near_end(self, prompt: IntArray) -> int:
        """After the last message if it is less than a page from the end, or the last full page."""
        last = prompt.size - 1
        tail = prompt[max(0, last - PAGE) : last]
        ends = np.flatnonzero(np.isin(tail, self._ends))
        return last - tail.size + int(ends[-1]) + 1 if ends.size else last // PAGE * PAGE


def _common(one: IntArray, other: IntArray) -> int:
    """Tokens that both begin with, of which the last of each must be computed."""
    count = min(one.size, other.size) - 1
    differ = np.flatnonzero(one[:count] != other[:count])
    return int(differ[0]) if differ.size else count
