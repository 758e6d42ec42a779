"""A simulated machine and text for the choice of draft length: true costs, true acceptance."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from headlong.sampling import MAX_DRAFT
from headlong.speculation import Acceptance, CostTable, choose
from headlong.speculation.drafter import Guess
from headlong.speculation.stopping import Allowance, Course


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


@dataclass(frozen=True, slots=True)
class Draft:
    """What the head guesses next: its own probability for it, and the true chance."""

    probability: float
    chance: float


class Text(Protocol):
    """What the head meets."""

    def guess(self, rng: random.Random) -> Draft:
        """The next guess."""


@dataclass(frozen=True, slots=True)
class Even:
    """Every draft has the same chance; what the head says about it means nothing."""

    rate: float

    def guess(self, rng: random.Random) -> Draft:
        return Draft(rng.random(), self.rate)


@dataclass(frozen=True, slots=True)
class Mixed:
    """Easy guesses and doubtful ones.  The head can tell them apart, but is too sure of both."""

    easy: float = 0.97
    doubtful: float = 0.1
    share: float = 0.75  # of easy ones

    def guess(self, rng: random.Random) -> Draft:
        chance = self.easy if rng.random() < self.share else self.doubtful
        return Draft(min(1.0, chance**0.5 + rng.uniform(-0.03, 0.03)), chance)

    @property
    def rate(self) -> float:
        return self.share * self.easy + (1 - self.share) * self.doubtful


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
        self.tokens = self.passes = 0.0
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

    def round(self, texts: Sequence[Text], cap: int = MAX_DRAFT) -> list[int]:
        """One round; a text for each sequence.  The lengths that were planned."""
        requests = [(request, cap) for request in self.requests]
        choice = choose(requests, self.costs, self.rounds)
        drafts = [
            self.draft(allowance, request, text)
            for allowance, request, text in zip(
                choice.allowances, self.requests, texts, strict=True
            )
        ]
        for request, draft in zip(self.requests, drafts, strict=True):
            accepted, chance = 0, 1.0
            self.tokens += 1
            for one in draft:
                chance *= one.chance  # expected tokens are counted, not drawn ones
                self.tokens += chance
            while accepted < len(draft) and self.random.random() < draft[accepted].chance:
                accepted += 1
            sure = [one.probability for one in draft]
            request.record(len(draft), accepted, sure)
            self.engine.record(len(draft), accepted, sure)
        lengths = [len(draft) for draft in drafts]
        rows = sum(lengths) + len(lengths)
        self.costs.observe_pass(rows, self.timed(self.machine.pass_cost(rows)), self.rounds)
        if any(lengths):
            self.observe_draft(max(lengths))
        self.passes += self.machine.round_cost(lengths)
        self.rounds += 1
        return choice.lengths

    def draft(self, allowance: Allowance, request: Acceptance, text: Text) -> list[Draft]:
        """As a drafter would."""
        course, draft = Course(allowance, request.calibration), []
        while len(draft) < allowance.limit:
            draft.append(text.guess(self.random))
            if len(draft) < allowance.limit and not course(Guess(0, draft[-1].probability)):
                break
        return draft

    def speed(self, text: Text | float, rounds: int) -> float:
        """Mean tokens per plain pass over rounds in which all sequences have this text, or rate."""
        text = Even(text) if isinstance(text, float) else text
        self.tokens = self.passes = 0.0
        for _ in range(rounds):
            self.round([text] * len(self.requests))
        return self.tokens / self.passes
