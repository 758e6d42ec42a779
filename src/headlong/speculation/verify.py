"""The rule of acceptance, on its own: no model, no arrays, no clock."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Verdict", "verify"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a round yields: `accepted` drafts and one token more, sampled after the last of them.

    `tokens` holds both, in order: `accepted + 1` of them.
    """

    accepted: int
    tokens: tuple[int, ...]


def verify(draft: Sequence[int], sample_row: Callable[[int], int]) -> Verdict:
    """Compares a draft with what the target samples.

    sample_row(i) is the token that the target's own sampler picks after the i-th row of the round:
    row 0 holds the token before the draft, row i draft token i - 1. It is called for rows 0, 1,
    ... in order, and never for a row behind the first mismatch.
    """
    # Row i's token is what plain decoding would have picked, if all drafts before it were right.
    # So it is kept in any case, and where it equals the draft, the next row's input was right too.
    # At the first difference the later rows have seen a wrong token: they say nothing.
    tokens = []
    for row in range(len(draft) + 1):
        tokens.append(sample_row(row))
        if row == len(draft) or tokens[row] != draft[row]:
            break
    return Verdict(accepted=len(tokens) - 1, tokens=tuple(tokens))
