"""How long this round's drafts should be: the lengths that promise most tokens per second.

With A_j the probability that a sequence's drafts are all accepted up to depth j, a draft of n
yields E(n) = 1 + A_1 + ... + A_n tokens. A round of several sequences costs one target pass over
sum(n + 1) rows, T, and drafting to the greatest n, D. The lengths to take maximise
sum(E) / (T + D): the goodput of Liu et al., "TurboSpec" (2024), with measured costs. No drafts at
all is always among the choices.
"""

import heapq
from collections.abc import Sequence
from typing import Final

from headlong.errors import HeadlongError
from headlong.sampling import MAX_DRAFT
from headlong.speculation.acceptance import Acceptance
from headlong.speculation.costs import CostTable

__all__ = ["choose"]

# Depths behind the chosen length are never seen, so their estimates would never recover. A round
# in a while goes one deeper: at most every 64 rounds, and so seldom that it costs 1 % at most.
_PROBE_ROUNDS: Final = 64
_PROBE_SHARE: Final = 0.01
# Where even drafts that are always right would not pay, only the costs could prove wrong: then
# four times as seldom.
_HOPELESS: Final = 4


def choose(
    requests: Sequence[tuple[Acceptance, int]], costs: CostTable, context: int = 0
) -> list[int]:
    """Draft lengths of this round, one for each request, from 0 to its cap.

    requests: acceptance and cap of each decoding sequence. context: of the pass, in the measure
    that the cost table was taught with. The same inputs give the same lengths.
    """
    if not requests:
        return []
    for _, cap in requests:
        if not 0 <= cap <= MAX_DRAFT:
            raise HeadlongError(f"a draft length of {cap} was allowed; it is 0 to {MAX_DRAFT}")
    round_ = _Round([a.survival(cap) for a, cap in requests], costs, context)
    lengths = _ascend(round_)
    probe = _probe(requests, round_, lengths)
    if probe is not None:
        lengths[probe] += 1
    return lengths


class _Round:
    """Expected tokens per second of a round, by draft lengths."""

    def __init__(self, survivals: list[list[float]], costs: CostTable, context: int) -> None:
        self.survivals = survivals
        self._costs = costs
        self._context = context

    def goodput(self, tokens: float, drafted: int, longest: int) -> float:
        """Tokens per second when this many tokens are expected from so many drafted."""
        rows = len(self.survivals) + drafted
        seconds = self._costs.pass_seconds(rows, self._context)
        return tokens / (seconds + self._costs.draft_seconds(longest))

    def of(self, lengths: Sequence[int]) -> float:
        """Goodput of these lengths."""
        return self.goodput(self._tokens(lengths), sum(lengths), max(lengths))

    def certain_best(self, lengths: Sequence[int], index: int) -> float:
        """The best goodput if every further draft of one sequence were right."""
        now = lengths[index]
        survival = self.survivals[index]
        right = survival[now - 1] if now else 1.0
        tokens, drafted, longest = self._tokens(lengths), sum(lengths), max(lengths)
        return max(
            self.goodput(tokens + right * more, drafted + more, max(longest, now + more))
            for more in range(1, len(survival) - now + 1)
        )

    def _tokens(self, lengths: Sequence[int]) -> float:
        return len(lengths) + sum(
            sum(survival[:n]) for survival, n in zip(self.survivals, lengths, strict=True)
        )


def _ascend(round_: _Round) -> list[int]:
    """Adds the likeliest draft token again and again; returns the best lengths on the way.

    All the way, since a pass may cost the same for several row counts and then a step more.
    """
    survivals = round_.survivals
    lengths = [0] * len(survivals)
    heap = [(-s[0], 1, index) for index, s in enumerate(survivals) if s]
    heapq.heapify(heap)
    tokens, drafted, longest = float(len(survivals)), 0, 0
    best, best_steps = round_.goodput(tokens, 0, 0), 0
    path: list[int] = []
    while heap:
        gain, depth, index = heapq.heappop(heap)
        path.append(index)
        tokens -= gain
        drafted += 1
        longest = max(longest, depth)
        if depth < len(survivals[index]):
            heapq.heappush(heap, (-survivals[index][depth], depth + 1, index))
        goodput = round_.goodput(tokens, drafted, longest)
        if goodput > best:
            best, best_steps = goodput, drafted
    for index in path[:best_steps]:
        lengths[index] += 1
    return lengths


def _probe(
    requests: Sequence[tuple[Acceptance, int]], round_: _Round, lengths: list[int]
) -> int | None:
    """The request that should go one deeper than pays, to learn; None when none is due.

    A probe that was accepted is repeated at once, so a request whose text has become predictable
    is found out within a few rounds. The wait between probes allows for such runs.
    """
    best = round_.of(lengths)
    due: int | None = None
    most = 0.0
    for index, (acceptance, cap) in enumerate(requests):
        depth = lengths[index] + 1
        again = depth <= cap and acceptance.last_accepted(depth)
        if depth > cap or (acceptance.rounds_since(depth) < _PROBE_ROUNDS and not again):
            continue
        lengths[index] += 1
        loss = max(0.0, 1 - round_.of(lengths) / best)
        lengths[index] -= 1
        run, rarer = 1 / max(1 - round_.survivals[index][depth - 1], 1 / _PROBE_ROUNDS), 1
        if round_.certain_best(lengths, index) <= best:
            again, run, rarer = False, 1.0, _HOPELESS
        wait = rarer * max(_PROBE_ROUNDS, len(requests) * loss * run / _PROBE_SHARE)
        overdue = 1.0 if again else acceptance.rounds_since(depth) / wait
        if overdue >= 1 and overdue > most:
            due, most = index, overdue
    return due
