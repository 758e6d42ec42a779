"""What the trunk says of drafts: its predictions, and the sampler's verdict on each draft."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

from headlong.engine.sequence import Sequence
from headlong.errors import HeadlongError
from headlong.models.qwen35 import Qwen35
from headlong.ops.batch import FloatArray
from headlong.ops.best import Bits
from headlong.ops.protocol import W
from headlong.sampling import Logits
from headlong.speculation import Verdict, verify


def predict(
    model: Qwen35[W], hidden: FloatArray, needed: int | None, allowed: Bits
) -> list[Logits]:
    """What follows each of these rows: the best ``needed`` logits, or whole rows for `None`."""
    if not len(hidden):
        return []
    if needed is None:
        return list(model.logits(hidden))
    return [*model.best(hidden, needed, allowed).rows()]


def judge(
    sequence: Sequence, draft: SequenceOf[int], rows: SequenceOf[Logits], ends: frozenset[int]
) -> Verdict:
    """Sample row by row; each row sees the tokens that the rows before it settled.

    ``ends``: end-of-generation ids; one of them follows where a grammar lets nothing else through.
    Where a row cannot be sampled the sequence has an error, and those tokens are all it gets.
    """
    settled: list[int] = []

    def sample(row: int) -> int:
        position = len(sequence.tokens) + row
        grammar, sampler = sequence.grammar, sequence.sampler
        if grammar is None:
            token = sampler.sample(rows[row], sequence.history, position)
        elif grammar.complete:
            token = min(ends)
        else:
            mask = grammar.mask()
            token = sampler.sample(rows[row], sequence.history, position, mask=mask)
            if token not in ends:
                grammar.append(token)
        logprob = sampler.logprob(rows[row], token)
        if logprob is not None:
            sequence.logprobs.append(logprob)
        sequence.history.append(token)
        settled.append(token)
        return token

    try:
        return verify(draft, sample)
    except HeadlongError as error:  # NaN, or bans that leave no token
        sequence.error = error
        return Verdict(accepted=len(settled), tokens=tuple(settled))
