"""What one pass computes: rows of many sequences, flat, and where each belongs.

A *row* is one token at one position.  Rows of a sequence stand together in a *segment*; the
operations that look at state (attention, delta-net) walk segments, all others see rows only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

PAGE = 64
"""Positions in one page of the KV cache; attention walks a sequence page by page."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive rows of one sequence.

    ``final`` leading rows are certain; the rows after them are drafts, whose effect on recurrent
    state is kept aside until ``fold`` of the next pass says how many were accepted.
    """

    slot: int
    start: int
    tokens: IntArray
    pages: IntArray
    final: int
    fold: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """All rows of a pass, int32: ``tokens`` ``[T]``, and what belongs to the segments.

    ``figures`` ``[6, S]``: slot, first row, rows, first position, fold and final of every segment.
    ``page_table[s, p // PAGE]`` is the page that holds position ``p`` of segment ``s``.
    """

    tokens: IntArray
    figures: IntArray
    page_table: IntArray

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> Batch:
        """Lay the segments' rows one after another."""
        rows = [s.tokens.size for s in segments]
        figures = [
            *[s.slot for s in segments], *accumulate(rows[:-1], initial=0), *rows,
            *[s.start for s in segments], *[s.fold for s in segments], *[s.final for s in segments],
        ]  # fmt: skip
        arrays = np.array(figures, np.int32).reshape(6, -1)
        if len(segments) == 1:
            return cls(segments[0].tokens, arrays, segments[0].pages.reshape(1, -1))
        table = np.zeros((len(segments), max(s.pages.size for s in segments)), np.int32)
        for row, segment in zip(table, segments, strict=True):
            row[: segment.pages.size] = segment.pages
        return cls(np.concatenate([s.tokens for s in segments]), arrays, table)

    def _figure(self, which: int) -> IntArray:
        figure: IntArray = self.figures[which]
        return figure

    @property
    def slots(self) -> IntArray:
        """Slot of recurrent state of every segment, ``[S]``; the others likewise."""
        return self._figure(0)

    @property
    def row_start(self) -> IntArray:
        """First row."""
        return self._figure(1)

    @property
    def rows(self) -> IntArray:
        """Number of rows."""
        return self._figure(2)

    @property
    def pos_start(self) -> IntArray:
        """Position of the first row."""
        return self._figure(3)

    @property
    def fold(self) -> IntArray:
        """Accepted pending rows of the last pass."""
        return self._figure(4)

    @property
    def final(self) -> IntArray:
        """Leading rows that are certain."""
        return self._figure(5)

    @property
    def single_rows(self) -> bool:
        """Whether every segment has exactly one row."""
        return self.tokens.size == len(self.page_table)

    @property
    def positions(self) -> IntArray:
        """Position of every row, ``[T]``."""
        within = np.arange(self.tokens.size, dtype=np.int32) - np.repeat(self.row_start, self.rows)
        return np.repeat(self.pos_start, self.rows) + within

    def copy(self, pages: int) -> Batch:
        """The same batch in arrays of its own, its page table ``pages`` columns wide."""
        table = np.zeros((len(self.page_table), pages), np.int32)
        table[:, : self.page_table.shape[1]] = self.page_table
        return Batch(self.tokens.copy(), self.figures.copy(), table)


@dataclass(frozen=True, slots=True)
class Rope:
    """Cosine and sine of every row's angles, float32 ``[T, n_rot / 2]`` (NeoX pairing)."""

    cos: FloatArray
    sin: FloatArray


def rotary_frequencies(n_rot: int, base: float) -> Float64Array:
    """``base^(-2 d / n_rot)`` for every pair ``d``: radians that it turns from row to row."""
    return np.asarray(base ** (-np.arange(0, n_rot, 2, dtype=np.float64) / n_rot))
