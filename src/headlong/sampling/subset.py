"""A part of the vocabulary: what the columns of a trimmed draft head stand for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headlong.errors import HeadlongError
from headlong.ops.batch import IntArray

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

    @classmethod
    def ascending(cls, ids: IntArray) -> TokenSubset:
        """Of ids that are known to ascend; there may be none."""
        subset = cls.__new__(cls)
        subset.ids = ids
        return subset

    def __len__(self) -> int:
        return self.ids.size
