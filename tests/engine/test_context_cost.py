from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from rig import Rig

from headlong.engine.context_cost import measure_context
from headlong.models.qwen35 import Attention
from headlong.ops.batch import Batch
from headlong.speculation.costs import ContextCost
from tiny import Tiny

ROW, FURTHER = 3e-6, 1e-6


@pytest.fixture
def rig(chain: Tiny, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Attention takes so long for each position and row, and nothing else takes any time."""
    rig = Rig.make(chain.path, context=1024, sequences=2)
    now = 0.0
    attend = type(rig.ops).attend

    def timed(ops: object, qg: object, *others: object) -> object:
        nonlocal now
        batch = others[-1]
        assert isinstance(batch, Batch)
        last = int(batch.positions[-1]) + 1
        now += 1e-4 + last * (ROW + FURTHER * (batch.tokens.size - 1))
        return attend(rig.ops, qg, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(type(rig.ops), "attend", timed)
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    yield rig
    assert not rig.engine.busy


def test_the_cost_of_context_is_found_without_a_prompt(rig: Rig) -> None:
    found = measure_context(rig.model.trunk, rig.cache)
    layers = sum(isinstance(mixer, Attention) for mixer in rig.model.trunk.mixers)
    assert found.row == pytest.approx(layers * ROW)
    assert found.further_row == pytest.approx(layers * FURTHER)
    assert found.draft == pytest.approx(ROW)
    assert rig.idle
    assert not any(np.any(layer.k) or np.any(layer.v) for layer in rig.cache.kv)


def test_a_short_context_costs_nothing(chain: Tiny) -> None:
    short = Rig.make(chain.path, context=128, sequences=1)
    assert measure_context(short.model.trunk, short.cache) == ContextCost()
    assert not short.ops.calls
