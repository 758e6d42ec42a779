import pytest

from headlong.errors import HeadlongError, ParameterError, UnsupportedError
from headlong.tokenizer.messages import copied_json, copied_messages, copied_tools


def nested(depth: int) -> object:
    value: object = "x"
    for _ in range(depth):
        value = [value]
    return value


def test_messages_are_copied_with_all_their_fields() -> None:
    message = {"role": "user", "content": "hi", "name": "Ada", "extra": {"k": (1, 2.5, None)}}
    (copy,) = copied_messages([message])
    assert copy == {"role": "user", "content": "hi", "name": "Ada", "extra": {"k": [1, 2.5, None]}}
    assert copy is not message


def test_text_parts_become_one_string() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": 1}]
    assert copied_messages([{"role": "user", "content": parts}])[0]["content"] == "ab"


def test_missing_content_stays_missing_and_none_stays_none() -> None:
    assert copied_messages([{"role": "assistant"}]) == [{"role": "assistant"}]
    assert copied_messages([{"role": "assistant", "content": None}])[0]["content"] is None
    assert copied_messages([{"role": "assistant", "tool_calls": None}])[0]["tool_calls"] is None


@pytest.mark.parametrize("arguments", [{"a": [1]}, '{"a": [1]}', ' {"a":[1]} '])
@pytest.mark.parametrize("as_text", [True, False])
def test_arguments_of_calls_take_one_form(arguments: object, as_text: bool) -> None:
    calls = [{"id": "1", "function": {"name": "f", "arguments": arguments}}]
    (copy,) = copied_messages(
        [{"role": "assistant", "tool_calls": calls}], arguments_as_text=as_text
    )
    expected: object = '{"a": [1]}' if as_text else {"a": [1]}
    assert copy["tool_calls"] == [{"id": "1", "function": {"name": "f", "arguments": expected}}]


@pytest.mark.parametrize("arguments", ["", None])
def test_a_call_without_arguments(arguments: str | None) -> None:
    function = {"name": "f"} if arguments is None else {"name": "f", "arguments": arguments}
    (copy,) = copied_messages([{"role": "assistant", "tool_calls": [{"function": function}]}])
    assert copy["tool_calls"] == [{"function": {"name": "f", "arguments": {}}}]


def with_call(call: object) -> list[dict[str, object]]:
    return [{"role": "assistant", "tool_calls": [call]}]


@pytest.mark.parametrize(
    ("messages", "error", "message"),
    [
        ("hello", ParameterError, "messages: must be a list"),
        ({"role": "user"}, ParameterError, "messages: must be a list"),
        (["hello"], ParameterError, r"messages\[0\]: must be an object"),
        ([{"content": "x"}], ParameterError, r"messages\[0\]\.role"),
        ([{"role": ""}], ParameterError, r"messages\[0\]\.role"),
        ([{"role": "user", "content": 3}], ParameterError, r"content: must be a string or a list"),
        ([{"role": "user", "content": ["x"]}], ParameterError, r"content\[0\]: must be an object"),
        (
            [{"role": "user", "content": [{"type": "text"}]}],
            ParameterError,
            r"content\[0\]\.text: must be a string",
        ),
        (
            [{"role": "user", "content": [{"type": "input_audio"}]}],
            UnsupportedError,
            "'input_audio' are not supported",
        ),
        ([{"role": "user", "content": [{"text": "x"}]}], UnsupportedError, "type None"),
        ([{"role": "user", "content": "a\udc00"}], ParameterError, r"U\+DC00\) at offset 1"),
        ([{"role": "user", "x": {"\ud800": 1}}], ParameterError, r"U\+D800"),
        ([{"role": "user", "x": {1: 2}}], ParameterError, "key 1 is not a string"),
        ([{"role": "user", "x": b"x"}], ParameterError, r"\.x: bytes is not JSON"),
        ([{"role": "user", "x": object}], ParameterError, r"\.x: type is not JSON"),
        ([{"role": "user", "x": nested(70)}], ParameterError, "64 levels"),
        ([{"role": "assistant", "tool_calls": "x"}], ParameterError, "must be a list of calls"),
        (with_call("x"), ParameterError, r"tool_calls\[0\]\.function"),
        (with_call({"function": {"name": 3}}), ParameterError, r"tool_calls\[0\]\.function"),
        (with_call({"function": {"name": "f", "arguments": "{"}}), ParameterError, "not JSON"),
        (with_call({"function": {"name": "f", "arguments": "[1]"}}), ParameterError, "an object"),
        (with_call({"function": {"name": "f", "arguments": [1]}}), ParameterError, "an object"),
    ],
)
def test_malformed_messages_are_named(
    messages: object, error: type[HeadlongError], message: str
) -> None:
    with pytest.raises(error, match=message):
        copied_messages(messages)


def test_tools_are_copied() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert copied_tools(tools) == tools
    assert copied_tools(tools)[0] is not tools[0]


@pytest.mark.parametrize(
    ("tools", "error", "message"),
    [
        ({}, ParameterError, "tools: must be a list"),
        (["f"], ParameterError, r"tools\[0\]: must be an object"),
        (
            [{"function": {}}],
            ParameterError,
            r"tools\[0\]\.function: must be an object with a name",
        ),
        ([{"name": "f"}], ParameterError, r"tools\[0\]\.function"),
        ([{"type": "web_search"}], UnsupportedError, "'web_search' is not supported"),
    ],
)
def test_malformed_tools_are_named(tools: object, error: type[HeadlongError], message: str) -> None:
    with pytest.raises(error, match=message):
        copied_tools(tools)


def test_json_may_be_as_deep_as_the_limit() -> None:
    assert copied_json(nested(64), "x") == nested(64)
    with pytest.raises(ParameterError, match=r"x\[0\].*64 levels"):
        copied_json(nested(65), "x")
