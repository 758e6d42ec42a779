"""From a request for completions to what the engine is asked."""

from __future__ import annotations

from dataclasses import dataclass

from headlong.errors import HeadlongError
from headlong.llm import LLM
from headlong.server.api_error import error_of, invalid
from headlong.server.openai.answering import Pair, choices_of
from headlong.server.openai.completion_events import Completed
from headlong.server.openai.completion_schema import CompletionRequest, Prompt
from headlong.server.openai.form import form_of

__all__ = ["AskedCompletion", "ask_completion"]


@dataclass(frozen=True, slots=True)
class AskedCompletion:
    """Prompts, and how their answers are drawn."""

    prompts: list[Completed]
    pairs: list[Pair]


def ask_completion(request: CompletionRequest, llm: LLM) -> AskedCompletion:
    """What a request asks for.

    Raises `ApiError` naming the field at fault.  May take a tenth of a second.
    """
    if request.best_of is not None and request.best_of != request.choices:
        raise invalid("best_of", "'best_of' must be the same as 'n': all choices are returned.")
    if request.echo and request.logprobs is not None:
        raise invalid(
            "echo", "'echo' and 'logprobs' exclude each other: prompts have no logprobs here."
        )
    prompts = [_read(prompt, llm, echo=bool(request.echo)) for prompt in request.prompt]
    pairs = choices_of(
        request,
        llm,
        [list(prompt.tokens) for prompt in prompts],
        logprobs=request.logprobs,
        form=form_of(request),
    )
    return AskedCompletion(prompts, pairs)


def _read(prompt: Prompt, llm: LLM, *, echo: bool) -> Completed:
    tokenizer = llm.tokenizer
    try:
        if isinstance(prompt, str):
            return Completed(tuple(tokenizer.encode(prompt)), prompt if echo else "")
        return Completed(prompt, tokenizer.decode(prompt, special=True) if echo else "")
    except HeadlongError as error:
        raise error_of(error, "prompt") from None
