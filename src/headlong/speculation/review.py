"""How often draft lengths are chosen anew: choosing costs time too, which tiny models feel."""

from __future__ import annotations

from collections.abc import Sequence

from headlong.speculation.acceptance import Acceptance
from headlong.speculation.controller import decide
from headlong.speculation.costs import CostTable

SHORT_ROUND = 0.004
"""Seconds.  Choosing takes some 50 us for a sequence: 1 % of this, and 15 % of the bundled model's
pass."""

KEPT_ROUNDS = 4
"""Rounds for which lengths are kept, where rounds are shorter than that."""


class Reviewer:
    """`choose`, except that short rounds of the same sequences keep what was chosen for a while."""

    def __init__(self, costs: CostTable) -> None:
        self._costs = costs
        self._ids: tuple[int, ...] = ()
        self._lengths: list[int] = []
        self._left = 0
        self.listening = False
        """Whether this round should teach the cost table: its lengths were chosen, not kept."""

    def lengths(
        self, ids: tuple[int, ...], requests: Sequence[tuple[Acceptance, int]], context: int
    ) -> list[int]:
        """Draft lengths of this round for the sequences ``ids``; see `choose` for the others."""
        if self._left and ids == self._ids:
            self._left -= 1
            self.listening = False
            return [min(n, cap) for n, (_, cap) in zip(self._lengths, requests, strict=True)]
        choice = decide(requests, self._costs, context)
        short = self._costs.pass_seconds(max(1, len(ids)), context) < SHORT_ROUND
        self._ids, self._lengths = ids, choice.lengths
        self._left = KEPT_ROUNDS - 1 if short and not choice.probing else 0
        self.listening = True
        return choice.lengths
