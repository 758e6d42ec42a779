"""Where a request's time went, as llama-server tells it, and what speculation did."""

from __future__ import annotations

from headlong.engine.requests import Completion, Request, Timings
from headlong.speculation import SpeculationStats

__all__ = ["completion_timings", "running_timings", "timings_json"]


def completion_timings(completion: Completion) -> dict[str, object]:
    """The ``timings`` object of a finished answer."""
    return timings_json(completion.timings, completion.stats)


def running_timings(request: Request) -> dict[str, object]:
    """The ``timings`` object of an answer that still runs: a snapshot."""
    sequence, timing = request.sequence, request.sequence.timing
    first, last = timing.first_token, timing.last_token
    timings = Timings(
        prompt=max(0, min(sequence.computed, sequence.prompt_length) - sequence.cached),
        prompt_seconds=max(0.0, first - timing.prefill_began) if first else 0.0,
        predicted=request.kept,
        predicted_seconds=max(0.0, last - first),
        cached=sequence.cached,
    )
    return timings_json(timings, sequence.stats)


def timings_json(timings: Timings, stats: SpeculationStats) -> dict[str, object]:
    """llama-server's fields, and ours after them.  Times of one token are means.

    ``predicted_ms`` runs from the first token to the last, as `Timings` has it, so that rates count
    one token less than ``predicted_n``.
    """
    prompt_rate, rate = timings.prompt_per_second, timings.predicted_per_second
    return {
        "cache_n": timings.cached,
        "prompt_n": timings.prompt,
        "prompt_ms": _ms(timings.prompt_seconds),
        "prompt_per_token_ms": _per_token(prompt_rate),
        "prompt_per_second": round(prompt_rate, 3),
        "predicted_n": timings.predicted,
        "predicted_ms": _ms(timings.predicted_seconds),
        "predicted_per_token_ms": _per_token(rate),
        "predicted_per_second": round(rate, 3),
        "draft_n": stats.draft_n,
        "draft_n_accepted": stats.draft_n_accepted,
        "draft_rounds": stats.rounds,
        "tokens_per_round": stats.tokens_per_round,
        "acceptance_by_depth": acceptance_by_depth(stats),
    }


def acceptance_by_depth(stats: SpeculationStats) -> list[dict[str, int]]:
    """Drafts made and accepted at depth 1, 2, ..."""
    pairs = zip(stats.draft_n_by_depth, stats.accepted_by_depth, strict=True)
    return [
        {"depth": depth, "drafted": drafted, "accepted": accepted}
        for depth, (drafted, accepted) in enumerate(pairs, 1)
    ]


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)


def _per_token(per_second: float) -> float:
    return round(1000 / per_second, 3) if per_second > 0 else 0.0
