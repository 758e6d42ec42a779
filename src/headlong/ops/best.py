"""The best logits of rows, where nobody needs the whole rows.

A vocabulary has hundreds of thousands of entries and a sampler mostly looks at the best 40: an
operation that returns only those never writes a row of logits to memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headlong.ops.batch import FloatArray, IntArray

MOST_BEST = 128
"""More than so many are not worth asking for: then a whole row is looked through just as fast."""

Bits = npt.NDArray[np.uint8]
"""One bit per output of a matrix, from the lowest bit of byte 0: what `allowed_bits` makes."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best logits of one row: float32 ``[k]``, best first, and their ids, int32 ``[k]``.

    Equal logits come by ascending id.  Where fewer than k may be returned the rest are -inf with
    the id -1.  ``log_sum`` is log(sum of e^logit) over all that may, where it was asked for.
    """

    logits: FloatArray
    ids: IntArray
    log_sum: float | None = None


@dataclass(frozen=True, slots=True)
class Best:
    """The best logits of T rows, ``[T, k]`` each; ``log_sums`` float64 ``[T]`` if asked for."""

    logits: FloatArray
    ids: IntArray
    log_sums: npt.NDArray[np.float64] | None = None

    def rows(self) -> list[Candidates]:
        """Row by row."""
        sums: list[float] | list[None] = (
            [None] * len(self.ids) if self.log_sums is None else self.log_sums.tolist()
        )
        return [Candidates(*row) for row in zip(self.logits, self.ids, sums, strict=True)]


def merge(first: Best, second: Best, k: int) -> Best:
    """The best ``k`` of two parts of the same rows; both or neither have ``log_sums``."""
    logits = np.concatenate([first.logits, second.logits], axis=1)
    ids = np.concatenate([first.ids, second.ids], axis=1)
    descending = np.where(np.isnan(logits), -np.inf, -logits)
    order = np.lexsort((ids, descending))[:, :k]
    sums = None
    if first.log_sums is not None and second.log_sums is not None:
        sums = np.logaddexp(first.log_sums, second.log_sums)
    return Best(np.take_along_axis(logits, order, 1), np.take_along_axis(ids, order, 1), sums)


def allowed_bits(count: int, banned: Iterable[int]) -> Bits:
    """Bits of ``count`` outputs of which these may not be returned."""
    allowed = np.ones(count, np.bool_)
    allowed[np.fromiter(banned, np.int64)] = False
    return np.packbits(allowed, bitorder="little")
