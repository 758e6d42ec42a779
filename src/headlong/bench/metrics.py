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

from dataclasses import dataclass
from typing import Literal

from headlong.bench.events import Depth, RequestRecord

__all__ = ["CountSource", "Metrics", "measure"]

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
    draft_n: int | None
    accepted: int | None
    acceptance: float | None
    by_depth: tuple[Depth, ...]


def measure(record: RequestRecord) -> Metrics:
    """The figures of one answer; an answer that broke off has those of what came."""
    raise NotImplementedError
