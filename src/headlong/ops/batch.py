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
    positions: IntArray
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
        positions = np.empty(int(rows.sum()), np.int32)
        for i, segment in enumerate(segments):
            table[i, : segment.pages.size] = segment.pages
            first, count = start[i], segment.tokens.size
            positions[first : first + count] = range(segment.start, segment.start + count)
        return cls(
            tokens=np.concatenate([s.tokens for s in segments]),
            positions=positions,
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
        rows, start = segment.tokens.size, segment.start
        figures = np.array(
            [segment.slot, 0, rows, start, segment.fold, segment.final], np.int32
        ).reshape(6, 1)
        return cls(
            tokens=segment.tokens,
            positions=np.arange(start, start + rows, dtype=np.int32),
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
    def last_row(self) -> IntArray:
        """Index of each segment's last row, ``[S]``."""
        return self.row_start + self.rows - 1

    def last_rows(self) -> Batch:
        """The batch of every segment's last row alone."""
        if self.single_rows:
            return self
        last = self.last_row
        ones = np.ones_like(self.rows)
        return Batch(
            tokens=self.tokens[last],
            positions=self.positions[last],
            slots=self.slots,
            row_start=np.arange(last.size, dtype=np.int32),
            rows=ones,
            pos_start=self.positions[last],
            fold=np.zeros_like(ones),
            final=ones,
            page_table=self.page_table,
        )


@dataclass(frozen=True, slots=True)
class Rope:
    """Cosine and sine of every row's angles, float32 ``[T, n_rot / 2]`` (NeoX pairing)."""

    cos: FloatArray
    sin: FloatArray


class RopeTable:
    """Rotary angles ``position * base^(-2 d / n_rot)`` of all positions met so far.

    Computed in float64, kept as float32 and extended by doubling.
    """

    def __init__(self, n_rot: int, base: float) -> None:
        self._inverse = base ** (-np.arange(0, n_rot, 2, dtype=np.float64) / n_rot)
        self._cos = np.empty((0, n_rot // 2), np.float32)
        self._sin = self._cos

    def at(self, batch: Batch) -> Rope:
        """The angles of a batch's rows."""
        last = int(batch.positions.max(initial=-1)) + 1
        if last > len(self._cos):
            self._extend(max(last, 2 * len(self._cos), 1024))
        return Rope(self._cos[batch.positions], self._sin[batch.positions])

    def _extend(self, length: int) -> None:
        angle = np.arange(length, dtype=np.float64)[:, None] * self._inverse
        self._cos, self._sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
