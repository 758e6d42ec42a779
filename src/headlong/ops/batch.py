"""What one pass computes: rows of many sequences, flat, and where each belongs.

A *row* is one token at one position.  Rows of a sequence stand together in a *segment*; the
operations that look at state (attention, delta-net) walk segments, all others see rows only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """All rows of a pass.  Arrays are int32: ``[T]`` per row, ``[S]`` per segment.

    ``page_table[s, p // PAGE]`` is the page that holds position ``p`` of segment ``s``.
    """

    tokens: IntArray
    slots: IntArray
    row_start: IntArray
    rows: IntArray
    pos_start: IntArray
    fold: IntArray
    final: IntArray
    page_table: IntArray

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> Batch:
        """Lay the segments' rows one after another."""
        if len(segments) == 1:
            return cls._one(segments[0])
        rows = np.array([s.tokens.size for s in segments], np.int32)
        start = np.zeros(len(segments), np.int32)
        np.cumsum(rows[:-1], out=start[1:])
        width = max(s.pages.size for s in segments)
        table = np.zeros((len(segments), width), np.int32)
        for i, segment in enumerate(segments):
            table[i, : segment.pages.size] = segment.pages
        return cls(
            tokens=np.concatenate([s.tokens for s in segments]),
            slots=np.array([s.slot for s in segments], np.int32),
            row_start=start,
            rows=rows,
            pos_start=np.array([s.start for s in segments], np.int32),
            fold=np.array([s.fold for s in segments], np.int32),
            final=np.array([s.final for s in segments], np.int32),
            page_table=table,
        )

    @classmethod
    def _one(cls, segment: Segment) -> Batch:
        """The same for a single segment: what drafting asks for again and again."""
        s = segment
        figures = np.array(
            [[s.slot], [0], [s.tokens.size], [s.start], [s.fold], [s.final]], np.int32
        )
        return cls(
            tokens=segment.tokens,
            slots=figures[0],
            row_start=figures[1],
            rows=figures[2],
            pos_start=figures[3],
            fold=figures[4],
            final=figures[5],
            page_table=segment.pages.reshape(1, -1),
        )

    @property
    def single_rows(self) -> bool:
        """Whether every segment has exactly one row."""
        return self.tokens.size == self.rows.size

    @property
    def positions(self) -> IntArray:
        """Position of every row, ``[T]``."""
        within = np.arange(self.tokens.size, dtype=np.int32) - np.repeat(self.row_start, self.rows)
        return np.repeat(self.pos_start, self.rows) + within

    def arrays(self) -> tuple[IntArray, ...]:
        """All of them, in the order above."""
        return (
            self.tokens, self.slots, self.row_start, self.rows, self.pos_start, self.fold,
            self.final, self.page_table,
        )  # fmt: skip

    def copy(self, pages: int) -> Batch:
        """The same batch in arrays of its own, its page table ``pages`` columns wide."""
        tokens, slots, row_start, rows, pos_start, fold, final, narrow = (
            array.copy() for array in self.arrays()
        )
        table = np.zeros((len(narrow), pages), np.int32)
        table[:, : narrow.shape[1]] = narrow
        return Batch(tokens, slots, row_start, rows, pos_start, fold, final, table)


@dataclass(frozen=True, slots=True)
class Rope:
    """Cosine and sine of every row's angles, float32 ``[T, n_rot / 2]`` (NeoX pairing)."""

    cos: FloatArray
    sin: FloatArray


def rotary_frequencies(n_rot: int, base: float) -> Float64Array:
    """``base^(-2 d / n_rot)`` for every pair ``d``: radians that it turns from row to row."""
    return np.asarray(base ** (-np.arange(0, n_rot, 2, dtype=np.float64) / n_rot))
