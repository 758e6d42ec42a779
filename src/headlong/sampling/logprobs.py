"""How probable the model itself held a token, and what it held likelier.

The distribution is the plain softmax of the row of logits: before bias, penalties, filters,
temperature and grammar.  It is worked out from the whole row in one fixed order, so that it is the
same whether the row was a draft's or not, alone or in a batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from headlong import _native
from headlong.ops.batch import FloatArray

__all__ = ["TokenLogprob", "TokenLogprobs"]

_FOLD: Final = 512
"""Maxima of so many interleaved parts of a row bound its best logits from below; more than
`MAX_LOGPROBS`, so that the bound is that of distinct logits."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural logarithm of a token's probability, and the likeliest tokens with theirs.

    ``top`` holds (id, logprob), likeliest first, equal ones by id; the token itself may be among
    them or not.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class TokenLogprobs:
    """Reads rows for one request: ``count`` likeliest tokens, never one of the ``unused``."""

    def __init__(self, count: int, unused: Iterable[int]) -> None:
        self._count = count
        self._unused = np.array(sorted(unused), np.int64)

    def read(self, logits: FloatArray, token: int) -> TokenLogprob:
        """What a row, float32 ``[vocab]`` and free of NaN, says of a token."""
        total = _native.log_sum(logits)
        likeliest = self._likeliest(logits) if self._count else []
        return TokenLogprob(
            token=token,
            logprob=float(logits[token]) - total,
            top=tuple((column, float(logits[column]) - total) for column in likeliest),
        )

    def _likeliest(self, logits: FloatArray) -> list[int]:
        columns = self._used(np.flatnonzero(logits >= self._bound(logits)))
        if columns.size < self._count:  # unused ones were among the best
            columns = self._used(np.arange(logits.size))
        columns = columns[logits[columns] > -np.inf]
        order = np.lexsort((columns, -logits[columns]))[: self._count]
        found: list[int] = columns[order].tolist()
        return found

    def _used(self, columns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.setdiff1d(columns, self._unused, assume_unique=True)

    def _bound(self, row: FloatArray) -> float:
        """A logit that at least ``count`` columns reach, and few more."""
        even = row.size - row.size % _FOLD
        if not even:
            return -np.inf
        maxima = row[:even].reshape(-1, _FOLD).max(axis=0)
        return float(np.partition(maxima, -self._count)[-self._count])
