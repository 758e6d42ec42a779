"""Takes an answer apart as it comes: reasoning, content, and calls in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headlong.engine.requests import Chunk
from headlong.tokenizer import (
    ReasoningParser,
    Tokenizer,
    ToolCallParser,
    ToolCallPiece,
    opens_reasoning,
)

__all__ = ["ChatDelta", "ChatReader"]


@dataclass(frozen=True, slots=True)
class ChatDelta:
    """What became certain of an answer."""

    content: str = ""
    reasoning: str = ""
    calls: tuple[ToolCallPiece, ...] = ()


class ChatReader:
    """Reads one answer.

    Args:
        tokenizer: to count tokens of reasoning.
        prompt: its end tells whether the answer begins within reasoning.
        tools: those offered, in OpenAI's form; calls are looked for where there are any.
        split: whether reasoning is set apart; if not, it is content, tags and all.
        parallel: whether there may be several calls; if not, those after the first are left out.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: str,
        tools: Sequence[Mapping[str, object]],
        *,
        split: bool = True,
        parallel: bool = True,
    ) -> None:
        opened = opens_reasoning(prompt)
        self._reasoning = ReasoningParser(opened)
        self._calls = ToolCallParser(tools, piecewise=True) if tools else None
        self._split = split
        self._parallel = parallel
        self._raw = ""  # of the text so far, what has not come out; where reasoning is not split
        self._count = _ReasoningCount(tokenizer, opened)
        self._called = False

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of reasoning so far, tags included."""
        return self._count.count

    def feed(self, chunk: Chunk) -> ChatDelta:
        """Read a chunk; the last one ends the answer."""
        self._count.feed(chunk.tokens)
        delta = self._feed(chunk.text, final=False)
        if chunk.completion is not None:
            rest = self._feed("", final=True)
            delta = ChatDelta(
                delta.content + rest.content,
                delta.reasoning + rest.reasoning,
                delta.calls + rest.calls,
            )
        self._called = self._called or bool(delta.calls)
        return delta

    def finish_reason(self, finish_reason: str) -> str:
        """Why the answer ended, in OpenAI's words."""
        return "tool_calls" if self._called and finish_reason == "stop" else finish_reason

    def _feed(self, text: str, *, final: bool) -> ChatDelta:
        parts = self._reasoning.flush() if final else self._reasoning.feed(text)
        reasoning, before = parts.reasoning, ""
        if not self._split:
            # Content is the end of the text, so what stands before it is reasoning and its tags.
            self._raw += text
            reasoning = ""
            if parts.content or self._reasoning.reasoning or final:
                before = self._raw[: len(self._raw) - len(parts.content)]
                self._raw = ""
        if self._calls is None:
            return ChatDelta(before + parts.content, reasoning)
        calls = self._calls.feed(parts.content)
        content, pieces = calls.content, calls.pieces
        if final:
            rest = self._calls.flush()
            content, pieces = content + rest.content, pieces + rest.pieces
        if not self._parallel:
            pieces = tuple(piece for piece in pieces if piece.index == 0)
        return ChatDelta(before + content, reasoning, pieces)


class _ReasoningCount:
    """Counts the tokens up to the end of reasoning."""

    def __init__(self, tokenizer: Tokenizer, opened: bool) -> None:
        self._decoder = tokenizer.stream()
        self._parser = ReasoningParser(opened)
        self._seen = 0
        self._over = False
        self.count = 0

    def feed(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            if self._over:
                return
            self._seen += 1
            delta = self._parser.feed(self._decoder.feed(token))
            if self._parser.reasoning:
                self.count = self._seen
            elif self.count or delta.content:
                # The token that closes the block belongs to it.
                self.count = self._seen if self.count else 0
                self._over = True
