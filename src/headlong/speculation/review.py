"""How often draft lengths are chosen anew: choosing costs time too, which tiny models feel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from headlong.speculation.acceptance import Acceptance
from headlong.speculation.controller import choose
from headlong.speculation.costs import CostTable
from headlong.speculation.stopping import Allowance

SHORT_ROUND = 0.004
"""Seconds.  Choosing takes some 50 us for a sequence: 1 % of this, and 15 % of the bundled model's
pass."""

KEPT_ROUNDS = (4, 8, 16)
"""Rounds for which the first choice for some sequences is kept, the second, and all later ones,
where rounds are shorter than that: least is known in the beginning."""


class Reviewer:
    """`choose`, except that short rounds of the same sequences keep a choice for a while."""

    def __init__(self, costs: CostTable) -> None:
        self._costs = costs
        self._ids: tuple[int, ...] = ()
        self._allowances: tuple[Allowance, ...] = ()
        self._left = 0
        self._choices = 0
        self.listening = False
        """Whether this round should teach the cost table: its lengths were chosen, not kept."""
        self.seconds = 0.0
        """What the latest choice took; no round's own cost, since it serves several."""

    def review(
        self, ids: tuple[int, ...], requests: Sequence[tuple[Acceptance, int]], context: int
    ) -> tuple[Allowance, ...]:
        """What the sequences ``ids`` may draft this round; see `choose` for the others."""
        if self._left and ids == self._ids:
            self._left -= 1
            self.listening = False
            return tuple(
                allowance if allowance.limit <= cap else _capped(allowance, cap)
                for allowance, (_, cap) in zip(self._allowances, requests, strict=True)
            )
        began = time.perf_counter()
        choice = choose(requests, self._costs, context)
        self._choices = min(self._choices + 1, len(KEPT_ROUNDS)) if ids == self._ids else 1
        short = self._costs.pass_seconds(max(1, len(ids)), context, max(1, len(ids))) < SHORT_ROUND
        self._ids, self._allowances = ids, choice.allowances
        self._left = KEPT_ROUNDS[self._choices - 1] - 1 if short and not choice.probing else 0
        self.listening = True
        self.seconds = time.perf_counter() - began
        return choice.allowances


def _capped(allowance: Allowance, cap: int) -> Allowance:
    return replace(allowance, planned=min(allowance.planned, cap), limit=cap)
