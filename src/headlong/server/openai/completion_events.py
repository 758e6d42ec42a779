"""A completion from chunks: as events, or as one answer, made of the same pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from headlong.engine.requests import Chunk
from headlong.sampling import TokenLogprob
from headlong.server.openai.answer_schema import CompletionAnswer, CompletionChoice
from headlong.server.openai.answering import AnswerHead, Live, Shown, StepPieces
from headlong.server.openai.logprobs import OffsetLogprobs
from headlong.server.openai.tally import Tally
from headlong.tokenizer import Tokenizer

__all__ = ["Completed", "CompletionEvents", "WholeCompletion"]

_Reason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Completed:
    """A prompt, and what of it stands in front of its answers (`echo`)."""

    tokens: tuple[int, ...]
    echo: str = ""


class _Completions:
    """The answers to one request, ``choices`` to each prompt.

    Args:
        head: the top of the answer.
        shown: what is told besides text.
        prompts: in order.
        choices: answers per prompt.
        tokenizer: for the texts of tokens.
    """

    def __init__(
        self,
        head: AnswerHead,
        shown: Shown,
        prompts: Sequence[Completed],
        choices: int,
        tokenizer: Tokenizer,
    ) -> None:
        self._head = head
        self._shown = shown
        self._prompts = [prompt for prompt in prompts for _ in range(choices)]
        self._tokenizer = tokenizer
        self._tally = Tally([len(prompt.tokens) for prompt in prompts], choices)

    def _prompt_ids(self, index: int) -> dict[str, Any]:
        if not self._shown.token_ids:
            return {}
        return {"prompt_token_ids": list(self._prompts[index].tokens)}

    def _answer(self, choices: list[CompletionChoice], **more: Any) -> CompletionAnswer:
        return CompletionAnswer(
            **self._head.fields(), object="text_completion", choices=choices, **more
        )


class CompletionEvents(_Completions):
    """A stream."""

    def __init__(
        self,
        head: AnswerHead,
        shown: Shown,
        prompts: Sequence[Completed],
        choices: int,
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__(head, shown, prompts, choices, tokenizer)
        self._begun: set[int] = set()
        self._steps = [StepPieces(tokenizer) for _ in self._prompts]
        self._running = len(self._prompts)
        self._offsets = [OffsetLogprobs(tokenizer) for _ in self._prompts]

    def feed(self, index: int, chunk: Chunk, live: Live) -> Iterator[CompletionAnswer]:
        """The events that a chunk of answer ``index`` makes."""
        self._tally.feed(index, chunk)
        if not chunk.tokens and chunk.completion is None:
            if live.progress is not None:
                choice = CompletionChoice(index=index, text="", logprobs=None, finish_reason=None)
                yield self._event([choice], live, prompt_progress=live.progress)
            return
        text, extras = chunk.text, self._shown.extras(chunk.tokens, chunk.accepted)
        if index not in self._begun:
            self._begun.add(index)
            text = self._prompts[index].echo + text
            extras |= self._prompt_ids(index)
        reason: _Reason | None = None
        last: dict[str, Any] = {}
        if chunk.completion is not None:
            self._running -= 1
            reason = cast(_Reason, chunk.completion.finish_reason)
            if not self._running and not self._shown.usage:
                last["timings"] = self._tally.timings()
        if not (text or reason or self._shown.every_step):
            return
        logprobs = None
        if self._shown.logprobs:
            logprobs = self._offsets[index].read(chunk.logprobs)
        choice = CompletionChoice(
            index=index, text=text, logprobs=logprobs, finish_reason=reason, **extras
        )
        if self._shown.drafts:
            last["drafts"] = self._steps[index].read(chunk)
        yield self._event([choice], live, **last)

    def end(self) -> Iterator[CompletionAnswer]:
        """What follows the last answer."""
        if self._shown.usage:
            yield self._answer([], usage=self._tally.usage(0), timings=self._tally.timings())

    def _event(self, choices: list[CompletionChoice], live: Live, **more: Any) -> CompletionAnswer:
        if live.timings is not None:
            more = {"timings": dict(live.timings), **more}
        if self._shown.running_usage:
            more["usage"] = self._tally.usage(0)
        elif self._shown.usage:
            more["usage"] = None
        return self._answer(choices, **more)


class WholeCompletion(_Completions):
    """One answer."""

    def __init__(
        self,
        head: AnswerHead,
        shown: Shown,
        prompts: Sequence[Completed],
        choices: int,
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__(head, shown, prompts, choices, tokenizer)
        self._choices = [_Parts(prompt.echo) for prompt in self._prompts]

    def feed(self, index: int, chunk: Chunk) -> None:
        """Add a chunk of answer ``index``."""
        self._tally.feed(index, chunk)
        parts = self._choices[index]
        parts.text.append(chunk.text)
        parts.tokens += chunk.tokens
        parts.logprobs += chunk.logprobs
        if chunk.completion is not None:
            parts.finish_reason = cast(_Reason, chunk.completion.finish_reason)

    def answer(self) -> CompletionAnswer:
        """The answer, once every choice has ended."""
        return self._answer(
            [self._choice(index, parts) for index, parts in enumerate(self._choices)],
            usage=self._tally.usage(0),
            timings=self._tally.timings(),
        )

    def _choice(self, index: int, parts: _Parts) -> CompletionChoice:
        logprobs = None
        if self._shown.logprobs:
            logprobs = OffsetLogprobs(self._tokenizer).read(parts.logprobs)
        return CompletionChoice(
            index=index,
            text="".join(parts.text),
            logprobs=logprobs,
            finish_reason=parts.finish_reason,
            **self._shown.extras(parts.tokens, None),
            **self._prompt_ids(index),
        )


class _Parts:
    """One answer as far as it has come."""

    def __init__(self, echo: str) -> None:
        self.text = [echo]
        self.tokens: list[int] = []
        self.logprobs: list[TokenLogprob] = []
        self.finish_reason: _Reason | None = None
