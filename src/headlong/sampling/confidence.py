"""How sure a drafter was of a token it chose."""

import numpy as np
import numpy.typing as npt

__all__ = ["probability"]


def probability(logits: npt.NDArray[np.float32], column: int) -> float:
    """The softmax probability of one column under plain logits: no filters, temperature 1.

    logits: float32 [n], finite or -inf; for a trimmed head the probability is among its columns
    only. Exponentials are float32 and their sum float64: good to about six digits, which is
    plenty for a confidence, in a tenth of the time.
    """
    peak = logits.max()
    total = float(np.exp(logits - peak).sum(dtype=np.float64))
    return float(np.exp(logits[column] - peak)) / total
