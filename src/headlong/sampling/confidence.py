"""How sure a drafter was of a token it chose."""

import math

import numpy as np
import numpy.typing as npt

from headlong import _native

__all__ = ["probability"]


def probability(logits: npt.NDArray[np.float32], column: int) -> float:
    """The softmax probability of one column under plain logits: no filters, temperature 1.

    logits: float32 [n], below +inf and one of them finite; for a trimmed head the probability is
    among its columns only. Good to about six digits.
    """
    return math.exp(float(logits[column]) - _native.log_sum(logits))
