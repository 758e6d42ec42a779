from __future__ import annotations

import pytest
from asking import record_of
from schedules import Schedule, burst_reads, mixed

from headlong.bench.dialects import dialect_of

STEPS = mixed(30, (3, 2, 3, 3, 2))


@pytest.mark.parametrize(
    ("schedule", "line"),
    [
        (Schedule(steps=(1,) * 30), "tokens counted by usage · one per event · content"),
        (
            Schedule(steps=STEPS, ids=True),
            "tokens counted by token ids · one per event, in bursts of 2.6 · content",
        ),
        (
            Schedule(steps=STEPS, form="bundle", usage=False, timings=True, source="reasoning"),
            "tokens counted by server timings · 2.5 per event · reasoning",
        ),
        (
            Schedule(steps=STEPS, form="buffer"),
            "tokens counted by usage · all at once · content · held back in 1 of 1",
        ),
        (
            Schedule(steps=STEPS, first=100, form="bundle"),
            "tokens counted by usage · 5.7 per event · content · held back in 1 of 1",
        ),
        (Schedule(steps=(1,)), "tokens counted by usage · too few to tell · content"),
    ],
    ids=["single", "burst", "bundle", "buffer", "released", "short"],
)
def test_dialects_are_told(schedule: Schedule, line: str) -> None:
    dialect = dialect_of([record_of(schedule, burst_reads(schedule))])
    assert dialect is not None
    if "released" in line or schedule.first == 100:
        assert dialect.held_back == 1
    else:
        assert dialect.line() == line


def test_the_field_that_held_most_comes_first() -> None:
    record = record_of(Schedule(steps=STEPS, source="reasoning_content", reasoning=60))
    dialect = dialect_of([record])
    assert dialect is not None and dialect.fields == ("reasoning_content", "content")


def test_nothing_is_no_dialect() -> None:
    assert dialect_of([]) is None
    assert dialect_of([record_of(Schedule(cut_after=0))]) is None
