from __future__ import annotations

from typing import Any

import pytest
from scripted import TOOL_TEMPLATE, TOOLS

from headlong.server.api_error import ApiError
from headlong.server.openai.chat_schema import ChatCompletionRequest
from headlong.server.openai.conversation import render
from headlong.server.openai.tool_use import tool_use_of
from headlong.tokenizer import ChatTemplate

TEMPLATE = ChatTemplate(TOOL_TEMPLATE)
USER = {"role": "user", "content": "Hello"}
STRICT = ChatTemplate(
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('System first.') }}{% endif %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
)


def prompt(*messages: Any, template: ChatTemplate = TEMPLATE, **fields: Any) -> str:
    request = ChatCompletionRequest.model_validate({"messages": list(messages) or [USER], **fields})
    return render(request, tool_use_of(request), template).text


def test_a_prompt_ends_with_the_beginning_of_an_answer() -> None:
    assert prompt() == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert prompt(add_generation_prompt=False) == "<|im_start|>user\nHello<|im_end|>\n"


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert prompt({"role": "user", "content": parts}) == prompt()


def test_a_developer_is_the_system_where_the_template_knows_no_other() -> None:
    told = {"role": "developer", "content": "Be brief."}
    assert prompt(told).startswith("<|im_start|>system\nBe brief.")
    knows = ChatTemplate("{% for m in messages %}{{ m.role == 'developer' }}{% endfor %}")
    assert prompt(told, template=knows) == "True"


def test_calls_and_their_results_come_back_in() -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "index": 0,
        "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
    }
    text = prompt(
        USER,
        {"role": "assistant", "content": None, "reasoning": "Hm.", "tool_calls": [call]},
        {"role": "tool", "content": "Rain.", "tool_call_id": "call_1"},
        tools=TOOLS,
    )
    assert text.startswith("<|im_start|>system\nTools: [")
    assert '<think>Hm.</think><tool_call>weather {"city": "Paris"}</tool_call>' in text
    assert "<|im_start|>tool\nRain.<|im_end|>" in text


def test_the_model_is_not_shown_tools_that_it_must_not_call() -> None:
    assert prompt(tools=TOOLS, tool_choice="none") == prompt()


def test_a_refusal_stands_for_content() -> None:
    assert "assistant\nNo.<|im_end|>" in prompt(USER, {"role": "assistant", "refusal": "No."}, USER)


def test_how_much_to_reason() -> None:
    opened = prompt(chat_template_kwargs={"enable_thinking": True})
    assert opened.endswith("<think>\n")
    assert prompt(reasoning_effort="high") == opened
    assert prompt(reasoning_effort="none").endswith("</think>\n\n")
    asked = {"enable_thinking": True}
    assert prompt(reasoning_effort="none", chat_template_kwargs=asked) == opened
    reads = ChatTemplate("{{ reasoning_effort }}{{ messages | length }}")
    assert prompt(reasoning_effort="low", template=reads) == "low1"
    assert prompt(reasoning_effort="low", template=ChatTemplate("{{ messages | length }}")) == "1"


@pytest.mark.parametrize(
    ("fields", "param", "part"),
    [
        ({"chat_template_kwargs": {"thinking": 1}}, "chat_template_kwargs", "enable_thinking"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs", "'messages'"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [
                {"function": {"name": "f", "arguments": "{"}}]}]},
            "messages.0.tool_calls.0.function.arguments",
            "not JSON",
        ),
    ],
)  # fmt: skip
def test_what_the_template_cannot_take(fields: dict[str, Any], param: str, part: str) -> None:
    request = ChatCompletionRequest.model_validate({"messages": [USER], **fields})
    with pytest.raises(ApiError) as caught:
        render(request, tool_use_of(request), TEMPLATE)
    assert (caught.value.status_code, caught.value.param) == (400, param)
    assert part in caught.value.message


def test_what_the_template_refuses() -> None:
    with pytest.raises(ApiError) as caught:
        prompt(USER, {"role": "system", "content": "x"}, template=STRICT)
    assert (caught.value.status_code, caught.value.param) == (400, "messages")
    assert "System first." in caught.value.message
    with pytest.raises(ApiError) as caught:
        prompt(tools=TOOLS, template=STRICT)
    assert caught.value.param == "tools"
