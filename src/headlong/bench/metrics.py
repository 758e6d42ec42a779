"""Figures of one answer, from its events.

Gaps between events are never taken for tokens: a server may send a step's tokens in a burst of
events, or all in one.  Definitions:

- TTFT: first event with text of any kind, from sending.
- decode tok/s: ``(N - n_first) / (t_last - t_first)``, where n_first tokens came with the first
  event.  TPOT is its inverse, one value per answer.
- end-to-end tok/s: ``N / t_last``.
- a step: events closer than ``max(2 ms, 15 % of the median step gap)`` belong together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from headlong.bench.events import Depth, Event, Kind, RequestRecord, ServerTimings
from headlong.bench.intervals import percentile

__all__ = ["Arrival", "CountSource", "Metrics", "count", "measure", "merge_steps"]

_STEP_FLOOR: Final = 0.002  # seconds; events of one step are written within this
_STEP_SHARE: Final = 0.15
_ROUNDS: Final = 8  # the threshold settles after two or three
_BURST: Final = 0.001

CountSource = Literal["token ids", "usage", "server timings", "logprobs", "events"]
"""Where the number of tokens was taken from; ``events`` takes each for one token."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures of one answer; times in seconds, rates per second, None where not measurable.

    Args:
        tokens: output tokens N.
        counted_by: where N comes from.
        prompt_tokens: of the whole prompt, of which ``cached_tokens`` were not computed.
        ttft: time to the first text of any kind.
        ttft_content: time to the first text of the answer itself.
        ttft_reasoning: time to the first reasoning.
        latency: time to the last text.
        prefill_rate: prompt tokens computed per second, by the server's timings or else by TTFT.
        first_tokens: tokens of the first event.
        decode_rate: tokens per second after the first event.
        e2e_rate: tokens per second from sending to the last text.
        tpot: seconds per token after the first event.
        steps: merged groups of events after the first.
        step_gap_p50: median time between steps, p99 and longest beside it.
        tokens_per_step: L as the client sees it: tokens after the first step by steps after it.
        tokens_per_event: N by events.
        burst_share: share of gaps between events under 1 ms.
        server_tokens_per_step: L by the server's counts of drafts.
        server_decode_rate: tokens per second as the server tells them.
        acceptance: accepted drafts by drafts made.
        by_depth: drafts and acceptances by depth.
    """

    tokens: int
    counted_by: CountSource
    prompt_tokens: int | None
    cached_tokens: int | None
    ttft: float | None
    ttft_content: float | None
    ttft_reasoning: float | None
    latency: float | None
    prefill_rate: float | None
    first_tokens: int
    decode_rate: float | None
    e2e_rate: float | None
    tpot: float | None
    steps: int
    step_gap_p50: float | None
    step_gap_p99: float | None
    step_gap_max: float | None
    tokens_per_step: float | None
    tokens_per_event: float | None
    burst_share: float | None
    server_tokens_per_step: float | None
    server_decode_rate: float | None
    draft_n: int | None
    accepted: int | None
    acceptance: float | None
    by_depth: tuple[Depth, ...]


@dataclass(frozen=True, slots=True)
class Arrival:
    """Tokens that came together: an event, or events merged into a step."""

    t: float
    tokens: float


def measure(record: RequestRecord) -> Metrics:
    """The figures of one answer; an answer that broke off has those of what came."""
    arrivals, total, source = count(record)
    first = arrivals[0] if arrivals else None
    last = _last(record, arrivals, source)
    after = total - (first.tokens if first else 0)
    span = last - first.t if first is not None and last is not None else 0.0
    rate = after / span if span > 0 and after > 0 else None
    steps = merge_steps(arrivals)
    gaps = [b.t - a.t for a, b in pairwise(steps)]
    raw_gaps = [b.t - a.t for a, b in pairwise(arrivals)]
    timings, usage = record.timings, record.usage
    ttft = _first_text(record, None)
    cached = usage.cached_tokens if usage is not None else None
    if cached is None and timings is not None:
        cached = timings.cache_n
    prompt = usage.prompt_tokens if usage is not None else None
    made = timings.draft_n if timings is not None else None
    accepted = timings.draft_n_accepted if timings is not None else None
    return Metrics(
        tokens=total,
        counted_by=source,
        prompt_tokens=prompt,
        cached_tokens=cached,
        ttft=ttft,
        ttft_content=_first_text(record, "content"),
        ttft_reasoning=_first_text(record, "reasoning"),
        latency=last,
        prefill_rate=_prefill_rate(record, prompt, cached, ttft),
        first_tokens=round(first.tokens) if first else 0,
        decode_rate=rate,
        e2e_rate=total / last if last else None,
        tpot=1 / rate if rate is not None else None,
        steps=len(gaps),
        step_gap_p50=percentile(gaps, 0.5) if gaps else None,
        step_gap_p99=percentile(gaps, 0.99) if gaps else None,
        step_gap_max=max(gaps) if gaps else None,
        tokens_per_step=(total - steps[0].tokens) / len(gaps) if gaps else None,
        tokens_per_event=total / len(arrivals) if arrivals else None,
        burst_share=sum(g < _BURST for g in raw_gaps) / len(raw_gaps) if raw_gaps else None,
        server_tokens_per_step=_server_tokens_per_step(timings),
        server_decode_rate=timings.predicted_per_second if timings is not None else None,
        draft_n=made,
        accepted=accepted,
        acceptance=accepted / made if made and accepted is not None else None,
        by_depth=timings.by_depth if timings is not None else (),
    )


def count(record: RequestRecord) -> tuple[list[Arrival], int, CountSource]:
    """Tokens by event, how many in all, and by whose count.

    The total is taken from token ids, usage, server timings, logprobs or the number of events, in
    that order.  Where events do not say what they hold, and are not as many as tokens, the total is
    shared among them by the length of their texts.
    """
    events = [event for event in record.events if event.text or event.tokens]
    total, source = _total(record, events)
    told = sum(event.tokens or 0 for event in events)
    if told == total or (told and source == "token ids"):
        shares = [float(event.tokens or 0) for event in events]
    elif len(events) == total:
        shares = [1.0] * total
    else:
        length = sum(len(event.text) for event in events)
        shares = [total * len(event.text) / length if length else 0.0 for event in events]
    arrivals = [Arrival(event.t, share) for event, share in zip(events, shares, strict=True)]
    return arrivals, total, source


def _total(record: RequestRecord, events: Sequence[Event]) -> tuple[int, CountSource]:
    ids = record.token_ids
    usage, timings = record.usage, record.timings
    told = usage.completion_tokens if usage is not None else None
    # Ids that fall short of the usage by more than an end-of-answer token were not all sent.
    if ids and (told is None or abs(told - len(ids)) <= 1):
        return len(ids), "token ids"
    if told is not None:
        return told, "usage"
    if timings is not None and timings.predicted_n is not None:
        return timings.predicted_n, "server timings"
    scored = sum(len(event.logprobs) for event in events)
    if scored:
        return scored, "logprobs"
    return sum(1 for event in events if event.text), "events"


def _last(record: RequestRecord, arrivals: Sequence[Arrival], source: CountSource) -> float | None:
    """When the last token came: that which ends an answer has no text, but is in most counts."""
    if not arrivals:
        return None
    counts_end = source in ("usage", "server timings") and record.finish_reason == "stop"
    if counts_end and record.finished is not None:
        return record.finished
    return arrivals[-1].t


def merge_steps(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Arrivals that came together as one, at the time of the first.

    Closer than ``max(2 ms, 15 % of the median step gap)`` belongs together.  On a server whose
    steps are themselves faster than 2 ms, half of the mean gap stands for the 2 ms: gaps inside a
    burst are far below it, gaps between steps above.
    """
    gaps = [b.t - a.t for a, b in pairwise(arrivals)]
    if not gaps:
        return list(arrivals)
    floor = min(_STEP_FLOOR, sum(gaps) / len(gaps) / 2)
    threshold = floor
    for _ in range(_ROUNDS):
        between = [gap for gap in gaps if gap > threshold]
        if not between:
            break
        wider = max(floor, _STEP_SHARE * percentile(between, 0.5))
        if wider == threshold:
            break
        threshold = wider
    steps: list[Arrival] = [arrivals[0]]
    for arrival, gap in zip(arrivals[1:], gaps, strict=True):
        if gap > threshold:
            steps.append(arrival)
        else:
            steps[-1] = Arrival(steps[-1].t, steps[-1].tokens + arrival.tokens)
    return steps


def _first_text(record: RequestRecord, kind: Kind | None) -> float | None:
    times = (e.t for e in record.events if e.text and (kind is None or e.kind == kind))
    return next(times, None)


def _prefill_rate(
    record: RequestRecord, prompt: int | None, cached: int | None, ttft: float | None
) -> float | None:
    timings = record.timings
    if timings is not None and timings.prompt_n and timings.prompt_ms:
        return 1000 * timings.prompt_n / timings.prompt_ms
    if prompt is None or not ttft or prompt <= (cached or 0):
        return None
    return (prompt - (cached or 0)) / ttft


def _server_tokens_per_step(timings: ServerTimings | None) -> float | None:
    """L by the server: all tokens but the first, which the prompt's pass gave, by verify steps."""
    if timings is None or timings.draft_n_accepted is None or not timings.predicted_n:
        return None
    after = timings.predicted_n - 1
    steps = after - timings.draft_n_accepted
    return after / steps if steps > 0 else None
