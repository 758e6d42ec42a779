"""From a request for a chat completion to what the engine is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headlong.errors import HeadlongError, ParameterError
from headlong.llm import LLM
from headlong.server.api_error import error_of, invalid
from headlong.server.openai.answering import Pair, choices_of
from headlong.server.openai.chat_reader import ChatReader
from headlong.server.openai.chat_schema import ChatCompletionRequest
from headlong.server.openai.conversation import render
from headlong.server.openai.form import Form, form_of
from headlong.server.openai.tool_use import ToolUse, tool_use_of
from headlong.tokenizer import ChatTemplate, Tokenizer, opens_reasoning

__all__ = ["AskedChat", "ask_chat"]


@dataclass(frozen=True, slots=True)
class AskedChat:
    """A prompt, how its answers are drawn, and how they are read."""

    prompt: str
    pairs: list[Pair]
    tool_use: ToolUse
    split: bool

    @property
    def tokens(self) -> list[int]:
        """The prompt's tokens."""
        return self.pairs[0][0]

    def readers(self, tokenizer: Tokenizer) -> list[ChatReader]:
        """A reader for each answer."""
        return [
            ChatReader(
                tokenizer,
                self.prompt,
                self.tool_use.tools,
                split=self.split,
                parallel=self.tool_use.parallel,
            )
            for _ in self.pairs
        ]


def ask_chat(
    request: ChatCompletionRequest, llm: LLM, template: ChatTemplate, reasoning_format: str
) -> AskedChat:
    """What a request asks for.

    ``reasoning_format`` is the server's setting, for requests that do not say.  Raises `ApiError`
    naming the field at fault.  May take a tenth of a second.
    """
    tool_use = tool_use_of(request)
    form = _form(request, tool_use)
    prompt = render(request, tool_use, template)
    try:
        tokens = llm.tokenizer.encode(prompt.text, literal=prompt.literal)
    except HeadlongError as error:
        raise error_of(error, "messages") from None
    wanted = request.reasoning_format
    split = (reasoning_format if wanted in (None, "auto") else wanted) != "none"
    pairs = choices_of(
        request,
        llm,
        [tokens],
        logprobs=_logprobs(request),
        form=form,
        reasoning=opens_reasoning(prompt.text),
    )
    return AskedChat(prompt.text, pairs, tool_use, split)


def _form(request: ChatCompletionRequest, tool_use: ToolUse) -> Form | None:
    """What the answer keeps to: calls that must be, or the form asked for, or calls instead."""
    form, calls = form_of(request), tool_use.grammar()
    if calls is not None:
        return Form(calls, "tools")
    if form is None or not tool_use.tools:
        return form
    try:
        return replace(form, grammar=form.grammar.or_tool_calls(tool_use.tools, tool_use.parallel))
    except ParameterError as error:
        raise invalid("tools", str(error)) from None


def _logprobs(request: ChatCompletionRequest) -> int | None:
    if request.logprobs:
        return request.top_logprobs or 0
    if request.top_logprobs:
        raise invalid("top_logprobs", "'top_logprobs' needs 'logprobs' to be true.")
    return None
