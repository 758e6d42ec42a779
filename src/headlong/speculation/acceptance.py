"""How likely the next draft is to be accepted, depth by depth, learned from rounds."""

from typing import Final

from headlong.sampling import MAX_DRAFT

__all__ = ["Acceptance"]

# First depth, before anybody has drafted: towards the upper end of what published MTP heads reach
# (0.5 on prose to 0.9 on code).  Hope is cheap: a few rounds tell better, while a guess too low
# would keep from drafting at all, and from learning, wherever the gain is small.
_FIRST_GUESS: Final = 0.75
# Weight of the prior, in rounds: after 8 rounds of its own a request counts as much.
_PRIOR_ROUNDS: Final = 8.0
# Text changes character within some hundred tokens: half of the weight is gone after 64 rounds
# that say something about a depth, and after 512 that do not.
_FADE: Final = 0.5 ** (1 / 64)
_IDLE_FADE: Final = 0.5 ** (1 / 512)


class Acceptance:
    """Estimated acceptance of one request, or without a prior of a whole engine.

    The conditional rate of a depth is its probability of being accepted given that all before it
    were. It is the mean of a Beta distribution: a prior of 8 rounds and the request's own rounds,
    older ones fading. The prior is the engine's rate at the depth, averaged with the request's
    own rate one depth before; without an engine it is that rate alone.
    """

    __slots__ = ("_hits", "_last_accepted", "_prior", "_since", "_tries")

    def __init__(self, prior: "Acceptance | None" = None) -> None:
        self._prior = prior
        self._tries = [0.0] * MAX_DRAFT
        self._hits = [0.0] * MAX_DRAFT
        self._since = [0] * MAX_DRAFT
        self._last_accepted = [False] * MAX_DRAFT

    def record(self, drafted: int, accepted: int) -> None:
        """Learns from one round: the first `accepted` of `drafted` tokens were right."""
        for depth in range(drafted):
            self._since[depth] = 0
            self._last_accepted[depth] = depth < accepted
            reached = depth <= accepted
            fade = _FADE if reached else _IDLE_FADE
            self._tries[depth] = self._tries[depth] * fade + reached
            self._hits[depth] = self._hits[depth] * fade + (reached and depth < accepted)
        self._since[drafted:] = [since + 1 for since in self._since[drafted:]]
        self._tries[drafted:] = [tries * _IDLE_FADE for tries in self._tries[drafted:]]
        self._hits[drafted:] = [hits * _IDLE_FADE for hits in self._hits[drafted:]]

    def rates(self, n: int) -> list[float]:
        """Conditional rates of depths 1 to n."""
        shared = self._prior.rates(n) if self._prior is not None else None
        rates: list[float] = []
        before = _FIRST_GUESS if shared is None else None
        for depth in range(n):
            expected = before if shared is None else shared[depth]
            assert expected is not None
            if shared is not None and before is not None:
                expected = (expected + before) / 2
            before = (self._hits[depth] + _PRIOR_ROUNDS * expected) / (
                self._tries[depth] + _PRIOR_ROUNDS
            )
            rates.append(before)
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

    def rounds_since(self, depth: int) -> int:
        """Rounds since a draft last had this depth (1 is the first), or since the start."""
        return self._since[depth - 1]

    def last_accepted(self, depth: int) -> bool:
        """Whether the latest draft of this depth was right up to it; False if there was none."""
        return self._last_accepted[depth - 1]
