"""Figures against schedules whose truth is known: within 2 %."""

from __future__ import annotations

import pytest
from asking import record_of
from schedules import Schedule, burst_reads, mixed, reads

from headlong.bench.metrics import measure

L = 2.6
STEPS = mixed(60, (3, 2, 3, 3, 2))
SHAPES = {
    "single": Schedule(steps=(1,) * 60),
    "burst": Schedule(steps=STEPS),
    "bundle": Schedule(steps=STEPS, form="bundle"),
    "bundle with ids": Schedule(steps=STEPS, form="bundle", ids=True),
    "bundled first": Schedule(steps=STEPS, form="bundle", first=8),
    "bundled first with ids": Schedule(steps=STEPS, form="bundle", first=8, ids=True),
    "bundled first, then single": Schedule(steps=(1,) * 60, first=8),
    "reasoning_content": Schedule(steps=STEPS, source="reasoning_content", reasoning=31),
    "reasoning": Schedule(steps=STEPS, form="bundle", source="reasoning", reasoning=30),
    "ids and no usage": Schedule(steps=STEPS, form="bundle", ids=True, usage=False),
    "timings and no usage": Schedule(steps=STEPS, form="bundle", timings=True, usage=False),
    "no counts, single events": Schedule(steps=STEPS, usage=False),
    "stalls": Schedule(steps=STEPS, stalls=((20, 0.3), (40, 0.5))),
    "fast steps": Schedule(steps=STEPS, step=0.001),
    "slow steps": Schedule(steps=STEPS, step=0.4),
    "long drafts": Schedule(steps=(9,) * 40, step=0.05),
    "stopped": Schedule(steps=STEPS, finish="stop"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_rates_are_true(name: str) -> None:
    schedule = SHAPES[name]
    metrics = measure(record_of(schedule))
    assert metrics.tokens == schedule.tokens
    assert metrics.ttft == pytest.approx(schedule.ttft)
    assert metrics.decode_rate == pytest.approx(schedule.decode_rate, rel=0.02)
    assert metrics.tpot == pytest.approx(1 / schedule.decode_rate, rel=0.02)
    assert metrics.e2e_rate == pytest.approx(schedule.e2e_rate, rel=0.02)
    assert metrics.first_tokens == schedule.first


@pytest.mark.parametrize("name", [n for n in SHAPES if "bundle" not in n and n != "reasoning"])
def test_steps_come_back_from_bursts(name: str) -> None:
    schedule = SHAPES[name]
    # Writes of a step reach the client in reads of their own; a fast server is as fast there.
    apart = min(0.0002, schedule.step / 50)
    metrics = measure(record_of(schedule, burst_reads(schedule, apart)))
    assert metrics.steps == len(schedule.steps)
    assert metrics.step_gap_p50 == pytest.approx(schedule.step, rel=0.02)
    true_step = sum(schedule.steps) / len(schedule.steps)
    assert metrics.tokens_per_step == pytest.approx(true_step, rel=0.02)
    assert metrics.decode_rate == pytest.approx(schedule.decode_rate, rel=0.02)


@pytest.mark.parametrize("name", [n for n in SHAPES if "bundle" in n or n == "reasoning"])
def test_a_bundle_is_a_step(name: str) -> None:
    schedule = SHAPES[name]
    metrics = measure(record_of(schedule))
    assert metrics.steps == len(schedule.steps)
    assert metrics.tokens_per_step == pytest.approx(
        sum(schedule.steps) / len(schedule.steps), rel=0.02
    )
    assert metrics.step_gap_p50 == pytest.approx(schedule.step)


def test_the_gaps_of_stalls_are_told() -> None:
    metrics = measure(record_of(SHAPES["stalls"]))
    assert metrics.step_gap_p50 == pytest.approx(0.02)
    assert metrics.step_gap_max == pytest.approx(0.52)
    assert metrics.step_gap_p99 is not None and metrics.step_gap_p99 > 0.3


def test_jitter_does_not_merge_steps() -> None:
    schedule = Schedule(steps=(1,) * 50, step=0.01)
    came = reads(schedule)
    shaken = [
        type(r)(r.t + (0.004 if i % 2 and i < len(came) - 2 else 0.0), r.data)
        for i, r in enumerate(came)
    ]
    assert measure(record_of(schedule, shaken)).steps == 50


def test_bursts_are_told() -> None:
    metrics = measure(record_of(SHAPES["burst"], burst_reads(SHAPES["burst"])))
    inside = sum(n - 1 for n in STEPS)
    assert metrics.burst_share == pytest.approx(inside / (inside + len(STEPS)))
    assert metrics.tokens_per_event == 1
    assert measure(record_of(SHAPES["bundle"])).tokens_per_event == pytest.approx(L, rel=0.02)


def test_a_buffered_answer_has_no_decode_rate() -> None:
    schedule = Schedule(steps=STEPS, form="buffer", timings=True)
    metrics = measure(record_of(schedule))
    assert metrics.tokens == schedule.tokens
    assert metrics.decode_rate is None and metrics.tpot is None
    assert metrics.step_gap_p50 is None
    assert metrics.e2e_rate == pytest.approx(schedule.e2e_rate, rel=0.02)
    assert metrics.server_decode_rate == pytest.approx(schedule.decode_rate)


def test_reasoning_and_answer_have_times_of_their_own() -> None:
    schedule = Schedule(steps=(1,) * 20, source="reasoning_content", reasoning=11)
    metrics = measure(record_of(schedule))
    assert metrics.ttft == metrics.ttft_reasoning == pytest.approx(0.08)
    assert metrics.ttft_content == pytest.approx(0.08 + 11 * 0.02)


def test_whose_count_is_taken() -> None:
    def source(**fields: object) -> str:
        schedule = Schedule(steps=STEPS, form="bundle", **fields)  # type: ignore[arg-type]
        return measure(record_of(schedule)).counted_by

    assert source(ids=True, timings=True) == "token ids"
    assert source(timings=True) == "usage"
    assert source(usage=False, timings=True) == "server timings"
    assert source(usage=False, logprobs=(1.0,)) == "logprobs"
    assert source(usage=False) == "events"


def test_ids_that_are_not_all_there_do_not_count() -> None:
    schedule = Schedule(steps=STEPS, form="bundle", ids=True)
    record = record_of(schedule)
    few = record.events[:10] + tuple(
        type(e)(e.t, None, e.kind, e.text, e.source) for e in record.events[10:]
    )
    broken = type(record)(
        **{name: getattr(record, name) for name in record.__slots__} | {"events": few}
    )
    metrics = measure(broken)
    assert metrics.counted_by == "usage"
    assert metrics.decode_rate == pytest.approx(schedule.decode_rate, rel=0.02)


def test_what_the_server_says_of_drafts() -> None:
    schedule = Schedule(steps=STEPS, drafts=2, timings=True)
    metrics = measure(record_of(schedule))
    assert metrics.draft_n == 120
    assert metrics.accepted == sum(STEPS) - 60
    assert metrics.acceptance == pytest.approx((sum(STEPS) - 60) / 120)
    assert metrics.server_tokens_per_step == pytest.approx(L)
    assert [d.accepted for d in metrics.by_depth] == [60, 36]


def test_the_prompt() -> None:
    schedule = Schedule(timings=True, prompt_tokens=100, cached=60)
    metrics = measure(record_of(schedule))
    assert (metrics.prompt_tokens, metrics.cached_tokens) == (100, 60)
    assert metrics.prefill_rate == pytest.approx(40 / 0.08)
    by_client = measure(record_of(Schedule(prompt_tokens=100, cached=60)))
    assert by_client.prefill_rate == pytest.approx(40 / 0.08)


def test_nothing_came() -> None:
    metrics = measure(record_of(Schedule(cut_after=0)))
    assert metrics.tokens == 0
    assert metrics.ttft is metrics.decode_rate is metrics.e2e_rate is metrics.latency is None
