"""The request of POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from headlong.server.openai.common_schema import MOST_ALTERNATIVES, MOST_TOKENS, CommonRequest
from headlong.server.openai.handling import RequestPart, accepted, honoured, refused

__all__ = [
    "ChatCompletionRequest",
    "ContentPart",
    "FunctionTool",
    "RequestMessage",
    "Tool",
    "ToolChoice",
]

MOST_MESSAGES: Final = 10_000
MOST_TOOLS: Final = 512
# OpenAI's alphabet, and the dots, slashes and colons of names that tool servers make up.
TOOL_NAME: Final = r"^[A-Za-z0-9_.:/-]{1,128}$"


class ContentPart(RequestPart):
    """A part of a message: text."""

    type: Literal["text"]
    text: str

    @model_validator(mode="before")
    @classmethod
    def _only_text(cls, data: object) -> object:
        kind = data.get("type") if isinstance(data, dict) else None
        if isinstance(kind, str) and kind != "text":
            raise PydanticCustomError(
                "part",
                "parts of type '{kind}' are not supported; this model reads text, as "
                '{"type": "text", "text": "..."}',
                {"kind": kind[:40]},
            )
        return data


def _parts(value: object) -> object:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


Content = Annotated[
    list[ContentPart], BeforeValidator(_parts, json_schema_input_type=str | list[ContentPart])
]


class CalledFunction(RequestPart):
    """What an assistant called: arguments as JSON text, or as an object."""

    name: str = Field(min_length=1, max_length=256)
    arguments: Any = "{}"


class MessageToolCall(RequestPart):
    """A call in an assistant's message."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = Field(None, description="As in streams; has no effect.")


class RequestMessage(RequestPart):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"] = honoured(
        "`system`, `developer`, `user`, `assistant` or `tool`.", default=...
    )
    content: Content | None = honoured("Text, or a list of parts of type text.")
    name: str | None = honoured("Given to the chat template.")
    tool_calls: list[MessageToolCall] | None = honoured("Of role assistant.")
    tool_call_id: str | None = honoured("Of role tool: the call that this is the result of.")
    reasoning_content: str | None = honoured("Of role assistant: given to the chat template.")
    reasoning: str | None = honoured("Another name for `reasoning_content`.")
    refusal: str | None = honoured("Of role assistant: stands for content where there is none.")
    annotations: list[Any] | None = accepted("The model does not see them.")
    audio: Any = refused("this model reads text.")
    function_call: Any = refused("give `tool_calls`.")

    @model_validator(mode="after")
    def _belongs_to_role(self) -> Self:
        assistant = self.role == "assistant"
        for name in ("tool_calls", "reasoning_content", "reasoning", "refusal"):
            if not assistant and getattr(self, name) is not None:
                raise PydanticCustomError(
                    "role",
                    "{name} belongs to messages of role assistant, not {role}",
                    {"name": name, "role": self.role},
                )
        if self.tool_call_id is not None and self.role != "tool":
            raise PydanticCustomError("role", "tool_call_id belongs to messages of role tool")
        spoken = self.content is not None or self.refusal is not None
        if not (spoken or (assistant and (self.tool_calls or self.reasoning_content))):
            raise PydanticCustomError(
                "role", "a message of role {role} needs content", {"role": self.role}
            )
        return self


