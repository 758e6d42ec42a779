"""From samples to rows: medians, intervals, speed-ups, costs of steps, and what they say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple, TypeVar

from headlong.bench.intervals import Estimate, flags, median_estimate
from headlong.bench.metrics import Metrics
from headlong.bench.record import Arm, Band, Cache, DepthCount, Prompt, Row, Sample
from headlong.bench.speedup import Pair, diagnosis, speedup_of

__all__ = ["RowKey", "by_key", "metrics_of", "pairs_of", "plain_arm", "summarise"]

_N = TypeVar("_N", int, float)

_MISS: Final = 0.10
"""Share by which a predicted speed-up may miss before it is flagged."""
_COLD: Final = 0.10
"""Share of a cold prompt that may come from a cache: chat templates begin alike."""


class RowKey(NamedTuple):
    """What samples of one row have in common."""

    arm: str
    workload: str
    concurrency: int
    cache: Cache


def summarise(
    arms: Sequence[Arm],
    prompts: Sequence[Prompt],
    samples: Iterable[Sample],
    *,
    bandwidth: float | None = None,
    idle_watts: float | None = None,
) -> tuple[Row, ...]:
    """Rows in the order of workloads, concurrency, cache and arms.

    Args:
        bandwidth: GB/s of the memory that the model lies in, for the roofline.
        idle_watts: power of the machine doing nothing.
    """
    groups: dict[RowKey, list[Sample]] = defaultdict(list)
    for one in samples:
        groups[RowKey(one.arm, one.workload, one.concurrency, one.cache)].append(one)
    known = {arm.name: number for number, arm in enumerate(arms)}
    order = {prompt.name: number for number, prompt in enumerate(prompts)}
    ordered = sorted(
        groups, key=lambda k: (order[k.workload], k.concurrency, k.cache, known[k.arm])
    )
    by_name = {arm.name: arm for arm in arms}
    rows = {key: _measured(key, groups[key], idle_watts) for key in ordered}
    for key, row in rows.items():
        arm = by_name[key.arm]
        base = plain_arm(arm, arms)
        update: dict[str, object] = {}
        if arm.draft == 0 and key.concurrency == 1:
            update["roofline"] = _roofline(row, arm, bandwidth)
        if base is not None and base.name != arm.name:
            other = key._replace(arm=base.name)
            if other in rows:
                update |= _against(row, rows[other], arm, groups[key], groups[other])
        rows[key] = row.model_copy(update=update)
    return tuple(rows.values())


def plain_arm(arm: Arm, arms: Iterable[Arm]) -> Arm | None:
    """The arm of the same server without drafts; None where it was not measured."""
    return next((one for one in arms if one.server == arm.server and one.draft == 0), None)


def _measured(key: RowKey, samples: list[Sample], idle_watts: float | None) -> Row:
    good = [one for one in samples if one.problem is None]
    rates = _values(good, lambda one: one.decode_rate)
    rounds = _rounds(good)
    drafted, accepted = _sum(good, lambda s: s.draft_n), _sum(good, lambda s: s.accepted)
    joules, net, per_accepted = _energy(rounds, idle_watts)
    return Row(
        **key._asdict(),
        samples=len(samples),
        failed=len(samples) - len(good),
        tokens=_count(_values(good, lambda one: one.tokens)),
        prompt_tokens=_count(_values(good, lambda one: one.prompt_tokens)),
        cached_tokens=_count(_values(good, lambda one: one.cached_tokens)),
        decode=_band(rates),
        e2e=_band(_values(good, lambda one: one.e2e_rate)),
        total=_band([rate for one in rounds if (rate := _total(one)) is not None]),
        ttft=_band(_values(good, lambda one: one.ttft)),
        prefill=_band(_values(good, lambda one: one.prefill_rate)),
        step_gap_p50=_median(_values(good, lambda one: one.step_gap_p50)),
        step_gap_p99=_median(_values(good, lambda one: one.step_gap_p99)),
        tokens_per_step=_tokens_per_step(good),
        acceptance=accepted / drafted if drafted and accepted is not None else None,
        by_depth=_by_depth(good),
        speedup=None,
        speedup_e2e=None,
        step_cost=None,
        predicted=None,
        break_even=None,
        joules_per_token=joules,
        joules_per_token_idle_off=net,
        joules_per_accepted=per_accepted,
        roofline=None,
        diagnosis=None,
        flags=(*_counts(key, samples, good), *flags(rates)),
    )


def _counts(key: RowKey, samples: list[Sample], good: list[Sample]) -> list[str]:
    """What is wrong with the answers themselves."""
    found = []
    if len(good) < len(samples):
        reason = next(one.problem for one in samples if one.problem is not None)
        found.append(f"{len(samples) - len(good)} of {len(samples)} do not count: {reason}")
    cached = [
        one.cached_tokens / one.prompt_tokens
        for one in good
        if one.cached_tokens is not None and one.prompt_tokens
    ]
    if cached and key.cache == "cold" and max(cached) > _COLD:
        found.append(f"not cold: {100 * max(cached):.0f} % of a prompt came from a cache")
    if cached and key.cache == "warm" and min(cached) < _COLD:
        found.append("not warm: the prompt was read again")
    if any(one.counted_by == "events" for one in good):
        found.append("the server counts no tokens: each event was taken for one")
    return found


def pairs_of(samples: Iterable[Sample], plain: Iterable[Sample]) -> list[Pair]:
    """Sound answers of two arms to the same question, in the same repeat."""
    before = {
        (one.workload, one.concurrency, one.cache, one.repeat, one.stream): one
        for one in plain
        if one.problem is None
    }
    found = []
    for one in samples:
        other = before.get((one.workload, one.concurrency, one.cache, one.repeat, one.stream))
        if other is not None and one.problem is None:
            found.append(Pair(metrics_of(other), metrics_of(one)))
    return found


def metrics_of(sample: Sample) -> Metrics:
    """A sample's figures as they were measured, without those that a record does not keep."""
    return Metrics(
        tokens=sample.tokens,
        counted_by="usage",
        prompt_tokens=sample.prompt_tokens,
        cached_tokens=sample.cached_tokens,
        ttft=sample.ttft,
        ttft_content=None,
        ttft_reasoning=None,
        latency=sample.latency,
        prefill_rate=sample.prefill_rate,
        first_tokens=1,
        decode_rate=sample.decode_rate,
        e2e_rate=sample.e2e_rate,
        tpot=1 / sample.decode_rate if sample.decode_rate else None,
        steps=sample.steps,
        step_gap_p50=sample.step_gap_p50,
        step_gap_p99=sample.step_gap_p99,
        step_gap_max=None,
        tokens_per_step=sample.tokens_per_step,
        tokens_per_event=None,
        burst_share=None,
        server_tokens_per_step=sample.server_tokens_per_step,
        server_decode_rate=None,
        draft_n=sample.draft_n,
        accepted=sample.accepted,
        acceptance=None,
        by_depth=(),
    )


