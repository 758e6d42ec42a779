"""A part of the vocabulary: what the columns of a trimmed draft head stand for."""

import numpy as np
import numpy.typing as npt

from headlong.errors import HeadlongError

__all__ = ["TokenSubset"]


class TokenSubset:
    """Token ids of the columns of a row of logits, strictly ascending: int32 [n]."""

    __slots__ = ("ids",)

    def __init__(self, ids: npt.ArrayLike) -> None:
        array = np.array(ids, dtype=np.int32)
        if array.ndim != 1 or not array.size or array[0] < 0 or (np.diff(array) <= 0).any():
            raise HeadlongError("a subset of the vocabulary needs ids in strictly ascending order")
        array.flags.writeable = False
        self.ids = array

    def __len__(self) -> int:
        return self.ids.size
