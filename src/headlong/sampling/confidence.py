"""How sure a drafter was of a token it chose."""

import math

import numpy as np

from headlong import _native
from headlong.errors import HeadlongError
from headlong.ops.best import Candidates
from headlong.sampling.chain import Logits
from headlong.sampling.subset import TokenSubset

__all__ = ["probability"]


def probability(logits: Logits, token: int, subset: TokenSubset | None = None) -> float:
    """The softmax probability of a token under plain logits: no filters, temperature 1.

    logits: below +inf, one of them finite; for a trimmed head the probability is among its columns
    only, whose ids `subset` holds where they are a whole row. Good to about six digits.

    Raises HeadlongError for `Candidates` without their `log_sum`, or without the token.
    """
    if isinstance(logits, Candidates):
        (places,) = np.nonzero(logits.ids == token)
        if logits.log_sum is None or not places.size:
            raise HeadlongError(f"these logits do not tell how probable the token {token} is")
        return math.exp(float(logits.logits[places[0]]) - logits.log_sum)
    column = token if subset is None else int(np.searchsorted(subset.ids, token))
    return math.exp(float(logits[column]) - _native.log_sum(logits))