def _against(
    row: Row, plain: Row, arm: Arm, samples: list[Sample], plain_samples: list[Sample]
) -> dict[str, object]:
    """What a mode gains over plain decoding, and what its steps cost."""
    found = speedup_of(pairs_of(samples, plain_samples), arm.draft)
    if found is None:
        return {}
    told = list(row.flags)
    if found.mismatch is not None and abs(found.mismatch) > _MISS:
        told.append(f"{found.observed.value:.2f}x where L / C predicts {found.predicted:.2f}x")
    return {
        "speedup": _of(found.observed),
        "speedup_e2e": _of(found.end_to_end),
        "tokens_per_step": found.tokens_per_step,
        "step_cost": found.step_cost,
        "predicted": found.predicted,
        "break_even": _break_even(plain, row),
        "diagnosis": diagnosis(found),
        "flags": tuple(told),
    }


def _break_even(plain: Row, row: Row) -> float | None:
    """Tokens after which the later first token is made up for; None where that never happens."""
    if not (plain.decode and row.decode and plain.ttft and row.ttft):
        return None
    late = row.ttft.value - plain.ttft.value
    saved = 1 / plain.decode.value - 1 / row.decode.value
    if late <= 0 < saved:
        return 0.0
    return late / saved if saved > 0 else None


