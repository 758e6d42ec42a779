"""How a server's tokens reach a client, told in a line: whoever reads figures should know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from headlong.bench.events import RequestRecord
from headlong.bench.metrics import CountSource, measure

__all__ = ["Dialect", "Flow", "dialect_of"]

Flow = Literal["one per event", "one per event, in bursts", "several per event", "all at once"]
"""How tokens are laid into events."""

_SEVERAL: Final = 1.2  # tokens; above it an event, or a step, holds more than one
_RELEASE: Final = 0.5  # share of an answer in one event that was kept back on purpose
_LEAST: Final = 8  # tokens; of shorter answers nothing can be said


@dataclass(frozen=True, slots=True)
class Dialect:
    """How answers came.

    Args:
        counted_by: whose counts of tokens are used.
        flow: how tokens are laid into events; None where too little came to tell.
        tokens_per_event: mean.
        tokens_per_step: mean of what came together.
        burst_share: share of gaps between events under 1 ms.
        fields: names of the delta's fields that held text, the most frequent first.
        held_back: answers of which half or more came in one event, as a parser for tool calls or
            reasoning lets go.
        answers: how many answers this was seen in.
    """

    counted_by: CountSource
    flow: Flow | None
    tokens_per_event: float
    tokens_per_step: float | None
    burst_share: float | None
    fields: tuple[str, ...]
    held_back: int
    answers: int

    def line(self) -> str:
        """In one line."""
        how: str = self.flow or "too few to tell"
        if self.flow == "one per event, in bursts" and self.tokens_per_step:
            how = f"one per event, in bursts of {self.tokens_per_step:.1f}"
        elif self.flow == "several per event":
            how = f"{self.tokens_per_event:.1f} per event"
        kept = f" · held back in {self.held_back} of {self.answers}" if self.held_back else ""
        fields = ", ".join(self.fields) or "no text"
        return f"tokens counted by {self.counted_by} · {how} · {fields}{kept}"


def dialect_of(records: Sequence[RequestRecord]) -> Dialect | None:
    """What the records have in common; None where none brought a token."""
    seen = [(r, m) for r in records if (m := measure(r)).tokens]
    if not seen:
        return None
    sources = Counter(m.counted_by for _, m in seen)
    fields = Counter(e.source for r, _ in seen for e in r.events if e.text)
    tokens = sum(m.tokens for _, m in seen)
    events = sum(m.tokens / m.tokens_per_event for _, m in seen if m.tokens_per_event)
    per_event = tokens / events
    long = [m for _, m in seen if m.tokens >= _LEAST]
    steps = [m.tokens_per_step for m in long if m.tokens_per_step is not None]
    per_step = sum(steps) / len(steps) if steps else None
    bursts = [m.burst_share for m in long if m.burst_share is not None]
    held = sum(_held_back(r) for r, m in seen if m.tokens >= _LEAST)
    return Dialect(
        counted_by=sources.most_common(1)[0][0],
        flow=_flow(per_event, per_step, held == len(long)) if long else None,
        tokens_per_event=per_event,
        tokens_per_step=per_step,
        burst_share=sum(bursts) / len(bursts) if bursts else None,
        fields=tuple(name for name, _ in fields.most_common()),
        held_back=held,
        answers=len(seen),
    )


def _flow(per_event: float, per_step: float | None, held: bool) -> Flow:
    if held:
        return "all at once"
    if per_event > _SEVERAL:
        return "several per event"
    if per_step is not None and per_step > _SEVERAL:
        return "one per event, in bursts"
    return "one per event"


def _held_back(record: RequestRecord) -> bool:
    lengths = [len(event.text) for event in record.events]
    return max(lengths, default=0) >= _RELEASE * sum(lengths) > 0
