"""What one request brought: events stamped when their bytes were read, and the server's own counts.

A `RequestRecord` is raw material: nothing in it is computed from times.  `metrics.py` makes figures
of it, `record.py` keeps it in files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Depth", "Event", "Kind", "RequestRecord", "ServerTimings", "TokenLogprob", "Usage"]

Kind = Literal["content", "reasoning", "tool"]
"""What an event's text is part of."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token of the answer as the server scored it, with its likeliest alternatives."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()

    @property
    def margin(self) -> float | None:
        """Difference of the two best log-probabilities; None where fewer than two were told."""
        best = sorted((value for _, value in self.top), reverse=True)
        return best[0] - best[1] if len(best) > 1 else None


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event that carried text, token ids or both.

    Args:
        t: seconds from sending the request to the socket read that completed the event.
        tokens: how many tokens it says it holds (by ids, logprobs or a running count); None where
            it does not say.
        kind: what the text is part of.
        text: the text; may be empty where a token's bytes are held back.
        source: the delta's field that held the text, e.g. ``reasoning_content``.
        token_ids: the ids, where the server sends them.
        logprobs: the tokens' log-probabilities, where they were asked for and sent.
    """

    t: float
    tokens: int | None
    kind: Kind
    text: str
    source: str = "content"
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of the answer's ``usage`` object."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Depth:
    """Drafts made and accepted at one depth, which counts from 1."""

    depth: int
    drafted: int
    accepted: int


@dataclass(frozen=True, slots=True)
class ServerTimings:
    """What the server measured itself, in llama-server's terms; None where it does not say.

    Args:
        prompt_n: prompt tokens that were computed; ``cache_n`` more came from a cache.
        predicted_n: tokens generated, in ``predicted_ms``.
        draft_n: draft tokens made, of which ``draft_n_accepted`` were accepted.
        draft_rounds: verify steps.
        by_depth: acceptance by depth.
    """

    cache_n: int | None = None
    prompt_n: int | None = None
    prompt_ms: float | None = None
    predicted_n: int | None = None
    predicted_ms: float | None = None
    predicted_per_second: float | None = None
    draft_n: int | None = None
    draft_n_accepted: int | None = None
    draft_rounds: int | None = None
    by_depth: tuple[Depth, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request from sending to its end, whatever the end was.

    Args:
        workload: name of the prompt or shape.
        prompt_sha256: hash of the prompt without its salt, so that runs can be paired.
        mode: name of the speculation mode that was asked for.
        server: base URL.
        model: the model id that was asked for.
        params: the request's body without its prompt.
        sent_at: wall-clock time of sending, seconds since 1970.
        events: in the order of arrival.
        ended: seconds from sending to the end of the answer (``[DONE]``, or the connection's end).
        finished: seconds to the event with the finish reason; None where there was none.
        usage: None where the server sends none.
        timings: None where the server sends none.
        status: HTTP status; None where no answer came.
        finish_reason: as sent; None where the stream broke off before.
        error: what went wrong, in one sentence; None for a whole answer.
        keep_alives: comments that the server sent.
        dropped: fields that were asked for, refused, and left out of ``params``.
    """

    workload: str
    prompt_sha256: str
    mode: str
    server: str
    model: str
    params: Mapping[str, object]
    sent_at: float
    events: tuple[Event, ...] = ()
    ended: float = 0.0
    finished: float | None = None
    usage: Usage | None = None
    timings: ServerTimings | None = None
    status: int | None = None
    finish_reason: str | None = None
    error: str | None = None
    keep_alives: int = 0
    dropped: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the answer came whole."""
        return self.error is None

    @property
    def text(self) -> str:
        """The answer's text without the reasoning."""
        return "".join(event.text for event in self.events if event.kind == "content")

    @property
    def full_text(self) -> str:
        """Reasoning, answer and tool calls in the order of arrival."""
        return "".join(event.text for event in self.events)

    @property
    def token_ids(self) -> tuple[int, ...] | None:
        """All ids; None unless every event that has text of its own has ids too."""
        if not any(event.token_ids for event in self.events):
            return None
        if any(event.text and not event.token_ids and event.tokens != 0 for event in self.events):
            return None
        return tuple(i for event in self.events for i in event.token_ids)
