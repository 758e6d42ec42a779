"""Which candidates stay in the draw: top-k, typical-p, top-p, min-p.

`top_k`, `nucleus` and `likely` take a row of logits and give candidates; the others take the
logits of candidates, float64, best first, and say which of them stay. The order of candidates is
(logit descending, column ascending) everywhere, so that ties never depend on how a sort works.
Every filter keeps at least one candidate. Sums are taken in float64.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["keep_min_p", "keep_top_p", "keep_typical_p", "likely", "nucleus", "top_k"]

# Rows are folded to 1/64 of their length to bound the k-th logit: for 248,320 columns the fold
# takes 23 us and leaves 3,880 maxima to select from in 17 us; selecting from the whole row takes
# 1,350 us.
_FOLD: Final = 64

# First guess of how many candidates hold the mass of `nucleus`, and its growth when they do not.
_FIRST_HEAD: Final = 64
_HEAD_GROWTH: Final = 16


def top_k(row: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    """Columns of the k highest logits of row, best first; ties go to the lower column.

    Columns of -inf are never candidates, so there can be fewer than k. Row is float32 [n] without
    NaN; k is 1 or more. int64 [<= k].
    """
    bound = _lower_bound(row, k)
    columns = np.flatnonzero(row >= bound if bound > -math.inf else row > -math.inf)
    order = np.argsort(-row[columns], kind="stable")[:k]
    return columns[order]


def _lower_bound(row: npt.NDArray[np.float32], k: int) -> float:
    """A value that at least k logits of row reach, close to the k-th highest; -inf for all."""
    if k >= row.size:
        return -math.inf
    groups = row.size // _FOLD
    if k > groups // 4:  # so many that the maxima would say little about the rest
        return float(np.partition(row, row.size - k)[row.size - k])
    # k groups whose maximum reaches a value hold k logits that reach it.
    maxima = row[: groups * _FOLD].reshape(_FOLD, groups).max(axis=0)
    return float(np.partition(maxima, groups - k)[groups - k])


def nucleus(row: npt.NDArray[np.float32], p: float) -> npt.NDArray[np.int64]:
    """top-p over a whole row: the fewest best columns whose probabilities reach p, best first.

    The same as `keep_top_p` over all columns in order, without sorting more of them than needed.
    """
    weights = np.exp(row.astype(np.float64) - float(row.max()))
    total = float(weights.sum())
    size = _FIRST_HEAD
    while True:
        columns = top_k(row, size)
        sums = np.cumsum(weights[columns])
        if sums[-1] >= p * total or size >= row.size:
            return columns[: _prefix(sums, p * total)]
        size *= _HEAD_GROWTH


def likely(row: npt.NDArray[np.float32], p: float) -> npt.NDArray[np.int64]:
    """Columns that are at least about p times as probable as the best, best first.

    A coarse min-p over a whole row: `keep_min_p` finds the exact end among them. p is above 0.
    """
    # Float32 rounding of the bound moves it by some 1e-6 of a logit: 0.01 below is safe.
    bound = float(row.max()) + math.log(p) - 0.01
    columns = np.flatnonzero(row >= bound)
    return columns[np.argsort(-row[columns], kind="stable")]


def keep_top_p(logits: npt.NDArray[np.float64], p: float) -> int:
    """How many of the best candidates stay: the fewest whose probabilities reach p."""
    weights = np.exp(logits - logits[0])
    return _prefix(np.cumsum(weights), p * float(weights.sum()))


def keep_min_p(logits: npt.NDArray[np.float64], p: float) -> int:
    """How many of the best candidates stay: those at least p times as probable as the best."""
    return max(1, int(np.count_nonzero(np.exp(logits - logits[0]) >= p)))


def keep_typical_p(logits: npt.NDArray[np.float64], p: float) -> npt.NDArray[np.int64]:
    """Indices of the candidates that stay, ascending.

    Candidates are taken by how close their surprise, -log(probability), is to the entropy, the
    closest first and the better first on ties, until their probabilities reach p (Meister et
    al., "Locally typical sampling", TACL 2023). Logits must be finite.
    """
    shifted = logits - logits[0]
    weights = np.exp(shifted)
    total = float(weights.sum())
    surprise = math.log(total) - shifted
    probabilities = weights / total
    distance = np.abs(surprise - float((probabilities * surprise).sum()))
    order = np.argsort(distance, kind="stable")
    kept = order[: _prefix(np.cumsum(probabilities[order]), p)]
    return np.sort(kept)


def _prefix(sums: npt.NDArray[np.float64], wanted: float) -> int:
    """Length of the shortest prefix whose running sum reaches what is wanted; all if none does."""
    return min(int(np.searchsorted(sums, wanted, side="left")) + 1, sums.size)
