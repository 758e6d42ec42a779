"""Which tokens a grammar lets through at one position."""

from __future__ import annotations

from typing import Final

import numpy as np

from headlong.ops.batch import FloatArray, IntArray
from headlong.ops.best import Bits
from headlong.sampling.subset import TokenSubset

__all__ = ["TokenMask"]

_FEW: Final = 1024
"""Up to so many tokens are sampled from a row of their own; more stay in a row of all columns, of
which the others are ruled out."""

# Eight terms for the logits of eight columns, by the byte that holds their bits.
_TERMS: Final = np.where(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").view(
        np.bool_
    ),
    np.float32(0),
    np.float32(-np.inf),
)


class TokenMask:
    """The tokens that may come next, of a vocabulary of ``size``.

    bits: one per token, from the lowest bit of byte 0, as `headlong.ops.best.allowed_bits` makes
    them; bits beyond the vocabulary are of no account.
    """

    __slots__ = ("_bits", "_few", "_size", "count")

    def __init__(self, bits: Bits, size: int) -> None:
        self._bits = bits
        self._size = size
        flags = np.unpackbits(bits, count=size, bitorder="little").view(np.bool_)
        self.count: Final = int(np.count_nonzero(flags))
        """How many tokens may come next."""
        few = np.flatnonzero(flags).astype(np.int32) if self.count <= _FEW else None
        self._few: IntArray | None = few

    @property
    def only(self) -> int | None:
        """The one token that may come next; None: there are more, or none."""
        return int(self._few[0]) if self._few is not None and self.count == 1 else None

    def restrict(
        self, logits: FloatArray, subset: TokenSubset | None = None
    ) -> tuple[FloatArray, TokenSubset | None]:
        """A row without the tokens that may not come: as the sampler takes it, with its columns.

        logits: float32 [size], or the columns of `subset`. The row may come out empty, or of
        nothing but -inf.
        """
        if self._few is None:
            # Times as fast as indexing with the bytes.
            terms = _TERMS.take(self._bits, axis=0).reshape(-1)[: self._size]
            if subset is None:
                return logits + terms, None
            return logits + terms[subset.ids], subset
        if subset is None:
            return logits[self._few], TokenSubset.ascending(self._few)
        columns = np.minimum(np.searchsorted(subset.ids, self._few), len(subset) - 1)
        columns = columns[subset.ids[columns] == self._few]
        return logits[columns], TokenSubset.ascending(subset.ids[columns])
