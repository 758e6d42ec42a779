from __future__ import annotations

import time
from typing import Any

import pytest
from rig import Rig, generated

from headlong.engine import calibrate
from headlong.engine.calibrate import ROWS, Measured, check_costs, find_costs, measure_costs
from headlong.engine.engine import recorded
from headlong.models.mtp import MTPHead
from headlong.speculation import CostTable, Fixed
from headlong.speculation.costs import CostRecord
from headlong.speculation.drafter import Drafter
from headlong.speculation.mtp import MTPDrafter
from tiny import Tiny


def drafter_of(rig: Rig) -> Drafter:
    assert rig.model.head is not None
    assert rig.cache.mtp_kv is not None
    return MTPDrafter(rig.model.head, rig.cache.mtp_kv)


def measured(rig: Rig) -> Measured[Any]:
    trunk = rig.model.trunk
    return Measured(trunk, recorded(trunk, rig.cache), drafter_of(rig), rig.cache)


def measure(rig: Rig) -> CostTable:
    return measure_costs(measured(rig))


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
    monkeypatch.setattr(calibrate, "SHORT", 0.0)
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


class Clock:
    """Time that passes only where operations are done: a second each, times the machine's speed."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.speed = 1.0
        self.head = 1.0  # beside it, what the head's operations take
        self._in_head = False
        rig.ops.before = self._pass
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        forward = MTPHead.forward

        def noted(*args: Any) -> Any:
            self._in_head = True
            try:
                return forward(*args)
            finally:
                self._in_head = False

        monkeypatch.setattr(MTPHead, "forward", noted)

    def _pass(self, name: str) -> None:
        self.now += self.speed * (self.head if self._in_head else 1.0)


def known_costs(rig: Rig) -> CostRecord:
    costs = measure(rig)
    for _ in range(100):
        costs.observe_pass(1, costs.pass_seconds(1), 1)
    record = costs.record()
    assert record.lessons == 100
    return record


def check(rig: Rig, known: CostRecord) -> CostTable | None:
    return check_costs(measured(rig), known)


@pytest.mark.parametrize("speed", [0.2, 1.0, 7.0])
def test_known_costs_are_taken_at_todays_speed(
    chain: Tiny, monkeypatch: pytest.MonkeyPatch, speed: float
) -> None:
    rig = Rig.make(chain.path)
    clock = Clock(rig, monkeypatch)
    known = known_costs(rig)
    clock.speed = speed
    monkeypatch.setattr(calibrate, "SHORT", 0.0)
    began = len(rig.ops.calls)
    costs = check(rig, known)
    assert costs is not None
    assert costs.lessons == known.lessons
    expected = CostTable.of(known)
    for rows in (1, 2, 3, 8):
        assert costs.pass_seconds(rows) == pytest.approx(speed * expected.pass_seconds(rows))
    assert costs.draft_seconds(3) == pytest.approx(speed * expected.draft_seconds(3))
    assert rig.idle
    embedded = [c.rows for c in rig.ops.calls[began:] if c.name == "embed"]
    assert embedded.count(4) == 2
    assert len(embedded) < 20  # a few passes


def test_costs_that_have_changed_their_shape_are_measured_again(
    chain: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig.make(chain.path)
    clock = Clock(rig, monkeypatch)
    known = known_costs(rig)
    clock.head = 3.0
    assert check(rig, known) is None
    costs = find_costs(measured(rig), known)
    assert costs.lessons == 0
    assert costs.draft_step_seconds() > 2 * known.draft_step
    assert rig.idle


def test_nothing_known_is_measured(chain: Tiny) -> None:
    rig = Rig.make(chain.path)
    costs = find_costs(measured(rig), None)
    assert costs.measured_rows == tuple(sorted(ROWS))
    assert costs.record().checked().lessons == 0
