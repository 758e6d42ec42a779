"""How long this round's drafts should be: the lengths that promise most tokens per second.

With A_j the probability that a sequence's drafts are all accepted up to depth j, a draft of n
yields E(n) = 1 + A_1 + ... + A_n tokens. A round of several sequences costs one target pass over
sum(n + 1) rows, T, drafting to the greatest n, D, and what every round takes beside them, O. The
lengths to take maximise sum(E) / (T + D + O): the goodput of Liu et al., "TurboSpec" (2024), with
measured costs. No drafts at all is always among the choices. While a draft is being made, the
drafter's own probabilities may end it earlier or take it further (stopping.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Final

from headlong.errors import HeadlongError
from headlong.sampling import MAX_DRAFT
from headlong.speculation.acceptance import Acceptance
from headlong.speculation.costs import CostTable
from headlong.speculation.stopping import Allowance, thresholds

__all__ = ["Choice", "choose"]

# Depths behind the chosen length are never seen, so their estimates would never recover. A round
# in a while goes one deeper: at most every 24 rounds, and so seldom that it costs 1 % at most. An
# answer may have but a hundred rounds, and bad luck in its first ones should not decide them all.
_PROBE_ROUNDS: Final = 24
_PROBE_SHARE: Final = 0.01
# Where even drafts that are always right would not pay, only the costs could prove wrong: then
# six times as seldom.
_HOPELESS: Final = 6
# Of several sequences together, no drafts at all are given up only for a gain that errors in the
# costs could hardly feign: passes beyond the rows that a kernel takes at once cost nearly in
# proportion to rows, so what there is to gain is little, and what a wrong step costs is more.
_DOUBT: Final = 1.04
# Sure guesses may take a draft to so many times its planned length, and one further.
_STRETCH: Final = 2


@dataclass(frozen=True, slots=True)
class Choice:
    """What each request may draft; ``probing`` if a draft is longer than pays, to learn."""

    allowances: tuple[Allowance, ...]
    probing: bool

    @property
    def lengths(self) -> list[int]:
        """Planned draft lengths."""
        return [allowance.planned for allowance in self.allowances]


def choose(
    requests: Sequence[tuple[Acceptance, int]], costs: CostTable, context: int = 0
) -> Choice:
    """Draft lengths of this round, one for each request, from 0 to its cap.

    requests: acceptance and cap of each decoding sequence. context: positions of all of them
    together. The same inputs give the same choice.
    """
    if not requests:
        return Choice((), probing=False)
    for _, cap in requests:
        if not 0 <= cap <= MAX_DRAFT:
            raise HeadlongError(f"a draft length of {cap} was allowed; it is 0 to {MAX_DRAFT}")
    requests = [(a, min(cap, a.horizon)) for a, cap in requests]
    round_ = _Round([a.rates(cap) for a, cap in requests], costs, context)
    lengths = round_.best()
    probe = _probe(requests, round_, lengths)
    if probe is not None:
        lengths[probe] += 1
    allowances = [
        round_.allowance(lengths, index, forced=lengths[index] if index == probe else 0)
        for index in range(len(requests))
    ]
    return Choice(tuple(allowances), probing=probe is not None)


class _Round:
    """Expected tokens per second of a round, by draft lengths."""

    def __init__(self, rates: list[list[float]], costs: CostTable, context: int) -> None:
        self.rates = rates
        self.survivals = [list(accumulate(own, mul)) for own in rates]
        most = sum(map(len, rates))
        # What a round takes anyway is shared by all its tokens, as the pass is.
        overhead = costs.round_overhead
        self._passes = [
            seconds + overhead
            for seconds in costs.passes(len(rates), most + 1, context, len(rates))
        ]
        first, step = costs.first_draft_seconds(context), costs.draft_step_seconds(context)
        deepest = max(map(len, rates))
        self._drafting = [0.0, *(first + step * more for more in range(deepest))]
        self._widths = [costs.draft_width(count) for count in range(len(rates) + 1)]

    def best(self) -> list[int]:
        """The lengths of greatest goodput; of equals, the shortest drafts.

        For a given longest draft and a given number of rows costs are fixed, so the likeliest
        tokens are the ones to take. All pairs of both are tried, since a pass may cost the same
        for several row counts and then a step more.
        """
        if len(self.survivals) == 1:
            return [self._best_alone()]
        likeliest = sorted(
            (-chance, depth, index)
            for index, survival in enumerate(self.survivals)
            for depth, chance in enumerate(survival, 1)
        )
        best = _DOUBT * self.goodput(float(len(self.survivals)), 0, 0)
        best_longest = best_drafted = 0
        for longest in range(1, len(self._drafting)):
            tokens, drafted, reached = float(len(self.survivals)), 0, False
            drafting = self._drafting[longest]
            for minus_chance, depth, _ in likeliest:
                if depth > longest:
                    continue
                tokens -= minus_chance
                drafted += 1
                reached = reached or depth == longest  # else it is no better than a shorter one
                seconds = self._passes[drafted] + drafting * self._width(drafted)
                if reached and tokens > best * seconds:
                    best = tokens / seconds
                    best_longest, best_drafted = longest, drafted
        lengths = [0] * len(self.survivals)
        taken = [index for _, depth, index in likeliest if depth <= best_longest]
        for index in taken[:best_drafted]:
            lengths[index] += 1
        return lengths

    def _best_alone(self) -> int:
        """The same for a single sequence, whose drafts are taken in order."""
        tokens, best_length = 1.0, 0
        best = self.goodput(tokens, 0, 0)
        for length, chance in enumerate(self.survivals[0], 1):
            tokens += chance
            if self.goodput(tokens, length, length) > best:
                best, best_length = self.goodput(tokens, length, length), length
        return best_length

    def allowance(self, lengths: Sequence[int], index: int, forced: int) -> Allowance:
        """What one request may draft beside the others' planned lengths."""
        planned = lengths[index]
        limit = min(len(self.rates[index]), _STRETCH * planned + 1) if planned else 0
        rates = self.rates[index][:limit]
        if limit < 2:
            return Allowance(planned, limit, forced, rates)
        worth = self.of(lengths)
        others = sum(lengths) - planned
        prices = []
        sharing = 1
        for depth in range(limit):
            rows = others + depth
            if others:
                sharing = max(1, sum(length > depth for length in lengths))
            step = self._drafting[depth + 1] - self._drafting[depth]
            seconds = step * self._widths[sharing] / sharing
            prices.append(worth * (seconds + self._passes[rows + 1] - self._passes[rows]))
        return Allowance(planned, limit, forced, rates, thresholds(rates, prices))

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

    def goodput(self, tokens: float, drafted: int, longest: int) -> float:
        """Tokens per second when this many tokens are expected from so many drafted."""
        return tokens / (self._passes[drafted] + self._drafting[longest] * self._width(drafted))

    def _width(self, drafted: int) -> float:
        """Of drafting so many tokens, as for as many sequences as there may be among them."""
        return self._widths[min(drafted, len(self.rates))]

    def _tokens(self, lengths: Sequence[int]) -> float:
        return len(lengths) + sum(
            sum(survival[:n]) for survival, n in zip(self.survivals, lengths, strict=True)
        )


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
        # Deeper ones may have been taken by drafts that were sure of themselves.
        again = depth == 1 <= cap and acceptance.last_accepted(depth)
        if depth > cap or (acceptance.rounds_since(depth) < _PROBE_ROUNDS and not again):
            continue
        lengths[index] += 1
        loss = max(0.0, best / round_.of(lengths) - 1)  # in rounds
        lengths[index] -= 1
        run, rarer = 1 / max(1 - round_.survivals[index][depth - 1], 1 / _PROBE_ROUNDS), 1
        if round_.certain_best(lengths, index) <= best:
            again, run, rarer = False, 1.0, _HOPELESS
        wait = rarer * max(_PROBE_ROUNDS, len(requests) * loss * run / _PROBE_SHARE)
        overdue = 1.0 if again else acceptance.rounds_since(depth) / wait
        if overdue >= 1 and overdue > most:
            due, most = index, overdue
    return due
