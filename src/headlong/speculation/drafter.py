"""What the engine asks of anything that guesses tokens ahead.

A drafter sees committed tokens and the trunk's hidden states, and proposes what may follow.  It can
only cost or save time: verification decides the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from headlong.cache.pages import Lease
from headlong.ops.batch import FloatArray
from headlong.ops.best import Candidates
from headlong.sampling import Logits, TokenSubset, probability


@dataclass(frozen=True, slots=True)
class Guess:
    """A drafted token, and the probability that the drafter itself gives it."""

    token: int
    probability: float


Guesser = Callable[[Logits, int, TokenSubset | None], Guess]
"""Turns one row of draft logits into a guess, for draft number 0, 1, ... of a round; the subset
says what the columns of a whole row stand for where they are not the whole vocabulary.  It knows
the sampler, and the drafts guessed so far in this round."""

GoesOn = Callable[[Guess], bool]
"""Told of every guess but the last that ``length`` allows, in order: should another follow?"""


def always(guess: Guess) -> bool:
    """A `GoesOn` for drafts of full length."""
    return True


def likeliest(logits: Logits, depth: int, subset: TokenSubset | None) -> Guess:
    """A `Guesser` that takes the highest logit, whoever asks."""
    if isinstance(logits, Candidates):
        token = int(logits.ids[0])
    else:
        column = int(logits.argmax())
        token = column if subset is None else int(subset.ids[column])
    return Guess(token, probability(logits, token, subset))


class DraftTrack:
    """A drafter's memory of one sequence: hidden states that it has not taken in yet.

    Row ``i`` of ``rows`` belongs to position ``start + i``.  The first ``seen`` tokens of the
    sequence have been made draftable.
    """

    __slots__ = ("rows", "seen", "start")

    def __init__(self) -> None:
        self.start = 0
        self.seen = 0
        self.rows: list[FloatArray] = []


@dataclass(frozen=True, slots=True)
class DraftRequest:
    """Up to ``length`` (>= 1) tokens are wanted after ``tokens``.

    ``needs``: how many of the best logits ``guess`` needs, with their sum; `None`: the whole row.
    It may get whole rows all the same, where others that are drafted for need them.
    """

    track: DraftTrack
    tokens: Sequence[int]
    lease: Lease
    length: int
    guess: Guesser
    goes_on: GoesOn = always
    needs: int | None = None


@dataclass(frozen=True, slots=True)
class DraftTimes:
    """Seconds of a round's drafting: the first pass, and each chained step after it.

    ``sequences`` were drafted for in the first, ``active`` of them in each step.
    """

    first: float
    chained: tuple[float, ...]
    sequences: int = 1
    active: tuple[int, ...] = ()

    @property
    def total(self) -> float:
        """All of it."""
        return self.first + sum(self.chained)


class Drafter(Protocol):
    """Guesses tokens for many sequences at once."""

    def observe(
        self, track: DraftTrack, tokens: Sequence[int], lease: Lease, hidden: FloatArray
    ) -> None:
        """Take note of newly committed rows: ``hidden`` ``[rows, hidden]``, ``tokens`` so far."""

    def settle(self, track: DraftTrack, tokens: Sequence[int], lease: Lease, position: int) -> None:
        """Take in all rows before the last one of the first ``position`` tokens."""

    def draft(self, requests: Sequence[DraftRequest]) -> tuple[list[list[Guess]], DraftTimes]:
        """Draft for every request: 1 to ``length`` guesses, ended where it did not go on."""
