"""The request of POST /v1/completions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from headlong.server.openai.common_schema import MOST_ALTERNATIVES, MOST_ANSWERS, CommonRequest
from headlong.server.openai.handling import honoured, refused

__all__ = ["CompletionRequest", "Prompt"]

Prompt = str | tuple[int, ...]
"""Text, or token ids."""


def _prompts(value: object) -> tuple[Prompt, ...]:
    """One or several prompts, each a text or token ids."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not value:
        raise PydanticCustomError(
            "prompt", "must be a text, token ids, or a list of texts or of lists of token ids"
        )
    if _is_id(value[0]):
        return (_ids(value, ""),)
    if len(value) > MOST_ANSWERS:
        raise PydanticCustomError("prompt", f"may hold at most {MOST_ANSWERS} prompts")
    return tuple(
        one if isinstance(one, str) else _ids(one, f"item {index}: ")
        for index, one in enumerate(value)
    )


def _ids(value: object, place: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or not all(map(_is_id, value)):
        raise PydanticCustomError(
            "prompt", "{place}must be a text or a list of token ids", {"place": place}
        )
    return tuple(value)


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


_Id = Annotated[int, Field(ge=0, lt=1 << 31)]

Prompts = Annotated[
    tuple[Prompt, ...],
    PlainValidator(
        _prompts,
        json_schema_input_type=str
        | Annotated[list[_Id], Field(min_length=1)]
        | Annotated[list[str], Field(min_length=1, max_length=MOST_ANSWERS)]
        | Annotated[
            list[Annotated[list[_Id], Field(min_length=1)]],
            Field(min_length=1, max_length=MOST_ANSWERS),
        ],
    ),
]


class CompletionRequest(CommonRequest):
    """Prompts to be continued."""

    prompt: Prompts = honoured(
        "A text, token ids, or a list of either; choices come in their order.", default=...
    )
    echo: bool | None = honoured("The prompt's text in front of the answer; not with `logprobs`.")
    logprobs: int | None = honoured("Alternatives per generated token.", ge=0, le=MOST_ALTERNATIVES)
    best_of: int | None = honoured("Only the same as `n`: no choices are thrown away.", ge=1)
    suffix: str | None = refused("text is continued, not filled in.", "")
    add_special_tokens: bool | None = refused(
        "a text begins as the model's file says; for anything else send token ids.", True
    )
