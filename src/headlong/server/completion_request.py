"""The body of ``/completion``, llama-server's own request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final, TypeAlias

from pydantic import Field

from headlong.errors import ParameterError
from headlong.llm import LLM
from headlong.sampling import Grammar, SamplingParams
from headlong.sampling.params import MAX_SEED
from headlong.server.api_error import invalid
from headlong.server.sampling_fields import SamplingFields
from headlong.server.service import Service

__all__ = ["CompletionRequest", "Prompts"]

Part: TypeAlias = int | str
Prompts: TypeAlias = str | list[Part | list[Part]]
"""A text, a list of tokens and texts that together make one prompt, or a list of such prompts."""

_MOST_ANSWERS: Final = 128


class CompletionRequest(SamplingFields):
    """llama-server's fields; see docs/server.md for what each comes to."""

    prompt: Prompts
    n_predict: int | None = Field(
        default=None, description="Most tokens; -1 or null: until the context is full."
    )
    max_tokens: int | None = Field(default=None, description="Another name of n_predict.")
    n_cmpl: int | None = Field(default=None, description="Answers for each prompt.")
    n: int | None = Field(default=None, description="Another name of n_cmpl.")
    stream: bool | None = None
    model: str | None = None
    cache_prompt: bool | None = None
    return_tokens: bool | None = None
    return_progress: bool | None = None
    return_drafts: bool | None = Field(
        default=None, description="Say in every event how many of its tokens were drafts."
    )
    timings_per_token: bool | None = None
    sse_ping_interval: float | None = Field(
        default=None, description="Seconds of silence before a comment; -1: none."
    )
    n_probs: int | None = Field(
        default=None, description="Likeliest tokens to tell at each place; 0: none."
    )
    grammar: str | None = Field(default=None, description="GBNF, or Lark as llguidance has it.")
    json_schema: dict[str, object] | bool | None = Field(
        default=None, description="A JSON schema that the answer keeps to."
    )
    response_fields: list[str] | None = Field(
        default=None, description="Fields to answer with; a/b takes b out of a."
    )

    refused: ClassVar[Mapping[str, str]] = {
        "image_data": "models here read text only",
        "multimodal_data": "models here read text only",
        "messages": "send conversations to /v1/chat/completions",
        "input_prefix": "fill-in-the-middle is not offered",
        "input_suffix": "fill-in-the-middle is not offered",
    }
    field_names: ClassVar[Mapping[str, str]] = {
        "max_tokens": "n_predict",
        "logprobs": "n_probs",
    }

    @property
    def single(self) -> bool:
        """Whether one answer is asked for, not a list of them."""
        return self.copies == 1 and not _several(self.prompt)

    @property
    def copies(self) -> int:
        """Answers for each prompt."""
        n = self.n if self.n_cmpl is None else self.n_cmpl
        return 1 if n is None else n

    async def pairs(self, service: Service) -> list[tuple[list[int], SamplingParams]]:
        """Tokens and parameters of every answer that is asked for.

        Raises `ApiError` naming the field at fault, or the library's error where it is the prompt.
        """
        params = self._params(service.llm, await self._grammar(service))
        if not 1 <= self.copies <= _MOST_ANSWERS:
            name = "n" if self.n_cmpl is None else "n_cmpl"
            raise invalid(name, f"'{name}' is {self.copies}; it must be 1 to {_MOST_ANSWERS}.")
        prompts = self.prompt if _several(self.prompt) else [self.prompt]
        if not prompts:
            raise invalid("prompt", "'prompt' is an empty list; give at least one prompt.")
        pairs = []
        for prompt in prompts:
            parts = prompt if isinstance(prompt, list) else [prompt]
            tokens = await service.encode_parts(parts)  # type: ignore[arg-type]
            # Answers of one prompt differ by their seeds, also where the first is given.
            pairs += [(tokens, _reseeded(params, copy)) for copy in range(self.copies)]
        return pairs

    def _params(self, llm: LLM, grammar: Grammar | None) -> SamplingParams:
        return self.sampling(
            llm,
            max_tokens=self._max_tokens(),
            cache_prompt=self.cache_prompt is not False,
            logprobs=self.n_probs or None,
            grammar=grammar,
        )

    async def _grammar(self, service: Service) -> Grammar | None:
        """The grammar that is asked for, compiled beside the event loop."""
        # An empty grammar is how llama-server's clients ask for none.
        if self.json_schema is None and not self.grammar:
            return None
        if self.json_schema is not None and self.grammar:
            raise invalid("grammar", "'grammar' and 'json_schema' are both given; give one.")
        field = "grammar" if self.grammar else "json_schema"
        try:
            grammar = (
                Grammar.text(self.grammar)
                if self.grammar
                else Grammar.json_schema(self.json_schema)  # type: ignore[arg-type]
            )
            await service.aside(service.llm.check_grammar, grammar)
        except ParameterError as error:
            raise invalid(field, str(error)) from None
        return grammar

    def _max_tokens(self) -> int | None:
        most = self.max_tokens if self.n_predict is None else self.n_predict
        if self.max_tokens is not None and most != self.max_tokens:
            raise invalid("max_tokens", "'max_tokens' and 'n_predict' differ; give one of them.")
        return None if most == -1 else most


def _several(prompt: Prompts) -> bool:
    """Whether a list holds prompts, not parts of one: a list in it, or nothing but texts."""
    return isinstance(prompt, list) and (
        any(isinstance(part, list) for part in prompt)
        or all(isinstance(part, str) for part in prompt)
    )


def _reseeded(params: SamplingParams, copy: int) -> SamplingParams:
    if copy == 0 or params.seed is None:
        return params
    return replace(params, seed=(params.seed + copy) % (MAX_SEED + 1))
