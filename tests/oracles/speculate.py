"""What speculation would draft and accept over a known greedy text, given a head's drafts."""

from __future__ import annotations

from collections.abc import Sequence

from oracles.hf import MtpHead


def simulate(
    head: MtpHead, prompt: Sequence[int], text: Sequence[int], count: int
) -> tuple[int, int]:
    """Tokens drafted and accepted while `text` is generated with drafts of `count` tokens.

    A round drafts at most as many tokens as can still be accepted: one of the remaining tokens
    always comes from the trunk itself.
    """
    tokens = [*prompt, *text]
    known = len(prompt) + 1  # the first token comes with the prompt's own pass
    drafted = accepted = 0
    while known < len(tokens):
        wanted = min(count, len(tokens) - known - 1)
        drafts = [int(row.argmax()) for row in head.draft(tokens[:known], wanted)]
        right = 0
        while right < len(drafts) and drafts[right] == tokens[known + right]:
            right += 1
        drafted, accepted, known = drafted + len(drafts), accepted + right, known + right + 1
    return drafted, accepted
