"""State after rejected drafts is, byte for byte, the state of never having drafted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headlong.cache.memory import Cache
from headlong.cache.pages import Lease
from headlong.engine.load import LoadedModel, load_model
from headlong.ops.batch import PAGE, Batch, FloatArray, Segment
from headlong.ops.cpu import CpuOps, CpuWeight
from headlong.progress import Silent
from tiny import TinySpec, write_tiny

CONTEXT = 192
MAX_DRAFT = 7


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel[CpuWeight]:
    path = tmp_path_factory.mktemp("rollback") / "tiny.gguf"
    write_tiny(path, TinySpec())
    return load_model(Path(path), CpuOps(2), Silent())


class Run:
    """One sequence driven by hand: the test decides which drafts count as accepted."""

    def __init__(self, model: LoadedModel[CpuWeight]) -> None:
        self.model = model
        self.cache = Cache(
            model.config, context=CONTEXT, sequences=2, kv_type="f16", max_draft=MAX_DRAFT, mtp=True
        )
        self.cache.lease()  # the run is not in slot 0, nor at page 0
        self.lease: Lease = self.cache.lease()
        self.length = 0
        self.fold = 0

    def feed(self, tokens: list[int], final: int, accepted: int) -> FloatArray:
        segment = Segment(
            self.lease.slot,
            self.length,
            np.array(tokens, np.int32),
            self.lease.reserve(self.length + len(tokens)),
            final,
            self.fold,
        )
        hidden = self.model.trunk.forward(Batch.of([segment]), self.cache.kv, self.cache.recurrent)
        self.length += final + accepted
        self.fold = accepted
        return hidden[: final + accepted]

    def state(self) -> Iterator[bytes]:
        pages = self.lease.reserve(self.length)
        for layer in self.cache.recurrent:
            yield layer.s[self.lease.slot].tobytes()
            yield layer.conv[self.lease.slot].tobytes()
        for kv in self.cache.kv:
            for array in (kv.k, kv.v):
                by_position = array[pages].swapaxes(1, 2).reshape(len(pages) * PAGE, -1)
                yield by_position[: self.length].tobytes()


ROUNDS = st.lists(
    st.integers(0, MAX_DRAFT).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(rounds=ROUNDS, prompt=st.integers(1, 70), seed=st.integers(0, 2**16))
def test_state_after_rollback_is_the_state_without_drafts(
    model: LoadedModel[CpuWeight], rounds: list[tuple[int, int]], prompt: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    drafted, plain = Run(model), Run(model)
    text = rng.integers(0, 300, prompt).tolist()
    expected = [plain.feed([t], 1, 0) for t in text]
    got = [drafted.feed(text, prompt, 0)]
    for length, accepted in rounds:
        tokens = rng.integers(0, 300, 1 + length).tolist()
        got.append(drafted.feed(tokens, 1, accepted))
        expected += [plain.feed([t], 1, 0) for t in tokens[: 1 + accepted]]
    last = int(rng.integers(0, 300))  # one more plain row folds what was accepted
    got.append(drafted.feed([last], 1, 0))
    expected.append(plain.feed([last], 1, 0))
    assert np.concatenate(got).tobytes() == np.concatenate(expected).tobytes()
    assert list(drafted.state()) == list(plain.state())
