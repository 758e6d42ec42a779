"""A part of the vocabulary: what the columns of a trimmed draft head stand for."""

import numpy as np
import numpy.typing as npt

from headlong.errors import HeadlongError

__all__ = ["TokenSubset"]


class TokenSubset:
    """Token ids of the columns of a row of logits, strictly ascending: int64 [n]."""

    __slots__ = ("ids",)

    def __init__(self, ids: npt.ArrayLike) -> None:
        array = np.array(ids, dtype=np.int64)
        if array.ndim != 1 or not array.size or array[0] < 0 or (np.diff(array) <= 0).any():
            raise HeadlongError("a subset of the vocabulary needs ids in strictly ascending order")
        array.flags.writeable = False
        self.ids = array

    def __len__(self) -> int:
        return self.ids.size

    def columns(
        self, ids: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Columns of those ids that are in the subset, and the mask over ids of which are."""
        places = np.minimum(np.searchsorted(self.ids, ids), self.ids.size - 1)
        present = self.ids[places] == ids
        return places[present].astype(np.int64), present
