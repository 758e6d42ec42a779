"""Programs: replayed passes are eager passes, to the bit, whatever ran in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headlong import _native
from headlong.cache.memory import Cache
from headlong.cache.pages import Lease
from headlong.engine.load import LoadedModel, load_model
from headlong.ops import program as programs
from headlong.ops.batch import Batch, FloatArray, Segment
from headlong.ops.cpu import CpuOps, CpuWeight
from headlong.ops.program import MOST_ROWS, Replay
from headlong.ops.reference import ReferenceOps
from headlong.progress import Silent
from tiny import TinySpec, write_tiny

CONTEXT = 1280
"""More pages than the narrowest page table has."""
MAX_DRAFT = 7
SEQUENCES = 3


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "tiny.gguf"
    write_tiny(path, TinySpec())
    return path


@cache
def load(path: Path, threads: int) -> LoadedModel[CpuWeight]:
    return load_model(path, CpuOps(threads), Silent())


@dataclass(frozen=True, slots=True)
class Turn:
    """Rows of one sequence in a pass; of the drafts, ``accepted`` are folded by its next pass."""

    slot: int
    drafts: int
    accepted: int


class Run:
    """Sequences driven by hand: every pass goes through the trunk and then through the head."""

    def __init__(self, model: LoadedModel[CpuWeight], *, replayed: bool, starts: list[int]) -> None:
        cache = Cache(
            model.config, context=CONTEXT, sequences=SEQUENCES, kv_type="f16",
            max_draft=MAX_DRAFT, mtp=True,
        )  # fmt: skip
        layer, head = cache.mtp_kv, model.head
        assert layer is not None and head is not None

        def forward(batch: Batch) -> FloatArray:
            return model.trunk.forward(batch, cache.kv, cache.recurrent)

        def draft(batch: Batch, hidden: FloatArray) -> FloatArray:
            return head.forward(batch, hidden, layer)

        self.cache = cache
        self.forward: Callable[[Batch], FloatArray] = forward
        self.draft: Callable[[Batch, FloatArray], FloatArray] = draft
        if replayed:
            self.forward = model.trunk.ops.program(forward)
            self.draft = model.trunk.ops.program(draft)
        self.leases: list[Lease] = [cache.lease() for _ in range(SEQUENCES)]
        self.length = list(starts)
        self.fold = [0] * SEQUENCES

    def step(self, turns: list[Turn], rng: np.random.Generator) -> list[bytes]:
        segments = [
            Segment(
                self.leases[t.slot].slot,
                self.length[t.slot],
                rng.integers(0, 300, 1 + t.drafts).astype(np.int32),
                self.leases[t.slot].reserve(self.length[t.slot] + 1 + t.drafts),
                final=1,
                fold=self.fold[t.slot],
            )
            for t in turns
        ]
        batch = Batch.of(segments)
        hidden = self.forward(batch)
        first = hidden.tobytes()
        drafted = self.draft(batch, hidden)
        for turn in turns:
            self.length[turn.slot] += 1 + turn.accepted
            self.fold[turn.slot] = turn.accepted
        return [first, drafted.tobytes(), hidden.tobytes()]

    def reset(self) -> None:
        """Every recurrent state as at the start of a sequence."""
        for lease in self.leases:
            for state in self.cache.recurrent:
                state.reset(lease.slot)

    def state(self) -> list[bytes]:
        layers = [a for kv in (*self.cache.kv, self.cache.mtp_kv) if kv for a in (kv.k, kv.v)]
        layers += [a for r in self.cache.recurrent for a in (r.s, r.conv)]
        return [a.tobytes() for a in layers]


TURN = st.integers(0, MAX_DRAFT).flatmap(
    lambda n: st.builds(Turn, st.integers(0, SEQUENCES - 1), st.just(n), st.integers(0, n))
)
PASS = st.lists(TURN, min_size=1, max_size=SEQUENCES, unique_by=lambda turn: turn.slot)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    passes=st.lists(PASS, min_size=2, max_size=8),
    starts=st.lists(st.sampled_from([0, 1, 60, 127, 1020]), min_size=SEQUENCES, max_size=SEQUENCES),
    threads=st.sampled_from([1, 2]),
    seed=st.integers(0, 2**16),
)
def test_replayed_passes_are_eager_passes(
    path: Path, passes: list[list[Turn]], starts: list[int], threads: int, seed: int
) -> None:
    model = load(path, threads)
    eager, replayed = (
        Run(model, replayed=False, starts=starts),
        Run(model, replayed=True, starts=starts),
    )
    a, b = np.random.default_rng(seed), np.random.default_rng(seed)
    for turns in [*passes, *passes]:  # the second time everything has been recorded
        expected, got = eager.step(turns, a), replayed.step(turns, b)
        assert got == expected
        assert got[2] == got[0], "the head's program left the trunk's result alone"
    assert replayed.state() == eager.state()


def segment(run: Run, rows: int, position: int = 0) -> Segment:
    tokens = np.arange(rows, dtype=np.int32)
    pages = run.leases[0].reserve(position + rows)
    return Segment(run.leases[0].slot, position, tokens, pages, final=rows)


def test_the_next_call_overwrites_what_a_program_returned(path: Path) -> None:
    run = Run(load(path, 2), replayed=True, starts=[0] * SEQUENCES)
    first = run.forward(Batch.of([segment(run, 1)]))
    kept = first.copy()
    second = run.forward(Batch.of([segment(run, 1, position=1)]))
    assert second is first
    assert second.tobytes() != kept.tobytes()
    other = run.forward(Batch.of([segment(run, 2, position=2)]))
    assert other is not first
    assert second.tobytes() == first.tobytes()


def test_what_a_batch_says_is_checked_in_every_replay(path: Path) -> None:
    run = Run(load(path, 2), replayed=True, starts=[0] * SEQUENCES)

    def broken(name: str, value: int) -> Batch:
        batch = Batch.of([segment(run, 2)])
        batch = batch.copy(batch.page_table.shape[1])
        getattr(batch, name).flat[0] = value
        return batch

    run.forward(Batch.of([segment(run, 2)]))
    for name, value in [
        ("tokens", 10**6), ("tokens", -1), ("slots", 99), ("row_start", 1), ("rows", 3),
        ("pos_start", -1), ("pos_start", 1 << 20), ("fold", MAX_DRAFT + 1), ("final", 3),
        ("page_table", 10**6), ("page_table", -1),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=r"\d"):
            run.forward(broken(name, value))
    run.forward(Batch.of([segment(run, 2)]))


def test_memory_is_passed_on_from_layer_to_layer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: list[int] = []
    make = programs.Arena._block

    def counted(self: programs.Arena, nbytes: int) -> programs.Block:
        blocks.append(nbytes)
        return make(self, nbytes)

    monkeypatch.setattr(programs.Arena, "_block", counted)
    run = Run(load(path, 2), replayed=True, starts=[0] * SEQUENCES)
    run.forward(Batch.of([segment(run, 1)]))
    recorded = len(blocks)
    for position in range(1, 40):
        run.forward(Batch.of([segment(run, 1, position)]))
    assert len(blocks) == recorded
    assert 0 < recorded <= 12  # of four layers with five to eight arrays each


def test_shapes_used_longest_ago_go(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr(programs, "MOST_PROGRAMS", 2)
    run = Run(load(path, 2), replayed=True, starts=[0] * SEQUENCES)
    forward = run.forward
    assert isinstance(forward, Replay)
    results = {rows: forward(Batch.of([segment(run, rows)])) for rows in (1, 2)}
    assert forward(Batch.of([segment(run, 1)])) is results[1]
    forward(Batch.of([segment(run, 3)]))
    assert forward(Batch.of([segment(run, 1)])) is results[1]
    assert forward(Batch.of([segment(run, 2)])) is not results[2]


def test_large_batches_run_eagerly(path: Path) -> None:
    run = Run(load(path, 2), replayed=True, starts=[0] * SEQUENCES)
    large, small = (Batch.of([segment(run, rows)]) for rows in (MOST_ROWS + 1, MOST_ROWS))
    assert run.forward(large) is not run.forward(large)
    assert run.forward(small) is run.forward(small)


def test_a_program_within_a_program_is_part_of_it(path: Path) -> None:
    run = Run(load(path, 2), replayed=True, starts=[0] * SEQUENCES)
    calls: list[int] = []

    def outer(batch: Batch) -> FloatArray:
        calls.append(batch.tokens.size)
        return run.forward(batch)

    program = load(path, 2).trunk.ops.program(outer)
    batch = Batch.of([segment(run, 3)])
    first = program(batch).tobytes()
    for _ in range(2):
        run.reset()
        assert program(batch).tobytes() == first
    assert calls == [3]


def test_another_thread_is_not_recorded(path: Path) -> None:
    """What it computes meanwhile is its own: neither noted, nor in the program's memory."""
    model = load(path, 2)
    mine, theirs = (
        Run(model, replayed=True, starts=[0] * SEQUENCES),
        Run(model, replayed=True, starts=[0] * SEQUENCES),
    )
    expected = Run(model, replayed=False, starts=[0] * SEQUENCES).forward(
        Batch.of([segment(mine, 2)])
    )
    found: list[bytes] = []

    def forward(batch: Batch) -> FloatArray:
        other = threading.Thread(
            target=lambda: found.append(theirs.forward(Batch.of([segment(theirs, 2)])).tobytes())
        )
        other.start()
        other.join()
        return model.trunk.forward(batch, mine.cache.kv, mine.cache.recurrent)

    program = model.trunk.ops.program(forward)
    batch = Batch.of([segment(mine, 2)])
    assert program(batch).tobytes() == expected.tobytes()
    assert found == [expected.tobytes()]
    mine.reset()
    assert program(batch).tobytes() == expected.tobytes()
    assert len(found) == 1


