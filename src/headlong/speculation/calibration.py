"""What a drafter's own probability says about acceptance, learned from rounds.

A head that gives its guess 0.9 may be right nine times of ten, or six; and where its weights are
made up the figure says nothing.  So it is only sorted into intervals, and for each the odds of
being accepted are compared with what the depth alone had led to expect.
"""

from bisect import bisect_right
from typing import Final

__all__ = ["Calibration"]

# Upper ends of the intervals but the last: finer towards 1, where most guesses of a good head lie.
_BOUNDS: Final = (0.15, 0.3, 0.45, 0.6, 0.75, 0.87, 0.95, 0.985)
# Weight of "no difference", in guesses: after as many of its own an interval counts half.
_PRIOR_GUESSES: Final = 24.0
# Half of the weight is gone after so many guesses of an interval.
_FADE: Final = 0.5 ** (1 / 256)
# Odds are taken of probabilities within these bounds.
_LEAST, _MOST = 0.01, 0.99


class Calibration:
    """Odds ratios by interval of the drafter's probability, of one request or a whole engine.

    With a prior, ratios are relative to the prior's.  Without any guess they are 1: acceptance is
    then what the depth says.
    """

    __slots__ = ("_expected", "_hits", "_prior", "_ratios", "_tries")

    def __init__(self, prior: "Calibration | None" = None) -> None:
        count = len(_BOUNDS) + 1
        self._prior = prior
        self._tries = [0.0] * count
        self._hits = [0.0] * count
        self._expected = [0.0] * count
        self._ratios = [1.0] * count

    def record(self, probability: float, rate: float, accepted: bool) -> None:
        """Learns from a guess that followed accepted ones; ``rate`` is what its depth promised."""
        index = bisect_right(_BOUNDS, probability)
        if self._prior is not None:
            rate = _times(rate, self._prior._ratio(index))
        tries = self._tries[index] = self._tries[index] * _FADE + 1
        hits = self._hits[index] = self._hits[index] * _FADE + accepted
        expected = self._expected[index] = self._expected[index] * _FADE + rate
        mean = expected / tries
        found = (hits + _PRIOR_GUESSES * mean) / (tries + _PRIOR_GUESSES)
        self._ratios[index] = _odds(found) / _odds(mean)

    def rate(self, rate: float, probability: float) -> float:
        """Chance of a guess to be accepted after accepted ones, where its depth promises ``rate``.

        probability: what the drafter gave the guess.
        """
        return _times(rate, self._ratio(bisect_right(_BOUNDS, probability)))

    def _ratio(self, index: int) -> float:
        ratio = self._ratios[index]
        return ratio if self._prior is None else ratio * self._prior._ratio(index)


def _odds(rate: float) -> float:
    rate = min(max(rate, _LEAST), _MOST)
    return rate / (1 - rate)


def _times(rate: float, ratio: float) -> float:
    """The probability whose odds are so many times as great."""
    if ratio == 1.0:
        return rate
    odds = rate / (1 - rate) * ratio
    return odds / (1 + odds)
