"""Drafting with the model's own MTP head.

Hidden states of committed rows wait until they are needed.  The pass that produces a round's first
draft takes them all in: rows that earlier drafting filled with the head's own guesses are thereby
repaired with the trunk's true states, at no extra pass.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Generic

import numpy as np

from headlong.cache.pages import Lease
from headlong.models.mtp import MTPHead
from headlong.ops.batch import Batch, FloatArray, Segment
from headlong.ops.protocol import W
from headlong.ops.state import KVLayer
from headlong.sampling import Logits, most_needed
from headlong.speculation.draft_head import LEADING_ROWS, DraftHead
from headlong.speculation.drafter import DraftRequest, DraftTimes, DraftTrack, Guess

WAITING_ROWS = 64
"""Rows that may wait before their keys and values are filled in: few enough that a first draft
after a long time without drafting stays cheap, many enough that filling costs next to nothing."""


class MTPDrafter(Generic[W]):
    """`Drafter` over an `MTPHead`; drafts from ``leading_rows`` ids and those met in the text."""

    def __init__(self, head: MTPHead[W], cache: KVLayer, leading_rows: int = LEADING_ROWS) -> None:
        self._head = head
        self._vocabulary = DraftHead(head, leading_rows)
        self._cache = cache
        self._forward = head.ops.program(lambda batch, hidden: head.forward(batch, hidden, cache))

    def observe(
        self, track: DraftTrack, tokens: Sequence[int], lease: Lease, hidden: FloatArray
    ) -> None:
        """Keep the rows; fill in keys and values once enough of them wait."""
        # Copies: the next pass overwrites these, and views would keep a whole prompt chunk.
        track.rows.extend(row.copy() for row in hidden)
        if len(track.rows) <= WAITING_ROWS:
            return
        # The last row stays: its next token may not be known yet, and a draft needs one row.
        self._fill(track, tokens, lease, len(track.rows) - 1)

    def settle(self, track: DraftTrack, tokens: Sequence[int], lease: Lease, position: int) -> None:
        """Fill in keys and values of the rows that wait before the last of these positions."""
        rows = position - 1 - track.start
        if rows > 0:
            self._fill(track, tokens, lease, rows)

    def _fill(self, track: DraftTrack, tokens: Sequence[int], lease: Lease, rows: int) -> None:
        segment = self._segment(track, tokens, lease, rows)
        self._head.fill(Batch.of([segment]), np.stack(track.rows[:rows]), self._cache)
        track.start += rows
        del track.rows[:rows]

    def draft(self, requests: Sequence[DraftRequest]) -> tuple[list[list[Guess]], DraftTimes]:
        """One pass over all waiting rows gives first drafts; single rows chain the others."""
        began = time.perf_counter()
        segments = [self._segment(r.track, r.tokens, r.lease, len(r.track.rows)) for r in requests]
        waiting = [row for r in requests for row in r.track.rows]
        rows = np.concatenate(waiting).reshape(len(waiting), -1)
        hidden = self._forward(Batch.of(segments), rows)
        for request in requests:
            track = request.track
            track.start += len(track.rows)
            track.rows.clear()
            self._vocabulary.include(request.tokens[track.seen :])
            track.seen = len(request.tokens)
        drafts = self._guess(requests, hidden, 0)
        first = time.perf_counter() - began
        chained: list[float] = []
        widths: list[int] = []
        active = list(range(len(requests)))
        for depth in range(1, max(r.length for r in requests)):
            began = time.perf_counter()
            kept = [
                i
                for i, index in enumerate(active)
                if requests[index].length > depth and requests[index].goes_on(drafts[index][-1])
            ]
            if not kept:
                break
            active = [active[i] for i in kept]
            going = [requests[i] for i in active]
            batch = Batch.of([self._next(requests[i], drafts[i], depth) for i in active])
            hidden = self._forward(batch, hidden[kept])
            for index, guesses in zip(active, self._guess(going, hidden, depth), strict=True):
                drafts[index].extend(guesses)
            chained.append(time.perf_counter() - began)
            widths.append(len(active))
        return drafts, DraftTimes(first, tuple(chained), len(requests), tuple(widths))

    def _guess(
        self, requests: Sequence[DraftRequest], hidden: FloatArray, depth: int
    ) -> list[list[Guess]]:
        needs = most_needed(r.needs for r in requests)
        rows: Sequence[Logits]
        if needs is None or needs > self._vocabulary.leading_rows:
            rows, subset = list(self._vocabulary.logits(hidden)), self._vocabulary.subset
        else:
            rows, subset = self._vocabulary.best(hidden, needs).rows(), None
        return [[r.guess(row, depth, subset)] for r, row in zip(requests, rows, strict=True)]

    @staticmethod
    def _segment(track: DraftTrack, tokens: Sequence[int], lease: Lease, rows: int) -> Segment:
        """Rows ``start .. start + rows`` of the head, each with the token after it."""
        following = tokens[track.start + 1 : track.start + 1 + rows]
        return Segment(
            slot=lease.slot,
            start=track.start,
            tokens=np.array(following, np.int32),
            pages=lease.reserve(track.start + rows),
            final=rows,
        )

    @staticmethod
    def _next(request: DraftRequest, drafts: list[Guess], depth: int) -> Segment:
        position = request.track.start + depth - 1
        return Segment(
            slot=request.lease.slot,
            start=position,
            tokens=np.array([drafts[-1].token], np.int32),
            pages=request.lease.reserve(position + 1),
            final=1,
        )
