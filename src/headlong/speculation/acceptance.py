"""How likely the next draft is to be accepted, depth by depth, learned from rounds."""

from collections.abc import Sequence
from typing import Final

from headlong.sampling import MAX_DRAFT
from headlong.speculation.calibration import Calibration

__all__ = ["Acceptance"]

# First depth, before anybody has drafted: towards the upper end of what published MTP heads reach
# (0.5 on prose to 0.9 on code).  Hope is cheap: a few rounds tell better, while a guess too low
# would keep from drafting at all, and from learning, wherever the gain is small.
_FIRST_GUESS: Final = 0.75
# Its weight, in rounds: little, for a head that is no good should be found out within twenty.
_FIRST_ROUNDS: Final = 3.0
# Weight of the engine's rate for a request, and of a depth's for the next, in rounds: acceptance
# differs between texts by some 0.15, as much as it would by chance within so many rounds.
_PRIOR_ROUNDS: Final = 7.0
# Text changes character within some hundred tokens: half of the weight is gone after 64 rounds
# that say something about a depth, and after 512 that do not.
_FADE: Final = 0.5 ** (1 / 64)
_IDLE_FADE: Final = 0.5 ** (1 / 512)
# The longest first draft, unless the engine knows better: as deep as drafts survive so often.
_FIRST_HORIZON: Final = 4
_LIKELY: Final = 0.6
# Nothing is certain.
_LEAST, _MOST = 0.002, 0.998


class Acceptance:
    """Estimated acceptance of one request, or without a prior of a whole engine.

    The conditional rate of a depth is its probability of being accepted given that all before it
    were. It is the mean of a Beta distribution: a prior of some rounds and the request's own
    rounds, older ones fading. The prior is the engine's rate at the depth, averaged with the
    request's own rate one depth before; without an engine it is that rate alone.

    A rate is that of the guesses that were made at a depth. `calibration` says how much more or
    less a single one promises.
    """

    __slots__ = (
        "_deepest",
        "_hits",
        "_horizon",
        "_last",
        "_last_accepted",
        "_prior",
        "_rates",
        "_rounds",
        "_tries",
        "calibration",
    )

    def __init__(self, prior: "Acceptance | None" = None) -> None:
        self._prior = prior
        self.calibration: Calibration = Calibration(None if prior is None else prior.calibration)
        self._tries = [0.0] * MAX_DRAFT
        self._hits = [0.0] * MAX_DRAFT
        self._rounds = 0
        self._last = [0] * MAX_DRAFT  # round in which a draft last had this depth
        self._last_accepted = [False] * MAX_DRAFT
        self._deepest = 0
        self._horizon = _FIRST_HORIZON
        if prior is not None:
            likely = sum(chance > _LIKELY for chance in prior.survival(MAX_DRAFT))
            self._horizon = max(_FIRST_HORIZON, likely)
        self._rates: list[float] = []  # as they were last asked for: a few rounds old at most

    def record(self, drafted: int, accepted: int, probabilities: Sequence[float] = ()) -> None:
        """Learns from one round: the first `accepted` of `drafted` tokens were right.

        probabilities: what the drafter gave each of them, if it is known.
        """
        self._rounds += 1
        if not drafted:
            return
        self._deepest = max(self._deepest, drafted)
        reached = min(drafted, accepted + 1)
        rates = self._rates if len(self._rates) >= reached else self.rates(reached)
        for depth in range(drafted):
            idle = self._rounds - self._last[depth] - 1
            self._last[depth] = self._rounds
            self._last_accepted[depth] = depth < accepted
            fade = _IDLE_FADE**idle if idle else 1.0
            if depth >= reached:
                self._tries[depth] *= fade * _IDLE_FADE
                self._hits[depth] *= fade * _IDLE_FADE
                continue
            hit = depth < accepted
            if probabilities:
                self.calibration.record(probabilities[depth], rates[depth], hit)
            self._tries[depth] = self._tries[depth] * fade * _FADE + 1
            self._hits[depth] = self._hits[depth] * fade * _FADE + hit

    def rates(self, n: int) -> list[float]:
        """Conditional rates of depths 1 to n."""
        shared = self._prior.rates(n) if self._prior is not None else None
        rates: list[float] = []
        before, weight = None, _PRIOR_ROUNDS
        if shared is None:
            before, weight = _FIRST_GUESS, _FIRST_ROUNDS
        for depth in range(n):
            expected = before if shared is None else shared[depth]
            assert expected is not None
            if shared is not None and before is not None:
                expected = (expected + before) / 2
            tries, hits = self._tries[depth], self._hits[depth]
            if idle := self._rounds - self._last[depth]:
                fade = _IDLE_FADE**idle
                tries, hits = tries * fade, hits * fade
            before = min(max((hits + weight * expected) / (tries + weight), _LEAST), _MOST)
            weight = _PRIOR_ROUNDS
            rates.append(before)
        self._rates = rates
        return rates

    def survival(self, n: int) -> list[float]:
        """Probability that all drafts up to depth 1, 2, ..., n are accepted."""
        product = 1.0
        products = []
        for rate in self.rates(n):
            product *= rate
            products.append(product)
        return products

    def expected_tokens(self, n: int) -> float:
        """Mean tokens of a round with a draft of n: 1 and the drafts that survive."""
        return 1.0 + sum(self.survival(n))

    @property
    def horizon(self) -> int:
        """The depth up to which lengths are worth looking at.

        At first what the engine finds likely, then up to twice the longest draft so far.
        """
        return max(self._horizon, 2 * self._deepest + 1)

    def rounds_since(self, depth: int) -> int:
        """Rounds since a draft last had this depth (1 is the first), or since the start."""
        return self._rounds - self._last[depth - 1]

    def last_accepted(self, depth: int) -> bool:
        """Whether the latest draft of this depth was right up to it; False if there was none."""
        return self._last_accepted[depth - 1]