class FunctionTool(RequestPart):
    """A function that the model may call; `parameters` is a JSON schema."""

    name: str = Field(pattern=TOOL_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(RequestPart):
    """A tool: a function."""

    type: Literal["function"] = "function"
    function: FunctionTool


class NamedFunction(RequestPart):
    """A function by its name."""

    name: str


class AllowedTool(RequestPart):
    """A tool by its name."""

    type: Literal["function"] = "function"
    function: NamedFunction | None = None
    name: str | None = None

    @property
    def called(self) -> str | None:
        """The function's name, in either of the two places."""
        return self.function.name if self.function is not None else self.name


class AllowedTools(RequestPart):
    """Some of the tools, of which one may or must be called."""

    mode: Literal["auto", "required"]
    tools: list[AllowedTool] = Field(min_length=1, max_length=MOST_TOOLS)


class ToolChoice(RequestPart):
    """Whether tools are called; a word alone stands for its type."""

    type: Literal["none", "auto", "required", "function", "allowed_tools"]
    function: NamedFunction | None = None
    allowed_tools: AllowedTools | None = None

    @model_validator(mode="after")
    def _has_its_part(self) -> Self:
        for name in ("function", "allowed_tools"):
            if (self.type == name) != (getattr(self, name) is not None):
                raise PydanticCustomError(
                    "choice", "{name} and type '{name}' come together", {"name": name}
                )
        return self


def _typed(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


Choice = Annotated[
    ToolChoice,
    BeforeValidator(
        _typed, json_schema_input_type=Literal["none", "auto", "required"] | ToolChoice
    ),
]


class ChatCompletionRequest(CommonRequest):
    """A conversation to be answered."""

    messages: list[RequestMessage] = honoured(
        "The conversation; see below.", default=..., min_length=1, max_length=MOST_MESSAGES
    )
    max_completion_tokens: int | None = honoured(
        "OpenAI's newer name of `max_tokens`; both must agree.", ge=-1, le=MOST_TOKENS
    )
    logprobs: bool | None = honoured("Of every generated token, reasoning and calls included.")
    top_logprobs: int | None = honoured(
        "Alternatives per token; needs `logprobs`.", ge=0, le=MOST_ALTERNATIVES
    )
    tools: list[Tool] | None = honoured("Functions.", max_length=MOST_TOOLS)
    tool_choice: Choice | None = honoured(
        "`none` (the model is not shown the tools), `auto`, `required`, one function, or "
        "`allowed_tools`."
    )
    parallel_tool_calls: bool | None = honoured("false: at most one call in an answer.")
    chat_template_kwargs: dict[str, Any] | None = honoured(
        "Variables of the chat template, such as `enable_thinking`."
    )
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        honoured(
            "The template's `reasoning_effort` where it reads one; else `none` sets "
            "`enable_thinking` to false and others to true. Other templates do not see it."
        )
    )
    reasoning_format: Literal["auto", "deepseek", "none"] | None = honoured(
        "`deepseek`: reasoning apart, in `reasoning_content`; `none`: left in `content`; `auto` "
        "and default: the server's setting."
    )
    add_generation_prompt: bool | None = honoured("false: the prompt ends after the last message.")
    continue_final_message: bool | None = refused(
        "the answer is a message of its own; for a prompt of your own see /v1/completions.", False
    )

    # --- OpenAI's that have no meaning here

    metadata: dict[str, str] | None = accepted("Nothing is kept.")
    store: bool | None = refused("answers are not kept.", False)
    prompt_cache_key: str | None = accepted("Prompts are found by their tokens.")
    prompt_cache_options: Any = accepted("Prompts are kept as long as memory allows.")
    prompt_cache_retention: str | None = accepted("Prompts are kept as long as memory allows.")
    safety_identifier: str | None = accepted("Nothing is kept by user.")
    modalities: list[str] | None = refused("answers are text.", ["text"])
    verbosity: str | None = refused("ask for it in a message.", "medium")
    audio: Any = refused("answers are text.")
    prediction: Any = refused("drafts are the model's own; see `speculative`.")
    web_search_options: Any = refused("there is no search; give the model a tool.")
    moderation: Any = refused("there is no moderation.")
    functions: Any = refused("give `tools`.", [])
    function_call: Any = refused("give `tool_choice`.")

    # --- vLLM's and llama-server's

    best_of: int | None = refused("ask for `n` answers.", 1)
    echo: bool | None = refused("see /v1/completions.", False)
    chat_template: str | None = refused("the template is the model's, or a setting's.")
    documents: list[Any] | None = refused("put them into messages.", [])
    add_special_tokens: bool | None = refused("the template writes them.", False)
    mm_processor_kwargs: Any = refused("this model reads text.")
    include_reasoning: bool | None = refused("see `reasoning_format`.", True)
    parse_tool_calls: bool | None = refused("with `tool_choice` none nothing is parsed.", True)

    @property
    def limits(self) -> Mapping[str, int | None]:
        """What each field that limits the answer's length says."""
        return {**super().limits, "max_completion_tokens": self.max_completion_tokens}
