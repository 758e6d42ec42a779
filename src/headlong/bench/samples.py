"""One answer as a record keeps it: what came and when, and the figures of it."""

from __future__ import annotations

from headlong.bench.events import Depth, RequestRecord
from headlong.bench.metrics import Metrics, measure
from headlong.bench.record import Cache, DepthCount, Prompt, Sample
from headlong.bench.workloads import Workload

__all__ = ["prompt_of", "sample_of"]

_DIGITS = 6
"""Of seconds: a clock that is read in Python is no finer."""


def prompt_of(workload: Workload) -> Prompt:
    """A workload for the record; its text stays in the program, known by its hash."""
    return Prompt(
        name=workload.name,
        category=workload.category,
        sha256=workload.sha256,
        max_tokens=workload.max_tokens,
        exact_length=workload.exact_length,
        temperature=workload.temperature,
        seed=workload.seed,
    )


def sample_of(
    record: RequestRecord,
    workload: Workload,
    *,
    arm: str,
    concurrency: int = 1,
    cache: Cache = "cold",
    repeat: int = 0,
    stream: int = 0,
    turn: int = 0,
    joules: float | None = None,
) -> Sample:
    """Make a sample of what a request brought.

    Args:
        arm: name of the server and mode.
        concurrency: streams of the round, of which this is number `stream`.
        cache: whether the prompt was to be found in the prefix cache.
        repeat: number of the repetition; pairs with the same of other arms.
        turn: number of the round in the order of measuring.
        joules: used during the round.
    """
    figures = measure(record)
    return Sample(
        arm=arm,
        workload=workload.name,
        sha256=record.prompt_sha256,
        concurrency=concurrency,
        cache=cache,
        repeat=repeat,
        stream=stream,
        turn=turn,
        sent_at=record.sent_at,
        problem=_problem(record, figures, workload),
        t=tuple(round(event.t, _DIGITS) for event in record.events),
        n=tuple(event.tokens for event in record.events),
        text=record.full_text,
        finish_reason=record.finish_reason,
        counted_by=figures.counted_by,
        tokens=figures.tokens,
        prompt_tokens=figures.prompt_tokens,
        cached_tokens=figures.cached_tokens,
        ttft=_seconds(figures.ttft),
        latency=_seconds(figures.latency),
        decode_rate=figures.decode_rate,
        e2e_rate=figures.e2e_rate,
        prefill_rate=figures.prefill_rate,
        step_gap_p50=_seconds(figures.step_gap_p50),
        step_gap_p99=_seconds(figures.step_gap_p99),
        steps=figures.steps,
        tokens_per_step=figures.tokens_per_step,
        server_tokens_per_step=figures.server_tokens_per_step,
        draft_n=figures.draft_n,
        accepted=figures.accepted,
        by_depth=tuple(map(_depth, figures.by_depth)),
        joules=joules,
    )


def _problem(record: RequestRecord, figures: Metrics, workload: Workload) -> str | None:
    """Why an answer does not count: rates of unequal lengths are not to be compared."""
    if record.error is not None:
        return record.error
    wanted = workload.max_tokens
    # Without counts an event may hold any number of tokens: the length cannot be checked.
    if workload.exact_length and figures.counted_by != "events" and figures.tokens != wanted:
        return f"{figures.tokens} tokens instead of {wanted} (finish: {record.finish_reason})"
    if figures.tokens == 0:
        return "an answer without tokens"
    return None


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _depth(one: Depth) -> DepthCount:
    return DepthCount(depth=one.depth, drafted=one.drafted, accepted=one.accepted)
