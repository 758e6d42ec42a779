"""A simulated machine and text for the choice of draft length: true costs, true acceptance."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headlong.sampling import MAX_DRAFT
from headlong.speculation import Acceptance, CostTable, choose


@dataclass(frozen=True, slots=True)
class Machine:
    """True costs, in plain passes: c(rows) of a pass, the head's first pass, a chained step."""

    pass_cost: Callable[[int], float]
    first_draft: float
    draft_step: float

    def round_cost(self, lengths: Sequence[int]) -> float:
        longest = max(lengths)
        drafting = self.first_draft + (longest - 1) * self.draft_step if longest else 0.0
        return self.pass_cost(sum(lengths) + len(lengths)) + drafting


def small_batches_almost_free(rows: int) -> float:
    return 1 + 0.02 * (rows - 1) if rows <= 5 else 1.08 + 0.17 * (rows - 5)


MACHINES = {
    # Compute hides behind the weights up to five rows.
    "cpu": Machine(small_batches_almost_free, 0.12, 0.08),
    # It always hides.
    "flat": Machine(lambda rows: 1 + 0.01 * (rows - 1), 0.05, 0.03),
    # Every row pays half, and drafts use the full head.
    "steep": Machine(lambda rows: 1 + 0.55 * (rows - 1), 0.37, 0.37),
    # Kernels work in fours.
    "steps": Machine(lambda rows: 1 + 0.6 * ((rows - 1) // 4), 0.1, 0.06),
    # Every row pays in full: no draft ever pays.
    "hopeless": Machine(lambda rows: float(rows), 0.4, 0.4),
}


def expected_tokens(rate: float, n: int) -> float:
    """1 + a + a**2 + ... + a**n."""
    return sum(rate**depth for depth in range(n + 1))


def best_fixed(machine: Machine, rate: float, n_max: int = MAX_DRAFT) -> tuple[int, float]:
    """The best constant draft length of one sequence, and its tokens per plain pass."""
    speed = {n: expected_tokens(rate, n) / machine.round_cost([n]) for n in range(n_max + 1)}
    n = max(speed, key=lambda n: speed[n])
    return n, speed[n]


class Simulation:
    """One engine: noisy clocks (5 %, and each fiftieth sample three times as long), its drafts."""

    seconds_per_pass = 0.03

    def __init__(self, machine: Machine, seed: int, sequences: int = 1, warm: bool = True) -> None:
        self.machine = machine
        self.random = random.Random(seed)
        self.costs = CostTable()
        self.engine = Acceptance()
        self.requests = [Acceptance(prior=self.engine) for _ in range(sequences)]
        self.rounds = 0
        if warm:
            for _ in range(4):
                for rows in (1, 2, 4, 8):
                    self.costs.observe_pass(rows, self.timed(machine.pass_cost(rows)), rows)
                self.observe_draft(3)

    def timed(self, passes: float) -> float:
        hiccup = 3 if self.random.random() < 0.02 else 1
        return passes * self.seconds_per_pass * self.random.lognormvariate(0, 0.05) * hiccup

    def observe_draft(self, n: int) -> None:
        first = self.timed(self.machine.first_draft)
        self.costs.observe_draft(first, [self.timed(self.machine.draft_step) for _ in range(n - 1)])

    def round(self, rates: Sequence[float], cap: int = MAX_DRAFT) -> list[int]:
        """One round; rates are each sequence's true chance of every draft. The lengths chosen."""
        lengths = choose([(request, cap) for request in self.requests], self.costs, self.rounds)
        for request, rate, n in zip(self.requests, rates, lengths, strict=True):
            accepted = 0
            while accepted < n and self.random.random() < rate:
                accepted += 1
            request.record(n, accepted)
            self.engine.record(n, accepted)
        rows = sum(lengths) + len(lengths)
        self.costs.observe_pass(rows, self.timed(self.machine.pass_cost(rows)), self.rounds)
        if any(lengths):
            self.observe_draft(max(lengths))
        self.rounds += 1
        return lengths

    def speed(self, rate: float, rounds: int) -> float:
        """Mean tokens per plain pass over rounds in which all sequences have this rate.

        Expected tokens are counted, not drawn ones: learning is from draws, the verdict is not.
        """
        tokens = passes = 0.0
        for _ in range(rounds):
            lengths = self.round([rate] * len(self.requests))
            tokens += sum(expected_tokens(rate, n) for n in lengths)
            passes += self.machine.round_cost(lengths)
        return tokens / passes
