"""A chat completion from chunks: as events, or as one answer.

Both are made of the same pieces, so that the pieces of a stream joined are the whole answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from headlong.engine.requests import Chunk
from headlong.sampling import TokenLogprob
from headlong.server.openai.answer_schema import (
    ChatChoice,
    ChatCompletionAnswer,
    ChatCompletionEvent,
    ChatEventChoice,
    ChatMessage,
    Delta,
    DeltaFunction,
    DeltaToolCall,
    FinishReason,
    Function,
    ToolCallAnswer,
    Usage,
)
from headlong.server.openai.answering import AnswerHead, Live, Shown, StepPieces
from headlong.server.openai.chat_reader import ChatDelta, ChatReader
from headlong.server.openai.logprobs import chat_logprobs
from headlong.server.openai.tally import Tally
from headlong.tokenizer import Tokenizer, ToolCallPiece

__all__ = ["ChatEvents", "WholeChat"]


class _Chat:
    """The answers to one request, each with its reader.

    Args:
        head: the top of the answer.
        shown: what is told besides text.
        prompt: the prompt's tokens.
        readers: one for each answer.
        tokenizer: for the texts of tokens.
    """

    def __init__(
        self,
        head: AnswerHead,
        shown: Shown,
        prompt: Sequence[int],
        readers: Sequence[ChatReader],
        tokenizer: Tokenizer,
    ) -> None:
        self._head = head
        self._shown = shown
        self._prompt = prompt
        self._readers = readers
        self._tokenizer = tokenizer
        self._tally = Tally([len(prompt)], len(readers))

    def _usage(self) -> Usage:
        return self._tally.usage(sum(reader.reasoning_tokens for reader in self._readers))

    def _read(self, index: int, chunk: Chunk) -> ChatDelta:
        self._tally.feed(index, chunk)
        return self._readers[index].feed(chunk)

    def _finish_reason(self, index: int, finish_reason: str) -> FinishReason:
        return cast(FinishReason, self._readers[index].finish_reason(finish_reason))


class ChatEvents(_Chat):
    """A stream."""

    def __init__(
        self,
        head: AnswerHead,
        shown: Shown,
        prompt: Sequence[int],
        readers: Sequence[ChatReader],
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__(head, shown, prompt, readers, tokenizer)
        self._begun: set[int] = set()
        self._steps = [StepPieces(tokenizer) for _ in readers]
        self._running = len(readers)

    def feed(self, index: int, chunk: Chunk, live: Live) -> Iterator[ChatCompletionEvent]:
        """The events that a chunk of answer ``index`` makes."""
        delta = self._read(index, chunk)
        if not chunk.tokens and chunk.completion is None:
            if live.progress is not None:
                yield self._event(index, Delta(), live=live, prompt_progress=live.progress)
            return
        if index not in self._begun:
            first: dict[str, Any] = {}
            if self._shown.token_ids and not self._begun:
                first["prompt_token_ids"] = list(self._prompt)
            self._begun.add(index)
            yield self._event(index, Delta(role="assistant", content=""), **first)
        deltas = list(_deltas(delta))
        if not deltas and chunk.tokens and self._shown.every_step:
            deltas = [Delta()]
        for place, one in enumerate(deltas):
            # What is told of the step is told once.
            yield self._event(index, one, chunk if place == 0 else None, live=live)
        if chunk.completion is not None:
            self._running -= 1
            reason = self._finish_reason(index, chunk.completion.finish_reason)
            last: dict[str, Any] = {}
            if not self._running and not self._shown.usage:
                last["timings"] = self._tally.timings()
            yield self._event(index, Delta(), finish_reason=reason, **last)

    def end(self) -> Iterator[ChatCompletionEvent]:
        """What follows the last answer."""
        if self._shown.usage:
            yield ChatCompletionEvent(
                **self._head.fields(),
                object="chat.completion.chunk",
                choices=[],
                usage=self._usage(),
                timings=self._tally.timings(),
            )

    def _event(
        self,
        index: int,
        delta: Delta,
        step: Chunk | None = None,
        *,
        live: Live | None = None,
        finish_reason: FinishReason | None = None,
        **more: Any,
    ) -> ChatCompletionEvent:
        logprobs = None
        extras: dict[str, Any] = {}
        if step is not None:
            extras = self._shown.extras(step.tokens, step.accepted)
            if self._shown.logprobs:
                logprobs = chat_logprobs(self._tokenizer, step.logprobs)
            if self._shown.drafts:
                more["drafts"] = self._steps[index].read(step)
        if live is not None and live.timings is not None:
            more["timings"] = dict(live.timings)
        if self._shown.running_usage:
            more["usage"] = self._usage()
        elif self._shown.usage:
            more["usage"] = None
        choice = ChatEventChoice(
            index=index, delta=delta, logprobs=logprobs, finish_reason=finish_reason, **extras
        )
        return ChatCompletionEvent(
            **self._head.fields(), object="chat.completion.chunk", choices=[choice], **more
        )


class WholeChat(_Chat):
    """One answer."""

    def __init__(
        self,
        head: AnswerHead,
        shown: Shown,
        prompt: Sequence[int],
        readers: Sequence[ChatReader],
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__(head, shown, prompt, readers, tokenizer)
        self._choices = [_Parts() for _ in readers]

    def feed(self, index: int, chunk: Chunk) -> None:
        """Add a chunk of answer ``index``."""
        parts = self._choices[index]
        parts.add(self._read(index, chunk))
        parts.tokens += chunk.tokens
        parts.logprobs += chunk.logprobs
        if chunk.completion is not None:
            parts.finish_reason = self._finish_reason(index, chunk.completion.finish_reason)

    def answer(self) -> ChatCompletionAnswer:
        """The answer, once every choice has ended."""
        more: dict[str, Any] = {}
        if self._shown.token_ids:
            more["prompt_token_ids"] = list(self._prompt)
        return ChatCompletionAnswer(
            **self._head.fields(),
            object="chat.completion",
            choices=[self._choice(index, parts) for index, parts in enumerate(self._choices)],
            usage=self._usage(),
            timings=self._tally.timings(),
            **more,
        )

    def _choice(self, index: int, parts: _Parts) -> ChatChoice:
        assert parts.finish_reason is not None, "the answer has ended"
        return ChatChoice(
            index=index,
            message=parts.message(),
            logprobs=(
                chat_logprobs(self._tokenizer, parts.logprobs) if self._shown.logprobs else None
            ),
            finish_reason=parts.finish_reason,
            **self._shown.extras(parts.tokens, None),
        )


class _Parts:
    """One answer as far as it has come."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[_Call] = []
        self.tokens: list[int] = []
        self.logprobs: list[TokenLogprob] = []
        self.finish_reason: FinishReason | None = None

    def add(self, delta: ChatDelta) -> None:
        self.content.append(delta.content)
        self.reasoning.append(delta.reasoning)
        for piece in delta.calls:
            if piece.name is not None:
                self.calls.append(_Call(piece.name, piece.id or ""))
            self.calls[-1].arguments.append(piece.arguments_json)

    def message(self) -> ChatMessage:
        content, reasoning = "".join(self.content), "".join(self.reasoning)
        more: dict[str, Any] = {"reasoning_content": reasoning} if reasoning else {}
        if self.calls:
            more["tool_calls"] = [call.whole() for call in self.calls]
        return ChatMessage(
            role="assistant",
            content=None if self.calls and not content else content,
            refusal=None,
            **more,
        )


class _Call:
    """One call as far as it has come."""

    def __init__(self, name: str, own: str) -> None:
        self.name = name
        self.id = own
        self.arguments: list[str] = []

    def whole(self) -> ToolCallAnswer:
        function = Function(name=self.name, arguments="".join(self.arguments))
        return ToolCallAnswer(id=self.id, type="function", function=function)


def _deltas(delta: ChatDelta) -> Iterator[Delta]:
    """What became certain, in the order in which it was written.

    A piece of a call is a delta of its own, since some clients look at the first of a list only.
    """
    if delta.reasoning:
        yield Delta(reasoning_content=delta.reasoning)
    if delta.content:
        yield Delta(content=delta.content)
    for piece in delta.calls:
        yield Delta(tool_calls=[_call_delta(piece)])


def _call_delta(piece: ToolCallPiece) -> DeltaToolCall:
    if piece.name is None:
        function = DeltaFunction(arguments=piece.arguments_json)
        return DeltaToolCall(index=piece.index, function=function)
    function = DeltaFunction(name=piece.name, arguments=piece.arguments_json)
    return DeltaToolCall(index=piece.index, id=piece.id, type="function", function=function)
