from __future__ import annotations

from typing import Any

import pytest
from scripted import TOOLS

from headlong.sampling import Grammar
from headlong.server.api_error import ApiError
from headlong.server.openai.chat_schema import ChatCompletionRequest
from headlong.server.openai.tool_use import ToolUse, tool_use_of


def use(**fields: Any) -> ToolUse:
    body = {"messages": [{"role": "user", "content": "x"}], **fields}
    return tool_use_of(ChatCompletionRequest.model_validate(body))


def names(tool_use: ToolUse) -> list[object]:
    return [tool["function"]["name"] for tool in tool_use.tools]  # type: ignore[index]


NAMED = {"type": "function", "function": {"name": "now"}}


def test_tools_may_be_called_unless_the_request_says_otherwise() -> None:
    for choice in (None, "auto", {"type": "auto"}):
        found = use(tools=TOOLS, tool_choice=choice)
        assert names(found) == ["weather", "now"]
        assert not found.required
        assert found.grammar() is None


def test_tools_are_as_the_request_has_them() -> None:
    assert list(use(tools=TOOLS).tools) == TOOLS


@pytest.mark.parametrize("fields", [{}, {"tools": []}, {"tools": TOOLS, "tool_choice": "none"}])
def test_no_tools(fields: dict[str, Any]) -> None:
    assert use(**fields) == ToolUse()


def test_some_call_or_one_that_is_named() -> None:
    some = use(tools=TOOLS, tool_choice="required", parallel_tool_calls=False)
    assert some.grammar() == Grammar.tool_calls(TOOLS, None, parallel=False)
    named = use(tools=TOOLS, tool_choice=NAMED)
    assert names(named) == ["weather", "now"]
    assert named.grammar() == Grammar.tool_calls(TOOLS, ("now",), parallel=True)


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools(mode: str) -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [NAMED]}}
    found = use(tools=TOOLS, tool_choice=choice)
    assert names(found) == ["now"]
    assert found.required == (mode == "required")


@pytest.mark.parametrize(
    ("fields", "param", "part"),
    [
        ({"tool_choice": "required"}, "tool_choice", "no 'tools'"),
        ({"tools": TOOLS + TOOLS}, "tools", "'weather'"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
            "'x'; 'tools' has 'weather', 'now'",
        ),
    ],
)
def test_what_does_not_fit_together(fields: dict[str, Any], param: str, part: str) -> None:
    with pytest.raises(ApiError) as caught:
        use(**fields)
    assert caught.value.param == param
    assert part in caught.value.message
