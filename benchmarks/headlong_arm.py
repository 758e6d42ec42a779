"""Headlong as an arm of the comparison: loaded anew for every turn, like its peers."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from benchmarks.session import AUTO, PLAIN, Answer, Arm, Piece, Session, Setup

import headlong
from headlong import LLM, SamplingParams


class HeadlongSession:
    """A loaded model."""

    def __init__(self, llm: LLM) -> None:
        self._llm: LLM | None = llm

    def close(self) -> None:
        """Free its memory before the next engine is loaded: two at once may not fit."""
        self._llm = None
        gc.collect()

    def generate(self, prompt: Sequence[int], tokens: int) -> Answer:
        assert self._llm is not None
        params = SamplingParams(max_tokens=tokens, temperature=0, seed=1, ignore_eos=True)
        pieces: list[Piece] = []
        drafted = accepted = 0
        began = time.perf_counter()
        for chunk in self._llm.stream(prompt, params):
            now = time.perf_counter() - began
            if chunk.tokens:
                pieces.append(Piece(now, len(chunk.tokens), chunk.tokens, chunk.text))
            if chunk.completion is not None:
                drafted = chunk.completion.stats.draft_n
                accepted = chunk.completion.stats.draft_n_accepted
        return Answer(tuple(pieces), drafted, accepted)


def headlong_arm(draft: int | str) -> Arm:
    """Without the head in memory for `PLAIN`, else with drafts of this length or `AUTO`."""
    mode = {PLAIN: "plain", AUTO: "auto"}.get(draft, f"n = {draft}")
    flags = "spec_type=none" if draft == PLAIN else f"draft_n_max={draft}"
    return Arm("headlong", mode, draft, headlong.__version__, flags, partial(_open, draft))


@contextmanager
def _open(draft: int | str, setup: Setup) -> Iterator[Session]:
    llm = LLM(
        setup.model,
        context=setup.context,
        sequences=1,
        threads=setup.threads,
        spec_type="none" if draft == PLAIN else "draft-mtp",
        draft_n_max=0 if draft == PLAIN else draft,
    )
    session = HeadlongSession(llm)
    del llm
    try:
        yield session
    finally:
        session.close()
