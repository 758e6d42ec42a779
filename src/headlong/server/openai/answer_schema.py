"""What both endpoints answer with: OpenAI's objects, and this server's additions to them.

Fields that were not set are left out of the JSON; those that OpenAI always sends are always set.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

__all__ = [
    "ChatChoice",
    "ChatCompletionAnswer",
    "ChatCompletionEvent",
    "ChatEventChoice",
    "ChatLogprobs",
    "ChatMessage",
    "CompletionAnswer",
    "CompletionChoice",
    "CompletionDetails",
    "CompletionLogprobs",
    "Delta",
    "DeltaFunction",
    "DeltaToolCall",
    "Drafts",
    "Function",
    "PromptDetails",
    "PromptProgress",
    "TokenLikelihood",
    "ToolCallAnswer",
    "TopLikelihood",
    "Usage",
    "as_json",
]

FinishReason = Literal["stop", "length", "tool_calls"]


class PromptDetails(BaseModel):
    """Of the prompt's tokens."""

    cached_tokens: int = Field(description="Read for earlier requests and kept.")


class CompletionDetails(BaseModel):
    """Of the answer's tokens."""

    reasoning_tokens: int
    accepted_prediction_tokens: int = Field(description="Drafted and accepted.")
    rejected_prediction_tokens: int = Field(description="Drafted and not accepted.")


class Usage(BaseModel):
    """Tokens of a request: prompts are counted once, answers each."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class PromptProgress(BaseModel):
    """How far a prompt has been read, as llama-server says it; `cache` is part of `processed`."""

    total: int
    cache: int
    processed: int
    time_ms: int


class Drafts(BaseModel):
    """What one engine step added: the first `accepted` of its `tokens` were drafts."""

    accepted: int
    tokens: int
    pieces: list[str] = Field(description="The text of each token; characters are kept whole.")


class TopLikelihood(BaseModel):
    """A token that could have been."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLikelihood(TopLikelihood):
    """A token of the answer."""

    top_logprobs: list[TopLikelihood]


class ChatLogprobs(BaseModel):
    """Log-probabilities of every generated token but the one that ended the answer."""

    content: list[TokenLikelihood]
    refusal: None = None


class Function(BaseModel):
    """A function and its arguments, JSON as text."""

    name: str
    arguments: str


class ToolCallAnswer(BaseModel):
    """A call."""

    id: str
    type: Literal["function"]
    function: Function


class ChatMessage(BaseModel):
    """The assistant's message."""

    role: Literal["assistant"]
    content: str | None
    refusal: None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallAnswer] | None = None


class _Choice(BaseModel):
    index: int
    tokens: list[int] | None = Field(default=None, description="With `return_tokens`.")
    token_ids: list[int] | None = Field(default=None, description="With `return_token_ids`.")
    accepted: int | None = Field(
        default=None,
        description="In events, with `timings_per_token` or `return_drafts`: how many of the "
        "step's tokens came from accepted drafts.",
    )


class ChatChoice(_Choice):
    """One of the answers."""

    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class _Answer(BaseModel):
    id: str
    created: int
    model: str
    system_fingerprint: str
    service_tier: Literal["default"] | None = None
    timings: dict[str, Any] | None = Field(
        default=None, description="llama-server's, and `acceptance_by_depth`."
    )


class ChatCompletionAnswer(_Answer):
    """The answer to POST /v1/chat/completions."""

    object: Literal["chat.completion"]
    prompt_token_ids: list[int] | None = Field(default=None, description="With `return_token_ids`.")
    choices: list[ChatChoice]
    usage: Usage


class DeltaFunction(BaseModel):
    """A piece of a call: the name comes first, pieces of arguments after it."""

    name: str | None = None
    arguments: str


class DeltaToolCall(BaseModel):
    """A piece of call number `index`."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: DeltaFunction


class Delta(BaseModel):
    """What an event adds to the message."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[DeltaToolCall] | None = None


class ChatEventChoice(_Choice):
    """What an event adds to one of the answers."""

    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatCompletionEvent(_Answer):
    """An event of a streamed answer to POST /v1/chat/completions."""

    object: Literal["chat.completion.chunk"]
    prompt_token_ids: list[int] | None = Field(
        default=None, description="With `return_token_ids`, in the first event."
    )
    choices: list[ChatEventChoice]
    usage: Usage | None = None
    prompt_progress: PromptProgress | None = None
    drafts: Drafts | None = Field(default=None, description="In events, with `return_drafts`.")


class CompletionLogprobs(BaseModel):
    """Log-probabilities of every generated token but the one that ended the answer."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(_Choice):
    """One of the answers, or what an event adds to it."""

    text: str
    prompt_token_ids: list[int] | None = Field(
        default=None, description="With `return_token_ids`; of a stream, in the first event."
    )
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class CompletionAnswer(_Answer):
    """The answer to POST /v1/completions, and an event of a streamed one."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]
    usage: Usage | None = None
    prompt_progress: PromptProgress | None = None
    drafts: Drafts | None = Field(default=None, description="In events, with `return_drafts`.")


def as_json(answer: BaseModel) -> dict[str, Any]:
    """An answer as JSON data, without the fields that were not set."""
    return answer.model_dump(mode="json", exclude_unset=True)
