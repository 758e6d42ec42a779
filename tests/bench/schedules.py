"""Answers with known timing: what a server would write, and what is true about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from headlong.bench.sse import Read

Form = Literal["burst", "bundle", "buffer"]


@dataclass(frozen=True)
class Write:
    """Bytes that leave the server at a time, seconds after it got the request."""

    t: float
    data: bytes


@dataclass(frozen=True)
class Schedule:
    """An answer of steps.

    ``steps`` are tokens per verify step after the first token; ``form`` is how a step leaves the
    server: an event per token back to back, one event for all, or nothing until the end.
    """

    prefill: float = 0.08
    step: float = 0.02
    steps: tuple[int, ...] = (1,) * 20
    first: int = 1
    form: Form = "burst"
    source: str = "content"
    reasoning: int = 0
    """So many of the first tokens are reasoning, in ``source``; the others are in ``content``."""
    ids: bool = False
    usage: bool = True
    timings: bool = False
    drafts: int = 0
    """Draft length of the timings; tokens of a step beyond the first were accepted."""
    stalls: tuple[tuple[int, float], ...] = ()
    """(step, seconds): so much longer before that step."""
    cut_after: int | None = None
    """The connection breaks after so many writes."""
    finish: str | None = "length"
    done: bool = True
    comments: int = 0
    words: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    """Margin of the two best, by token; none by default."""
    prompt_tokens: int = 40
    cached: int = 0

    @property
    def tokens(self) -> int:
        return self.first + sum(self.steps)

    @property
    def times(self) -> list[float]:
        """When the first token and each step's tokens exist."""
        late = dict(self.stalls)
        times = [self.prefill]
        for number in range(len(self.steps)):
            times.append(times[-1] + self.step + late.get(number, 0.0))
        return times

    # --- What is true

    @property
    def ttft(self) -> float:
        return self.times[-1] if self.form == "buffer" else self.prefill

    @property
    def decode_rate(self) -> float:
        return sum(self.steps) / (self.times[-1] - self.prefill)

    @property
    def e2e_rate(self) -> float:
        return self.tokens / self.times[-1]

    # --- What is written

    def word(self, index: int) -> str:
        return self.words[index] if index < len(self.words) else f"w{index:03d} "

    def writes(self) -> Iterator[Write]:
        """In order; everything after ``cut_after`` is missing."""
        everything = list(self._writes())
        yield from everything[: self.cut_after]

    def _writes(self) -> Iterator[Write]:
        for _ in range(self.comments):
            yield Write(self.prefill / 2, b": still here\n\n")
        yield Write(self.times[0], _event({"choices": [_choice({"role": "assistant"})]}))
        index = 0
        groups = [self.first, *self.steps]
        if self.form == "buffer":
            yield Write(self.times[-1], self._delta(range(self.tokens)))
        else:
            for t, size in zip(self.times, groups, strict=True):
                mine = range(index, index + size)
                index += size
                bundled = self.form == "bundle" or (t == self.times[0] and self.first > 1)
                parts = [mine] if bundled else [range(i, i + 1) for i in mine]
                for part in parts:
                    yield Write(t, self._delta(part))
        end = self.times[-1]
        if self.finish:
            yield Write(end, _event({"choices": [{**_choice({}), "finish_reason": self.finish}]}))
        tail: dict[str, Any] = {"choices": []}
        if self.usage:
            tail["usage"] = self._usage()
        if self.timings:
            tail["timings"] = self._timings()
        if self.usage or self.timings:
            yield Write(end, _event(tail))
        if self.done:
            yield Write(end, b"data: [DONE]\n\n")

    def _delta(self, tokens: Sequence[int]) -> bytes:
        reasoning = [i for i in tokens if i < self.reasoning]
        content = [i for i in tokens if i >= self.reasoning]
        delta: dict[str, Any] = {}
        if reasoning:
            delta[self.source] = "".join(map(self.word, reasoning))
        if content:
            name = "content" if self.reasoning else self.source
            delta[name] = "".join(map(self.word, content))
        choice = _choice(delta)
        if self.ids:
            choice["token_ids"] = [1000 + i for i in tokens]
        if self.logprobs:
            choice["logprobs"] = {"content": [self._logprob(i) for i in tokens]}
        return _event({"choices": [choice]})

    def _logprob(self, index: int) -> dict[str, Any]:
        margin = self.logprobs[index] if index < len(self.logprobs) else 5.0
        top = [
            {"token": self.word(index), "logprob": -0.1},
            {"token": "other", "logprob": -0.1 - margin},
        ]
        return {"token": self.word(index), "logprob": -0.1, "top_logprobs": top}

    def _usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }

    def _timings(self) -> dict[str, Any]:
        accepted = sum(size - 1 for size in self.steps) if self.drafts else 0
        seconds = self.times[-1] - self.prefill
        return {
            "cache_n": self.cached,
            "prompt_n": self.prompt_tokens - self.cached,
            "prompt_ms": 1000 * self.prefill,
            "predicted_n": self.tokens,
            "predicted_ms": 1000 * seconds,
            "predicted_per_second": self.decode_rate,
            "draft_n": self.drafts * len(self.steps),
            "draft_n_accepted": accepted,
            "draft_rounds": len(self.steps),
            "acceptance_by_depth": [
                {
                    "depth": depth,
                    "drafted": len(self.steps),
                    "accepted": sum(size > depth for size in self.steps),
                }
                for depth in range(1, self.drafts + 1)
            ],
        }


def reads(schedule: Schedule) -> list[Read]:
    """What a client would read from a line without delay, one read per time."""
    joined: dict[float, bytes] = {}
    for write in schedule.writes():
        joined[write.t] = joined.get(write.t, b"") + write.data
    return [Read(t, data) for t, data in joined.items()]


def burst_reads(schedule: Schedule, apart: float = 0.0002) -> list[Read]:
    """Every write a read of its own, those of a step a little apart."""
    found: list[Read] = []
    for write in schedule.writes():
        t = max(write.t, found[-1].t + apart if found else 0.0)
        found.append(Read(t, write.data))
    return found


def mixed(count: int, pattern: Sequence[int]) -> tuple[int, ...]:
    """Tokens per step, in turn from the pattern."""
    return tuple(pattern[i % len(pattern)] for i in range(count))


def _choice(delta: dict[str, Any]) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": None}


def _event(data: dict[str, Any]) -> bytes:
    whole = {"id": "x", "object": "chat.completion.chunk", "model": "mock", **data}
    return b"data: " + json.dumps(whole).encode() + b"\n\n"


__all__ = ["Schedule", "Write", "burst_reads", "mixed", "reads", "replace"]
