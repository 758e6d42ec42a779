"""The LM head as drafting sees it: the first K tokens, and those this conversation uses.

The full head can cost many times what the rest of an MTP step does.  Ids of byte-level BPE are
roughly ordered by frequency, so the first K rows cover most of any text; rows of tokens that the
conversation has used are added to them.  A token outside cannot be drafted, only decoded:
verification always uses the full head.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic

import numpy as np

from headlong.models.mtp import MTPHead
from headlong.ops.batch import FloatArray
from headlong.ops.protocol import W
from headlong.sampling import TokenSubset

LEADING_ROWS = 32_768
"""K.  On 2B dimensions a draft step then reads 0.08 of what a pass reads instead of 0.37; of
published trims, 32 k to 64 k rows keep 92 to 98 % of the acceptance."""

LEAST_SAVING = 2
"""A head with fewer than so many times K rows is used whole."""

MOST_EXTRA = 1024
"""Rows beyond K that are kept; the ones met longest ago go first."""


class DraftHead(Generic[W]):
    """Draft logits over a part of the vocabulary; ``subset`` is `None` for a whole head."""

    def __init__(self, head: MTPHead[W], leading_rows: int = LEADING_ROWS) -> None:
        self._ops = head.ops
        self._full = head.head
        vocab = head.config.vocab
        trimmed = vocab >= LEAST_SAVING * leading_rows
        self._leading_rows = leading_rows if trimmed else vocab
        self._leading = self._ops.leading_rows(self._full, leading_rows) if trimmed else self._full
        self._extra: dict[int, FloatArray] = {}
        self._matrix: FloatArray | None = None
        self.subset: TokenSubset | None = None
        if trimmed:
            self._rebuild()

    def include(self, tokens: Iterable[int]) -> None:
        """Make these tokens draftable."""
        if self.subset is None:
            return
        met = {t for t in tokens if t >= self._leading_rows}
        for token in met & self._extra.keys():
            self._extra[token] = self._extra.pop(token)
        fresh = sorted(met - self._extra.keys())
        if not fresh:
            return
        rows = self._ops.embed(self._full, np.array(fresh, np.int32))
        self._extra.update(zip(fresh, rows, strict=True))
        while len(self._extra) > MOST_EXTRA:
            del self._extra[next(iter(self._extra))]
        self._rebuild()

    def logits(self, hidden: FloatArray) -> FloatArray:
        """Draft logits ``[n, columns]`` of what the MTP head returned."""
        (leading,) = self._ops.linear(hidden, self._leading)
        if self._matrix is None:
            return leading
        return np.concatenate([leading, hidden @ self._matrix], axis=1)

    def _rebuild(self) -> None:
        ids = sorted(self._extra)
        columns = np.concatenate([np.arange(self._leading_rows), np.array(ids, np.int64)])
        self.subset = TokenSubset(columns)
        self._matrix = np.stack([self._extra[i] for i in ids], axis=1) if ids else None