def test_a_function_that_fails_is_not_kept(path: Path) -> None:
    run = Run(load(path, 2), replayed=True, starts=[0] * SEQUENCES)
    batch = Batch.of([segment(run, 2)])
    bad = batch.copy(1)
    bad.tokens[0] = 10**6
    with pytest.raises(ValueError, match="ids: row 1000000"):
        run.forward(bad)
    eager = Run(load(path, 2), replayed=False, starts=[0] * SEQUENCES)
    assert run.forward(batch).tobytes() == eager.forward(batch).tobytes()


def test_arrays_are_passed_by_position(path: Path) -> None:
    run = Run(load(path, 2), replayed=True, starts=[0] * SEQUENCES)
    batch = Batch.of([segment(run, 1)])
    with pytest.raises(TypeError, match="by position, not by name: hidden"):
        run.draft(batch, hidden=np.zeros((1, 256), np.float32))  # type: ignore[call-arg]


def test_wrong_arguments_are_refused_by_number(path: Path) -> None:
    run = Run(load(path, 2), replayed=True, starts=[0] * SEQUENCES)
    batch = Batch.of([segment(run, 1)])
    hidden = np.ones((1, load(path, 2).config.hidden), np.float32)
    run.draft(batch, hidden)
    with pytest.raises(ValueError, match="argument 3 has not the shape"):
        run.draft(batch, hidden[:, :16].copy())
    with pytest.raises(ValueError, match="argument 3 must have elements of type 'f', not 'd'"):
        run.draft(batch, hidden.astype(np.float64))
    with pytest.raises(ValueError, match="argument 3 must be a C-contiguous"):
        run.draft(batch, hidden[:, ::2])
    program = _native.Program()
    program.input(np.zeros((1, 2), np.int32), ragged=True)
    backend = _native.Backend(1, _native.isas()[-1])
    with pytest.raises(ValueError, match="takes 1 arguments, not 0"):
        program.run(backend, ())
    with pytest.raises(ValueError, match="argument 0 does not fit"):
        program.run(backend, (np.zeros((1, 3), np.int32),))
    with pytest.raises(ValueError, match="argument 1 must have two axes"):
        program.input(np.zeros(3, np.int32), ragged=True)


def test_a_backend_records_one_program_at_a_time() -> None:
    backend = _native.Backend(1, _native.isas()[-1])
    backend.record(_native.Program())
    with pytest.raises(ValueError, match="is being recorded"):
        backend.record(_native.Program())
    backend.record(None)


def test_the_reference_runs_the_function_itself() -> None:
    def forward(batch: Batch) -> FloatArray:
        return batch.tokens.astype(np.float32)

    assert ReferenceOps().program(forward) is forward


def test_a_view_keeps_the_memory_of_its_array() -> None:
    arena = programs.Arena(_native.Program())
    view = arena.array((8, 4), np.float32)[2:4].T
    assert not np.shares_memory(view, arena.array((8, 4), np.float32))
    where = view.ctypes.data
    del view
    again = arena.array((8, 4), np.float32)
    assert again.ctypes.data <= where < again.ctypes.data + again.nbytes
