"""Which token follows which, and what the MTP head believes."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chain", "make_chain"]

Indices = NDArray[np.int64]

_FREQUENT: Final = 32768
"""Ids below this are on the chain: in a BPE vocabulary, ids grow as frequency falls."""

_LENGTH: Final = 4096
"""Tokens on the chain, at most: text repeats itself after as many."""

_WINDOW: Final = 100
"""Consecutive tokens of the chain in which the head is right as often as it should be."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A cycle through some tokens; all other tokens lead into it.

    Followers are positions on the cycle, not ids.
    """

    tokens: Indices  # [length]: ids in the order of the cycle
    position: Indices  # [vocab]: where an id stands on the cycle; -1: not on it
    follower: Indices  # [vocab]: what the trunk says after an id
    drafted: Indices  # [vocab]: what the MTP head says after it


def make_chain(words: range, vocab: int, accept: float, rng: np.random.Generator) -> Chain:
    """Draw a chain.

    A greedy text walks along the cycle, and the head looks at the last token alone. It is right
    after a random `accept` of the tokens, so each draft of a chain of drafts is right with the same
    chance, whatever came before it. That the share holds in every `_WINDOW` tokens keeps short
    measurements near it, and changes chances little: after three right drafts, 0.8 becomes
    77 / 97 = 0.794.

    Args:
        words: ids that may be on the chain; frequent ones are drawn more often, as 1 / rank.
        vocab: number of ids.
        accept: share of the cycle's tokens after which the head is right, 0 to 1.
    """
    frequent = np.arange(words.start, min(words.stop, _FREQUENT))
    length = min(_LENGTH, len(frequent) // 2)
    # Drawing without replacement by weight: the largest of log(weight) + Gumbel noise.
    rank = np.arange(1, len(frequent) + 1)
    keys = rng.gumbel(size=len(frequent)) - np.log(rank)
    tokens = rng.permutation(frequent[np.argsort(-keys)[:length]])
    position = np.full(vocab, -1)
    position[tokens] = np.arange(length)
    follower = rng.integers(0, length, vocab)
    follower[tokens] = (np.arange(length) + 1) % length
    wrong = rng.random(vocab) >= accept
    wrong[tokens] = _spread(accept, length, rng)
    elsewhere = (follower + rng.integers(1, length, vocab)) % length
    return Chain(tokens, position, follower, np.where(wrong, elsewhere, follower))


def _spread(accept: float, length: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where the head is wrong: at random, but as often as it should be in every window."""
    wrong = np.zeros(length, dtype=bool)
    for start in range(0, length, _WINDOW):
        end = min(start + _WINDOW, length)
        count = round((1 - accept) * end) - round((1 - accept) * start)
        wrong[start + rng.permutation(end - start)[:count]] = True
    return wrong
