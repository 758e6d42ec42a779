"""Penalties on tokens that have occurred: arithmetic on the few logits concerned."""

import numpy as np
import numpy.typing as npt

__all__ = ["penalise"]


def penalise(
    logits: npt.NDArray[np.float32],
    counts: npt.NDArray[np.int64],
    *,
    repeat: float,
    frequency: float,
    presence: float,
) -> npt.NDArray[np.float32]:
    """Logits float32 [n] of repeated tokens after penalties; counts [n] are all 1 or more.

    First the repeat penalty, which pushes every logit downwards: positive ones are divided by
    it, others multiplied (Keskar et al., CTRL, 2019, section 4.1, with the sign corrected as
    everybody does). Then `counts * frequency + presence` is subtracted.
    """
    values = logits.astype(np.float64)
    values = np.where(values > 0, values / repeat, values * repeat)
    values -= counts * frequency + presence
    return values.astype(np.float32)
