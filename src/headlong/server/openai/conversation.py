"""The messages of a request as the chat template reads them."""

from __future__ import annotations

from typing import Final

from headlong.errors import ParameterError, TemplateError, UnsupportedError
from headlong.server.api_error import error_of
from headlong.server.openai.chat_schema import ChatCompletionRequest, RequestMessage
from headlong.server.openai.tool_use import ToolUse
from headlong.tokenizer import ChatTemplate, RenderedPrompt

__all__ = ["render"]

_FIELDS: Final = ("messages", "tools", "chat_template_kwargs")


def render(
    request: ChatCompletionRequest, tool_use: ToolUse, template: ChatTemplate
) -> RenderedPrompt:
    """The prompt.  Raises `ApiError` where messages or the template refuse; may take a while."""
    variables = dict(request.chat_template_kwargs or {})
    for name, value in _effort(request, template).items():
        variables.setdefault(name, value)
    try:
        return template.render(
            [_message(message, template) for message in request.messages],
            tools=tool_use.tools or None,
            add_generation_prompt=request.add_generation_prompt is not False,
            variables=variables,
        )
    except (ParameterError, UnsupportedError) as error:
        # Errors begin with the field, which elsewhere is written with dots.
        field = str(error).split(":", 1)[0].replace("[", ".").replace("]", "")
        raise error_of(error, field if field.split(".", 1)[0] in _FIELDS else None) from None
    except TemplateError as error:
        raise error_of(error, "messages") from None


def _message(message: RequestMessage, template: ChatTemplate) -> dict[str, object]:
    role = message.role
    if role == "developer" and not template.names("developer"):
        role = "system"
    content = message.refusal
    if message.content is not None:
        content = "".join(part.text for part in message.content)
    read: dict[str, object] = {"role": role, "content": content}
    if message.tool_calls:
        read["tool_calls"] = [
            call.model_dump(exclude={"index"}, exclude_none=True) for call in message.tool_calls
        ]
    reasoning = message.reasoning_content or message.reasoning
    for name, value in (
        ("name", message.name),
        ("tool_call_id", message.tool_call_id),
        ("reasoning_content", reasoning),
    ):
        if value is not None:
            read[name] = value
    return read


def _effort(request: ChatCompletionRequest, template: ChatTemplate) -> dict[str, object]:
    """The template's variables that say how much to reason."""
    effort = request.reasoning_effort
    if effort is None:
        return {}
    if "reasoning_effort" in template.variables:
        return {"reasoning_effort": effort}
    if "enable_thinking" in template.variables:
        return {"enable_thinking": effort != "none"}
    return {}