def _roofline(row: Row, arm: Arm, bandwidth: float | None) -> float | None:
    if row.decode is None or arm.file is None or not bandwidth or not arm.local:
        return None
    return row.decode.value * arm.file.step_bytes / (bandwidth * 1e9)


def _tokens_per_step(samples: list[Sample]) -> float | None:
    """By the server's counts where every answer has them, else as seen in the stream."""
    told = _values(samples, lambda one: one.server_tokens_per_step)
    if told and len(told) == len(samples):
        return _median(told)
    return _median(_values(samples, lambda one: one.tokens_per_step))


def _by_depth(samples: list[Sample]) -> tuple[DepthCount, ...]:
    drafted: dict[int, int] = defaultdict(int)
    accepted: dict[int, int] = defaultdict(int)
    for one in samples:
        for depth in one.by_depth:
            drafted[depth.depth] += depth.drafted
            accepted[depth.depth] += depth.accepted
    return tuple(
        DepthCount(depth=depth, drafted=drafted[depth], accepted=accepted[depth])
        for depth in sorted(drafted)
    )


def _rounds(samples: list[Sample]) -> list[list[Sample]]:
    """Samples that were measured at the same time."""
    found: dict[int, list[Sample]] = defaultdict(list)
    for one in samples:
        found[one.turn].append(one)
    return list(found.values())


def _total(samples: list[Sample]) -> float | None:
    """Tokens per second of all streams of a round, from the first request to the last text."""
    ends = [one.sent_at + one.latency for one in samples if one.latency is not None]
    if len(ends) < len(samples):
        return None
    seconds = max(ends) - min(one.sent_at for one in samples)
    return sum(one.tokens for one in samples) / seconds if seconds > 0 else None


def _energy(
    rounds: list[list[Sample]], idle_watts: float | None
) -> tuple[float | None, float | None, float | None]:
    """Joules per token, the same without idle power, and per accepted draft."""
    whole, net, accepted = [], [], []
    for one in rounds:
        joules, tokens = one[0].joules, sum(sample.tokens for sample in one)
        if joules is None or not tokens:
            continue
        whole.append(joules / tokens)
        if idle_watts is not None:
            seconds = max(sample.latency or 0.0 for sample in one)
            net.append((joules - idle_watts * seconds) / tokens)
        taken = _sum(one, lambda sample: sample.accepted)
        if taken:
            accepted.append(joules / taken)
    return _median(whole), _median(net), _median(accepted)


def _values(samples: Iterable[Sample], value: Callable[[Sample], _N | None]) -> list[_N]:
    found = (value(one) for one in samples)
    return [one for one in found if one is not None]


def _sum(samples: Iterable[Sample], value: Callable[[Sample], int | None]) -> int | None:
    found = _values(samples, value)
    return sum(found) if found else None


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _count(values: Sequence[int]) -> int | None:
    return round(median(values)) if values else None


def _band(values: Sequence[float]) -> Band | None:
    return _of(median_estimate(values)) if values else None


def _of(estimate: Estimate) -> Band:
    return Band(value=estimate.value, low=estimate.low, high=estimate.high)


def by_key(rows: Iterable[Row]) -> Mapping[RowKey, Row]:
    """Rows by what they are of."""
    return {RowKey(row.arm, row.workload, row.concurrency, row.cache): row for row in rows}
