"""Tokens of one request turned into text as they come: UTF-8 kept whole, stop strings honoured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headlong.tokenizer import StopMatcher, Tokenizer


@dataclass(frozen=True, slots=True)
class TextPiece:
    """What some tokens added: ``text`` may lag behind the tokens, never run ahead of them."""

    text: str
    tokens: int
    stopped: bool


class TextStream:
    """Feeds tokens one by one, so that where a text ends cannot depend on how many came at once."""

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...], *, special: bool) -> None:
        self._decoder = tokenizer.stream(special=special)
        self._matcher = StopMatcher(stop)

    @property
    def stop(self) -> str | None:
        """The stop string that ended the text, if one did."""
        return self._matcher.hit

    def feed(self, tokens: Iterable[int]) -> TextPiece:
        """Take tokens up to the one that completes a stop string."""
        parts = []
        count = 0
        for token in tokens:
            parts.append(self._matcher.feed(self._decoder.feed(token)))
            count += 1
            if self._matcher.hit is not None:
                return TextPiece("".join(parts), count, stopped=True)
        return TextPiece("".join(parts), count, stopped=False)

    def flush(self) -> str:
        """What was held back, once no more tokens come."""
        if self._matcher.hit is not None:
            return ""
        return self._matcher.feed(self._decoder.flush()) + self._matcher.flush()
