"""Questions to a server on loopback, in llama.cpp's own dialect or OpenAI's, streamed."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.session import Answer, PeerError, Piece

PATIENCE: Final = 600.0
"""Seconds without a byte after which an answer is given up: a long prompt on a slow machine."""

_READY: Final = ("/health", "/v1/models")
_NOT_FOUND: Final = 404
_OK: Final = 200
_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream, and when it was read."""

    at: float
    fields: Mapping[str, Any]


class HttpSession:
    """A server that listens on a port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._openai: bool | None = None  # unknown until the first question

    def ready(self) -> bool:
        """Whether it answers and has loaded its model."""
        for path in _READY:
            try:
                with closing(self._connect(5.0)) as connection:
                    connection.request("GET", path)
                    status = connection.getresponse().status
            except (OSError, http.client.HTTPException):
                return False
            if status != _NOT_FOUND:
                return status == _OK
        return False

    def generate(self, prompt: Sequence[int], tokens: int) -> Answer:
        """Raises `PeerError` where the server does not answer so many tokens."""
        answer = None
        if not self._openai:
            answer = self._llama(prompt, tokens)
            if self._openai is None:
                self._openai = answer is None
        if answer is None:
            answer = self._completions(prompt, tokens)
        if answer.count != tokens:
            raise PeerError(f"{answer.count} tokens were answered where {tokens} were asked for")
        return answer

    def _llama(self, prompt: Sequence[int], tokens: int) -> Answer | None:
        """By ``/completion``; None if there is no such path."""
        began = time.perf_counter()
        events = self._stream(
            "/completion",
            {
                "prompt": list(prompt),
                "n_predict": tokens,
                "stream": True,
                "samplers": ["top_k"],
                "top_k": 1,
                "temperature": 0,
                "ignore_eos": True,
                "return_tokens": True,
                "cache_prompt": False,
            },
        )
        if events is None:
            return None
        pieces: list[Piece] = []
        timings: Mapping[str, int] = {}
        for event in events:
            ids = tuple(event.fields.get("tokens") or ())
            text = event.fields.get("content", "")
            # A token that ends no character has no text; the last event has no token.
            if ids or not event.fields.get("stop"):
                pieces.append(Piece(event.at - began, len(ids) or 1, ids, text))
            timings = event.fields.get("timings") or timings
        drafted, accepted = timings.get("draft_n", 0), timings.get("draft_n_accepted", 0)
        return Answer(tuple(pieces), drafted, accepted)

    def _completions(self, prompt: Sequence[int], tokens: int) -> Answer:
        """By ``/v1/completions``.  Several tokens in an event count by their ids or by usage."""
        began = time.perf_counter()
        events = self._stream(
            "/v1/completions",
            {
                "model": self._model(),
                "prompt": list(prompt),
                "max_tokens": tokens,
                "temperature": 0,
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True},
                "return_token_ids": True,
            },
        )
        if events is None:
            raise PeerError("the server has neither /completion nor /v1/completions")
        pieces: list[Piece] = []
        total = 0
        for event in events:
            usage = event.fields.get("usage") or {}
            total = usage.get("completion_tokens", total)
            for choice in event.fields.get("choices") or ():
                ids = tuple(choice.get("token_ids") or ())
                if ids or choice.get("text"):
                    text = choice.get("text") or ""
                    pieces.append(Piece(event.at - began, len(ids) or 1, ids, text))
        answer = Answer(tuple(pieces))
        if answer.tokens is None and total > answer.count:
            # Without ids only the sum is known; the first event is taken to hold one token.
            last = pieces[-1]
            more = total - answer.count
            pieces[-1] = Piece(last.seconds, last.count + more, last.tokens, last.text)
            answer = Answer(tuple(pieces))
        return answer

    def _model(self) -> str:
        with closing(self._connect(PATIENCE)) as connection:
            connection.request("GET", "/v1/models")
            listed = json.loads(connection.getresponse().read())
        return str(listed["data"][0]["id"])

    def _stream(self, path: str, body: Mapping[str, object]) -> Iterator[Event] | None:
        """Events as they arrive; None for a path that the server does not have."""
        connection = self._connect(PATIENCE)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise PeerError(f"the server gave no answer: {error}") from error
        if response.status == _NOT_FOUND:
            connection.close()
            return None
        if response.status != _OK:
            said = response.read().decode(errors="replace")[:_SHOWN]
            connection.close()
            raise PeerError(f"the server answered {response.status}: {said}")
        return _events(connection, response)

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)


def _events(
    connection: http.client.HTTPConnection, response: http.client.HTTPResponse
) -> Iterator[Event]:
    with closing(connection):
        try:
            for line in response:
                at = time.perf_counter()
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    return
                fields = json.loads(data)
                if "error" in fields:
                    raise PeerError(f"the server stopped: {fields['error']}")
                yield Event(at, fields)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise PeerError(f"the answer broke off: {error}") from error
