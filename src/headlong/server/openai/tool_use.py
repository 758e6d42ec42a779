"""Which tools a request offers to the model, and whether one must be called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headlong.errors import ParameterError
from headlong.sampling import Grammar
from headlong.server.api_error import invalid
from headlong.server.openai.chat_schema import ChatCompletionRequest, ToolChoice

__all__ = ["ToolUse", "tool_use_of"]


@dataclass(frozen=True, slots=True)
class ToolUse:
    """Tools in OpenAI's form; none where none may be called.

    ``required``: the answer is a call, of the function ``named`` if that is given.  ``parallel``:
    there may be several calls.
    """

    tools: tuple[Mapping[str, object], ...] = ()
    required: bool = False
    named: str | None = None
    parallel: bool = True

    def grammar(self) -> Grammar | None:
        """What the answer has to be, where it has to be a call.

        Raises `ApiError` for a schema that no grammar can be made of.
        """
        if not self.required:
            return None
        names = None if self.named is None else (self.named,)
        try:
            return Grammar.tool_calls(self.tools, names, self.parallel)
        except ParameterError as error:
            raise invalid("tools", str(error)) from None


def tool_use_of(request: ChatCompletionRequest) -> ToolUse:
    """The tools of a request.  Raises `ApiError` where tools and choice do not fit together."""
    choice = request.tool_choice or ToolChoice(type="auto")
    names = [tool.function.name for tool in request.tools or []]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise invalid("tools", f"'tools' holds two functions of the name '{name}'.")
    if not names and choice.type not in ("none", "auto"):
        raise invalid("tool_choice", f"'tool_choice' is '{choice.type}', but there are no 'tools'.")
    if choice.type == "none" or not names:
        return ToolUse()
    required, named, offered = choice.type in ("required", "function"), None, names
    if choice.function is not None:
        named = choice.function.name
        _check_known(named, names)
    if choice.allowed_tools is not None:
        required = choice.allowed_tools.mode == "required"
        offered = [tool.called or "" for tool in choice.allowed_tools.tools]
        for name in offered:
            _check_known(name, names)
    tools = tuple(
        tool.model_dump(exclude_none=True)
        for tool in request.tools or []
        if tool.function.name in offered
    )
    return ToolUse(tools, required, named, request.parallel_tool_calls is not False)


def _check_known(name: str, names: list[str]) -> None:
    if name not in names:
        known = ", ".join(f"'{one}'" for one in names)
        raise invalid(
            "tool_choice", f"'tool_choice' names the function '{name[:64]}'; 'tools' has {known}."
        )
