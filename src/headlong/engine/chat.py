"""Conversations: messages into a prompt, an answer into reasoning, content and tool calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headlong.engine.requests import Chunk, Completion
from headlong.tokenizer import (
    ChatTemplate,
    ReasoningParser,
    RenderedPrompt,
    ToolCall,
    ToolCallParser,
    opens_reasoning,
)

Message = Mapping[str, object]
"""A message in OpenAI's form: ``role``, ``content`` and what belongs to the role."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A conversation to be answered.

    ``tools`` in OpenAI's form; ``template_kwargs`` are variables of the chat template such as
    ``enable_thinking``.
    """

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, object]] = ()
    template_kwargs: Mapping[str, object] | None = None

    def render(self, template: ChatTemplate) -> RenderedPrompt:
        """The prompt.  Raises `ParameterError` or `TemplateError` where the template refuses."""
        return template.render(
            self.messages, tools=self.tools or None, variables=self.template_kwargs
        )


@dataclass(frozen=True, slots=True)
class ChatCompletion:
    """An assistant's answer, taken apart; ``completion`` has the raw text and the figures."""

    content: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    completion: Completion


@dataclass(frozen=True, slots=True)
class ChatChunk:
    """What became certain of an answer; the last chunk has the whole ``answer``."""

    content: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    chunk: Chunk
    answer: ChatCompletion | None = None


@dataclass(frozen=True, slots=True)
class AnswerParts:
    """The three streams that an answer consists of."""

    content: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]

    def __add__(self, other: AnswerParts) -> AnswerParts:
        return AnswerParts(
            self.content + other.content,
            self.reasoning + other.reasoning,
            self.tool_calls + other.tool_calls,
        )


class AnswerReader:
    """Takes an answer apart as it comes."""

    def __init__(self, prompt: str, tools: Sequence[Mapping[str, object]]) -> None:
        self._reasoning = ReasoningParser(opens_reasoning(prompt))
        self._calls = ToolCallParser(tools) if tools else None
        self._seen = AnswerParts("", "", ())

    def feed(self, chunk: Chunk) -> ChatChunk:
        """Read a chunk of the completion; after the last one the answer is whole."""
        parts = self._read(chunk.text)
        if chunk.completion is not None:
            parts = parts + self._flush()
        self._seen = self._seen + parts
        answer = None
        if chunk.completion is not None:
            seen = self._seen
            answer = ChatCompletion(seen.content, seen.reasoning, seen.tool_calls, chunk.completion)
        return ChatChunk(parts.content, parts.reasoning, parts.tool_calls, chunk, answer)

    def _read(self, text: str) -> AnswerParts:
        delta = self._reasoning.feed(text)
        if self._calls is None:
            return AnswerParts(delta.content, delta.reasoning, ())
        calls = self._calls.feed(delta.content)
        return AnswerParts(calls.content, delta.reasoning, calls.calls)

    def _flush(self) -> AnswerParts:
        delta = self._reasoning.flush()
        if self._calls is None:
            return AnswerParts(delta.content, delta.reasoning, ())
        first, rest = self._calls.feed(delta.content), self._calls.flush()
        return AnswerParts(first.content + rest.content, delta.reasoning, first.calls + rest.calls)
