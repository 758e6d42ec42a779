from __future__ import annotations

import pytest
from rig import Rig, generated

from headlong.engine import calibrate
from headlong.engine.calibrate import ROWS, measure_costs
from headlong.speculation import CostTable, Fixed
from headlong.speculation.drafter import Drafter
from headlong.speculation.mtp import MTPDrafter
from tiny import Tiny


def drafter_of(rig: Rig) -> Drafter:
    assert rig.model.head is not None
    assert rig.cache.mtp_kv is not None
    return MTPDrafter(rig.model.head, rig.cache.mtp_kv)


def measure(rig: Rig) -> CostTable:
    return measure_costs(rig.model.trunk, drafter_of(rig), rig.cache)


def test_everything_that_a_choice_needs_is_measured(chain: Tiny) -> None:
    rig = Rig.make(chain.path)
    costs = measure(rig)
    assert costs.measured_rows == tuple(sorted(ROWS))
    assert costs.first_draft_measured
    assert costs.draft_step_measured
    assert 0 < costs.pass_seconds(1) <= costs.pass_seconds(8) < 10
    assert rig.idle


@pytest.mark.parametrize("context", [2, 5])
def test_a_context_shorter_than_the_longest_pass_will_do(chain: Tiny, context: int) -> None:
    rig = Rig.make(chain.path, context=context, sequences=1)
    assert measure(rig).measured_rows == tuple(sorted(ROWS))
    assert rig.idle


def test_a_slow_model_is_measured_once(chain: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig.make(chain.path)
    monkeypatch.setattr(calibrate, "BUDGET", -1.0)
    costs = measure(rig)
    passes = [
        c.rows for c in rig.ops.calls if c.name == "embed" and c.uses(rig.model.trunk.embedding)
    ]
    # A first pass that does not count; then drafts, the first over all rows of the pass before
    # them and the others chained to it, and a pass that verifies them.
    rounds = [[8, *[1] * 6, 8], [8, 1, 1, 4], [4, 2], [1]]
    assert passes == [8, *(rows for one in rounds for rows in one)]
    assert costs.measured_rows == tuple(sorted(ROWS))


def test_what_was_measured_with_leaves_no_trace_in_the_text(chain: Tiny) -> None:
    prompt = [40 + i for i in range(70)]
    rig, clean = Rig.make(chain.path, draft=Fixed(4)), Rig.make(chain.path, draft=Fixed(4))
    measure(rig)
    texts = []
    for used in (rig, clean):
        sequence = used.submit(prompt, max_tokens=40)
        used.run()
        texts.append((generated(sequence), sequence.stats.accepted_by_depth))
    assert texts[0] == texts[1]


def test_an_interrupt_gives_back_what_was_held(chain: Tiny) -> None:
    rig = Rig.make(chain.path)

    def interrupt(name: str) -> None:
        if len(rig.ops.calls) > 40:
            raise KeyboardInterrupt

    rig.ops.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        measure(rig)
    assert rig.idle
