from __future__ import annotations

import pytest
from asking import record_of
from schedules import Schedule, burst_reads, mixed

from headlong.bench.metrics import Metrics, measure
from headlong.bench.speedup import Pair, diagnosis, speedup_of

PLAIN = Schedule(steps=(1,) * 156, step=0.02, timings=True)


def measured(schedule: Schedule) -> Metrics:
    return measure(record_of(schedule, burst_reads(schedule)))


def with_drafts(pattern: tuple[int, ...], cost: float, *, timings: bool = True) -> Metrics:
    n = max(pattern) - 1
    steps = mixed(60, pattern)
    return measured(Schedule(steps=steps, step=0.02 * cost, drafts=n, timings=timings))


@pytest.mark.parametrize("timings", [True, False])
def test_the_parts_of_a_speedup(timings: bool) -> None:
    pair = Pair(measured(PLAIN), with_drafts((3, 2, 3, 3, 2), 1.76, timings=timings))
    found = speedup_of([pair] * 3, 2)
    assert found is not None
    assert found.tokens_per_step == pytest.approx(2.6, rel=0.02)
    assert found.step_cost == pytest.approx(1.76, rel=0.02)
    assert found.predicted == pytest.approx(2.6 / 1.76, rel=0.02)
    assert found.observed.value == pytest.approx(2.6 / 1.76, rel=0.02)
    assert found.mismatch == pytest.approx(0, abs=0.02)
    assert found.end_to_end.value < found.observed.value
    assert found.pairs == 3


@pytest.mark.parametrize(
    ("pattern", "cost", "words"),
    [
        ((3, 2, 3, 3, 2), 1.76, "drafts good (L 2.60), step dear (C 1.76): bound by the engine"),
        ((3, 2, 3, 3, 2), 1.2, "near what this draft length can give"),
        ((1, 1, 1, 3, 2), 1.3, "bound by the drafts"),
        ((1, 1, 1, 3, 2), 2.0, "drafts slow this server down"),
        ((3, 2, 3, 3, 2), 1.5, "a sweep over draft lengths tells"),
        ((1, 1), 1.0, "no draft was accepted"),
    ],
)
def test_what_limits_it_is_said(pattern: tuple[int, ...], cost: float, words: str) -> None:
    found = speedup_of([Pair(measured(PLAIN), with_drafts(pattern, cost))], max(pattern) - 1)
    assert found is not None
    assert words in diagnosis(found)


def test_a_prediction_that_fails_is_told() -> None:
    stalled = measured(
        Schedule(steps=mixed(60, (3, 2)), drafts=2, timings=True, stalls=((9, 0.6), (20, 0.6)))
    )
    found = speedup_of([Pair(measured(PLAIN), stalled)], 2)
    assert found is not None
    assert "look for stalls" in diagnosis(found)


def test_what_cannot_be_known() -> None:
    buffered = measured(Schedule(steps=(3,) * 20, form="buffer"))
    assert speedup_of([Pair(measured(PLAIN), buffered)]) is None
    assert speedup_of([]) is None
