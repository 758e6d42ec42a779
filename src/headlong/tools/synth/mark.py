"""The mark by which a rehearsal file is told from a trained model."""

from dataclasses import dataclass
from typing import Final

from headlong.gguf.metadata import Metadata

__all__ = ["ACCEPT", "SEED", "Rehearsal", "is_synthetic", "read_mark"]

ACCEPT: Final = "headlong.synthetic.accept"
SEED: Final = "headlong.synthetic.seed"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a rehearsal file was made with."""

    accept: float  # chance of each draft to be right
    seed: int


def is_synthetic(metadata: Metadata) -> bool:
    """Whether the file holds made-up weights."""
    return ACCEPT in metadata


def read_mark(metadata: Metadata) -> Rehearsal | None:
    """What the file was made with; None for a trained model.

    Raises:
        ModelError: the mark is damaged.
    """
    if not is_synthetic(metadata):
        return None
    return Rehearsal(
        accept=metadata.require(ACCEPT, float, minimum=0.0, maximum=1.0),
        seed=metadata.require(SEED, int, minimum=0),
    )
