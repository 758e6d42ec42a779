from __future__ import annotations

from functools import cache as remembered
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from headlong.cache.memory import Cache
from headlong.engine.load import LoadedModel, load_model
from headlong.ops.batch import PAGE
from headlong.ops.cpu import CpuOps, CpuWeight
from headlong.progress import Silent
from headlong.sampling import TokenSubset
from headlong.speculation.drafter import DraftRequest, DraftTrack, Guess
from headlong.speculation.mtp import WAITING_ROWS, MTPDrafter
from tiny import TinySpec, write_tiny

Floats = npt.NDArray[np.float32]
ROWS = 200


@remembered
def model() -> LoadedModel[CpuWeight]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.gguf"
        write_tiny(path, TinySpec())
        return load_model(path, CpuOps(1), Silent())


@remembered
def text() -> tuple[list[int], Floats]:
    """Tokens, and a hidden state for each; what the drafter is told must not have to make sense."""
    rng = np.random.default_rng(3)
    tokens = rng.integers(0, 280, ROWS + 1).tolist()
    return tokens, rng.normal(size=(ROWS, model().config.hidden)).astype(np.float32)


class Run:
    """A drafter that follows one text; what it drafts is noise."""

    def __init__(self) -> None:
        head = model().head
        assert head is not None
        self.cache = Cache(
            model().config, context=256, sequences=2, kv_type="f16", max_draft=0, mtp=True
        )
        assert self.cache.mtp_kv is not None
        self.cache.lease()
        self.drafter = MTPDrafter(head, self.cache.mtp_kv)
        self.lease = self.cache.lease()
        self.track = DraftTrack()
        self.rows = 0
        self.logits: list[Floats] = []

    def observe(self, rows: int) -> None:
        tokens, hidden = text()
        known = tokens[: self.rows + rows + 1]
        self.drafter.observe(self.track, known, self.lease, hidden[self.rows : self.rows + rows])
        self.rows += rows
        assert self.track.start + len(self.track.rows) == self.rows
        assert 1 <= len(self.track.rows) <= WAITING_ROWS

    def draft(self, length: int) -> list[Guess]:
        self.logits.clear()
        tokens = text()[0][: self.rows + 1]
        request = DraftRequest(self.track, tokens, self.lease, length, self._guess)
        (drafts,), times = self.drafter.draft([request])
        assert len(drafts) == length
        assert len(times.chained) == length - 1
        assert (self.track.start, self.track.rows) == (self.rows, [])
        return drafts

    def _guess(self, logits: Floats, depth: int, subset: TokenSubset | None) -> Guess:
        assert depth == len(self.logits)
        self.logits.append(logits.copy())
        return Guess((17 * depth + self.rows) % 280, 0.5)

    def known(self) -> list[bytes]:
        layer = self.cache.mtp_kv
        assert layer is not None
        pages = self.lease.reserve(self.rows)
        return [
            array[pages].swapaxes(1, 2).reshape(len(pages) * PAGE, -1)[: self.rows].tobytes()
            for array in (layer.k, layer.v)
        ]


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([1, 2, 3, 7, 63, 64, 65, 100]), st.integers(0, 4)),
        min_size=1,
        max_size=30,
    )
)
def test_whenever_rows_came_and_drafts_were_made_the_next_draft_is_the_same(
    steps: list[tuple[int, int]],
) -> None:
    """Long phases without drafts, short ones, drafts on top of drafts: the head ends the same."""
    run, fresh = Run(), Run()
    for rows, length in steps:
        if run.rows + rows >= ROWS:
            break
        run.observe(rows)
        if length:
            run.draft(length)
    if not run.track.rows:
        run.observe(1)
    fresh.observe(run.rows)
    assert run.draft(3) == fresh.draft(3)
    assert run.known() == fresh.known()
    assert [row.tobytes() for row in run.logits] == [row.tobytes() for row in fresh.logits]


def test_sequences_drafted_together_draft_as_alone() -> None:
    """Of different lengths, with different numbers of rows that wait."""
    tokens, hidden = text()
    shapes = [(5, 1), (70, 4), (130, 2)]
    alone: list[tuple[list[Guess], list[bytes]]] = []
    for rows, length in shapes:
        run = Run()
        run.observe(rows)
        drafts = run.draft(length)
        alone.append((drafts, [row.tobytes() for row in run.logits]))
    head = model().head
    assert head is not None
    cache = Cache(model().config, context=256, sequences=3, kv_type="f16", max_draft=0, mtp=True)
    assert cache.mtp_kv is not None
    drafter = MTPDrafter(head, cache.mtp_kv)
    seen: list[list[bytes]] = [[], [], []]
    requests = []
    for index, (rows, length) in enumerate(shapes):
        track, lease = DraftTrack(), cache.lease()
        drafter.observe(track, tokens[: rows + 1], lease, hidden[:rows])

        def guess(
            logits: Floats,
            depth: int,
            subset: TokenSubset | None,
            index: int = index,
            rows: int = rows,
        ) -> Guess:
            seen[index].append(logits.tobytes())
            return Guess((17 * depth + rows) % 280, 0.5)

        requests.append(DraftRequest(track, tokens[: rows + 1], lease, length, guess))
    drafts, times = drafter.draft(requests)
    assert list(zip(drafts, seen, strict=True)) == alone
    assert len(times.chained) == 3
    assert times.total >= times.first > 0


def test_a_draft_ends_where_it_does_not_go_on() -> None:
    """Each request decides for itself, knowing its guesses so far; others draft what they would."""
    tokens, hidden = text()
    full = Run()
    full.observe(9)
    expected = full.draft(4)
    head = model().head
    assert head is not None
    cache = Cache(model().config, context=256, sequences=3, kv_type="f16", max_draft=0, mtp=True)
    assert cache.mtp_kv is not None
    drafter = MTPDrafter(head, cache.mtp_kv)
    asked: list[list[Guess]] = [[], [], []]
    requests = []
    for index, stop in enumerate((1, 4, 2)):
        track, lease = DraftTrack(), cache.lease()
        drafter.observe(track, tokens[:10], lease, hidden[:9])

        def goes_on(guess: Guess, index: int = index, stop: int = stop) -> bool:
            asked[index].append(guess)
            return len(asked[index]) < stop

        def guess(logits: Floats, depth: int, subset: TokenSubset | None) -> Guess:
            return Guess((17 * depth + 9) % 280, 0.5)

        requests.append(DraftRequest(track, tokens[:10], lease, 4, guess, goes_on))
    drafts, times = drafter.draft(requests)
    assert drafts == [expected[:1], expected, expected[:2]]
    assert asked == [expected[:1], expected[:3], expected[:2]]  # after the last nothing is asked
    assert len(times.chained) == 3
