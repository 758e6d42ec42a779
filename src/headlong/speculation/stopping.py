"""When a draft in the making should end: before a step that costs more than it promises.

After j guesses that survive with probability S, the next step costs a pass of the head and a row
of the target's pass.  In that time the round as planned yields some tokens: the price.  The step
pays while S times the rate of the next depth exceeds it, or if some steps together do, since a
pass may cost the same for several row counts and then a step more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headlong.speculation.calibration import Calibration
from headlong.speculation.drafter import Guess

__all__ = ["Allowance", "Course", "thresholds"]

# How many steps together may pay where one alone does not: kernels work in fours at most.
_AHEAD: Final = 4


def thresholds(rates: Sequence[float], prices: Sequence[float]) -> tuple[float, ...]:
    """Least survival after 1, 2, ... guesses with which a further one pays.

    rates: conditional acceptance by depth. prices: of each depth, in tokens; as many.
    """
    least = []
    count = len(rates)
    for depth in range(1, count):
        chance, tokens, price, lowest = 1.0, 0.0, 0.0, math.inf
        for ahead in range(depth, min(depth + _AHEAD, count)):
            chance *= rates[ahead]
            tokens += chance
            price += prices[ahead]
            if price < lowest * tokens:
                lowest = price / tokens
        least.append(lowest)
    return tuple(least)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a request may draft in a round.

    ``planned`` guesses pay on average.  A draft ends earlier where its guesses are doubtful and
    goes on, up to ``limit``, where they are sure; ``forced`` are made in any case.  ``rates`` and
    ``least``: as in `thresholds`, up to the limit.
    """

    planned: int
    limit: int
    forced: int = 0
    rates: Sequence[float] = ()
    least: Sequence[float] = ()


class Course:
    """One draft of one request on its way; a `GoesOn`."""

    __slots__ = ("_allowance", "_calibration", "_depth", "_survival")

    def __init__(self, allowance: Allowance, calibration: Calibration) -> None:
        self._allowance = allowance
        self._calibration = calibration
        self._depth = 0
        self._survival = 1.0

    def __call__(self, guess: Guess) -> bool:
        """Whether another guess should follow this one, with all before it."""
        allowance, depth = self._allowance, self._depth
        self._survival *= self._calibration.rate(allowance.rates[depth], guess.probability)
        self._depth = depth + 1
        return depth + 1 < allowance.forced or self._survival > allowance.least[depth]
