"""What a stream says, whichever of the field's dialects it speaks.

Fields read: ``delta.content``, ``delta.reasoning_content``, ``delta.reasoning``,
``delta.tool_calls``, ``text`` (completions), ``content`` (llama-server's own); token ids as
``token_ids`` (vLLM) or ``tokens`` (llama-server); ``usage``, ``timings``, ``logprobs``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from headlong.bench.events import Depth, Event, Kind, ServerTimings, TokenLogprob, Usage
from headlong.bench.sse import SentEvent

__all__ = ["Answer", "read_answer", "read_timings", "read_usage"]

_FIELDS: Final[tuple[tuple[str, Kind], ...]] = (
    ("reasoning_content", "reasoning"),
    ("reasoning", "reasoning"),
    ("content", "content"),
)
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """The events of a stream that brought tokens, and what it said about them.

    Args:
        finished: when the finish reason came, seconds; None where it did not.
        error: the server's own words, or what cannot be read; None where all is well.
    """

    events: tuple[Event, ...]
    usage: Usage | None
    timings: ServerTimings | None
    finish_reason: str | None
    finished: float | None
    error: str | None


def read_answer(sent: Iterable[SentEvent]) -> Answer:
    """Take the events of one stream apart; choice 0 is read."""
    reader = _Reader()
    for one in sent:
        reader.feed(one)
    return Answer(
        tuple(reader.events),
        reader.usage,
        reader.timings,
        reader.finish_reason,
        reader.finished,
        reader.error,
    )


class _Reader:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.usage: Usage | None = None
        self.timings: ServerTimings | None = None
        self.finish_reason: str | None = None
        self.finished: float | None = None
        self.error: str | None = None
        self._counted = 0  # by a running count

    def feed(self, sent: SentEvent) -> None:
        try:
            data = json.loads(sent.data)
        except (ValueError, RecursionError):
            self.error = self.error or f"an event that is not JSON: {sent.data[:_SHOWN]!r}"
            return
        if not isinstance(data, dict):
            self.error = self.error or f"an event that is no JSON object: {sent.data[:_SHOWN]!r}"
            return
        if data.get("error"):
            self.error = self.error or error_text(data)
            return
        self.usage = read_usage(data.get("usage")) or self.usage
        self.timings = read_timings(data.get("timings")) or self.timings
        running = self._running_count(data)
        choice = _choice(data)
        if choice is None:
            return
        self._tokens(sent.t, choice, running)
        reason = choice.get("finish_reason") or choice.get("stop_type")
        if isinstance(reason, str) and reason != "none":
            self.finish_reason, self.finished = reason, sent.t

    def _running_count(self, data: Mapping[str, object]) -> int | None:
        """Tokens since the last event, where events count them (usage or timings so far)."""
        usage, timings = read_usage(data.get("usage")), read_timings(data.get("timings"))
        if usage is not None:
            count: int | None = usage.completion_tokens
        else:
            count = timings.predicted_n if timings is not None else None
        if count is None or count < self._counted:
            return None
        new, self._counted = count - self._counted, count
        return new

    def _tokens(self, t: float, choice: Mapping[str, object], running: int | None) -> None:
        ids = _ids(choice)
        logprobs = _logprobs(choice.get("logprobs"))
        tokens = len(ids) or len(logprobs) or running
        pieces = list(_pieces(choice))
        if not pieces:
            if not tokens:
                return
            # A token whose bytes are held back, such as the first half of a character.
            pieces = [(self.events[-1].kind if self.events else "content", "content", "")]
        for place, (kind, source, text) in enumerate(pieces):
            if place == 0:
                self.events.append(Event(t, tokens, kind, text, source, ids, logprobs))
            else:  # one step that ends the reasoning and begins the answer
                self.events.append(Event(t, 0 if tokens else None, kind, text, source))


def _choice(data: Mapping[str, object]) -> Mapping[str, object] | None:
    choices = data.get("choices")
    if isinstance(choices, list):
        mine = [c for c in choices if isinstance(c, dict) and c.get("index", 0) == 0]
        return mine[0] if mine else None
    return data if "content" in data else None  # llama-server's /completion


def _pieces(choice: Mapping[str, object]) -> Iterable[tuple[Kind, str, str]]:
    """Kind, field and text of what a delta brings; a text told under two names counts once."""
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        text = choice.get("text", choice.get("content"))
        if isinstance(text, str) and text:
            yield "content", "text", text
        return
    told: set[tuple[Kind, str]] = set()
    for name, kind in _FIELDS:
        text = delta.get(name)
        if isinstance(text, str) and text and (kind, text) not in told:
            told.add((kind, text))
            yield kind, name, text
    calls = delta.get("tool_calls")
    written = "".join(_call_text(call) for call in calls) if isinstance(calls, list) else ""
    if written:
        yield "tool", "tool_calls", written


def _call_text(call: object) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return ""
    parts = (function.get("name"), function.get("arguments"))
    return "".join(part for part in parts if isinstance(part, str))


def _ids(choice: Mapping[str, object]) -> tuple[int, ...]:
    for name in ("token_ids", "tokens"):
        ids = choice.get(name)
        if isinstance(ids, list) and ids and all(isinstance(i, int) for i in ids):
            return tuple(ids)
    return ()


def _logprobs(data: object) -> tuple[TokenLogprob, ...]:
    if not isinstance(data, dict):
        return ()
    content = data.get("content")
    if isinstance(content, list):
        return tuple(one for item in content if (one := _logprob(item)) is not None)
    tokens, values, tops = (data.get(k) for k in ("tokens", "token_logprobs", "top_logprobs"))
    if not isinstance(tokens, list) or not isinstance(values, list):
        return ()
    several = tops if isinstance(tops, list) and len(tops) == len(tokens) else [None] * len(tokens)
    return tuple(
        TokenLogprob(str(token), _number(value) or 0.0, _top_map(top))
        for token, value, top in zip(tokens, values, several, strict=False)
    )


def _logprob(item: object) -> TokenLogprob | None:
    if not isinstance(item, dict):
        return None
    value = _number(item.get("logprob"))
    if value is None:
        return None
    tops = item.get("top_logprobs")
    alternatives = tuple(
        (str(top.get("token", "")), number)
        for top in (tops if isinstance(tops, list) else ())
        if isinstance(top, dict) and (number := _number(top.get("logprob"))) is not None
    )
    return TokenLogprob(str(item.get("token", "")), value, alternatives)


def _top_map(top: object) -> tuple[tuple[str, float], ...]:
    if not isinstance(top, dict):
        return ()
    pairs = ((str(token), _number(value)) for token, value in top.items())
    return tuple((token, value) for token, value in pairs if value is not None)


def read_usage(data: object) -> Usage | None:
    """A ``usage`` object; None for anything else."""
    if not isinstance(data, dict):
        return None
    prompt, completion = _count(data, "prompt_tokens"), _count(data, "completion_tokens")
    if prompt is None or completion is None:
        return None
    before, after = data.get("prompt_tokens_details"), data.get("completion_tokens_details")
    return Usage(
        prompt,
        completion,
        _count(before, "cached_tokens"),
        _count(after, "reasoning_tokens"),
    )


def read_timings(data: object) -> ServerTimings | None:
    """llama-server's ``timings`` object; None for anything else."""
    if not isinstance(data, dict) or not data:
        return None
    depths = data.get("acceptance_by_depth")
    by_depth = tuple(
        Depth(depth, drafted, accepted)
        for item in (depths if isinstance(depths, list) else ())
        if (depth := _count(item, "depth")) is not None
        and (drafted := _count(item, "drafted")) is not None
        and (accepted := _count(item, "accepted")) is not None
    )
    return ServerTimings(
        cache_n=_count(data, "cache_n"),
        prompt_n=_count(data, "prompt_n"),
        prompt_ms=_number(data.get("prompt_ms")),
        predicted_n=_count(data, "predicted_n"),
        predicted_ms=_number(data.get("predicted_ms")),
        predicted_per_second=_number(data.get("predicted_per_second")),
        draft_n=_count(data, "draft_n"),
        draft_n_accepted=_count(data, "draft_n_accepted"),
        draft_rounds=_count(data, "draft_rounds"),
        by_depth=by_depth,
    )


def _count(data: object, name: str) -> int | None:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def error_text(data: object) -> str:
    """The words of an error in OpenAI's form, or of what comes near."""
    error = data.get("error", data) if isinstance(data, dict) else data
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or json.dumps(error)
    return str(error)[: 2 * _SHOWN]
