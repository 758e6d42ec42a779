"""The mark by which a rehearsal file (`headlong synth`) is told from a trained model.

Figures from made-up weights must never pass for those of a model, so whatever loads or describes a
file says what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Final

from headlong.errors import ParameterError
from headlong.gguf.metadata import Metadata

__all__ = ["ACCEPT", "SEED", "Rehearsal", "is_synthetic", "read_rehearsal"]

ACCEPT: Final = "headlong.synthetic.accept"
SEED: Final = "headlong.synthetic.seed"

_MAX_SEED: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a rehearsal file is made with.

    Raises:
        ParameterError: a value is out of range.
    """

    accept: float  # chance of each draft of the MTP head to be right, 0 to 1
    seed: int = 0  # of all weights, 0 to 2^32 - 1

    def __post_init__(self) -> None:
        if not (isfinite(self.accept) and 0 <= self.accept <= 1):
            raise ParameterError(f"accept is {self.accept}, but must be a chance of 0 to 1.")
        if not 0 <= self.seed <= _MAX_SEED:
            raise ParameterError(f"seed is {self.seed}, but must be 0 to {_MAX_SEED}.")

    def __str__(self) -> str:
        return (
            "made-up weights, for measuring speed only: the text means nothing, and each draft is "
            f"right with a chance of {100 * self.accept:.4g} %"
        )


def is_synthetic(metadata: Metadata) -> bool:
    """Whether a file says that its weights are made up."""
    return ACCEPT in metadata


def read_rehearsal(metadata: Metadata) -> Rehearsal | None:
    """What a file was made with; None for one that is not marked.

    Raises:
        ModelError: the mark is damaged.
    """
    if not is_synthetic(metadata):
        return None
    return Rehearsal(
        accept=metadata.require(ACCEPT, float, minimum=0.0, maximum=1.0),
        seed=metadata.require(SEED, int, minimum=0, maximum=_MAX_SEED),
    )
