"""The LM head as drafting sees it: the first K tokens, and those this conversation uses.

The full head can cost many times what the rest of an MTP step does.  Ids of byte-level BPE are
roughly ordered by frequency, so the first K rows cover most of any text; rows of tokens that the
conversation has used are added to them.  A token outside cannot be drafted, only decoded:
verification always uses the full head.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Generic

import numpy as np
import numpy.typing as npt

from headlong.gguf.types import GGMLType
from headlong.models.mtp import MTPHead
from headlong.ops.batch import FloatArray
from headlong.ops.best import Best, merge
from headlong.ops.protocol import W
from headlong.sampling import TokenSubset

LEADING_ROWS = 32_768
"""K.  On 2B dimensions a draft step then reads 0.08 of what a pass reads instead of 0.37, and 97 to
98 % of a text's tokens stay within reach (`python -m benchmarks.draft_vocabulary`)."""

LEAST_SAVING = 2
"""A head with fewer than so many times K rows is used whole."""

MOST_EXTRA = 1024
"""Rows beyond K that are kept; the ones met longest ago go first."""


_Halves = npt.NDArray[np.float16]


class DraftHead(Generic[W]):
    """Draft logits over a part of the vocabulary: ``leading_rows`` ids and those included.

    ``subset`` holds the ids of the columns; it is `None` for a whole head.
    """

    def __init__(self, head: MTPHead[W], leading_rows: int = LEADING_ROWS) -> None:
        self._ops = head.ops
        self._full = head.head
        vocab = head.config.vocab
        trimmed = vocab >= LEAST_SAVING * leading_rows
        self.leading_rows = leading_rows if trimmed else vocab
        self._leading = self._ops.leading_rows(self._full, leading_rows) if trimmed else self._full
        self._extra: dict[int, _Halves] = {}
        self._extra_ids = np.empty(0, np.int32)
        self._added: W | None = None
        self.subset: TokenSubset | None = None
        if trimmed:
            self._rebuild()

    def include(self, tokens: Iterable[int]) -> None:
        """Make these tokens draftable."""
        if self.subset is None:
            return
        met = {t for t in tokens if t >= self.leading_rows}
        for token in met & self._extra.keys():
            self._extra[token] = self._extra.pop(token)
        fresh = sorted(met - self._extra.keys())
        if not fresh:
            return
        rows = self._ops.embed(self._full, np.array(fresh, np.int32)).astype(np.float16)
        self._extra.update(zip(fresh, rows, strict=True))
        while len(self._extra) > MOST_EXTRA:
            del self._extra[next(iter(self._extra))]
        self._rebuild()

    def logits(self, hidden: FloatArray) -> FloatArray:
        """Draft logits ``[n, columns]`` of what the MTP head returned."""
        weights = [self._leading] if self._added is None else [self._leading, self._added]
        parts = self._ops.linear(hidden, *weights)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def best(self, hidden: FloatArray, k: int) -> Best:
        """The best ``k`` (up to K) of these logits, by id, with the logarithm of their sum."""
        leading = self._ops.best(hidden, self._leading, k, log_sums=True)
        if self._added is None:
            return leading
        added = self._ops.best(hidden, self._added, min(k, self._extra_ids.size), log_sums=True)
        ids = np.where(added.ids < 0, added.ids, self._extra_ids[added.ids])
        return merge(leading, replace(added, ids=ids), k)

    def _rebuild(self) -> None:
        ids = sorted(self._extra)
        self._extra_ids = np.array(ids, np.int32)
        self.subset = TokenSubset(np.concatenate([np.arange(self.leading_rows), self._extra_ids]))
        if ids:
            self._added = self._ops.pack(_Rows(np.stack([self._extra[i] for i in ids])))


class _Rows:
    """Rows of half floats as a matrix to pack."""

    name = "rows of the draft head"
    type = GGMLType.F16

    def __init__(self, values: _Halves) -> None:
        self._values = values
        self.rows, self.cols = values.shape

    def read(self, first_row: int, rows: int) -> npt.NDArray[np.uint8]:
        """Bytes of some whole rows."""
        return self._values[first_row : first_row + rows].view(np.uint8)

    def done(self, rows: int) -> None:
        """Nothing to let go of."""
