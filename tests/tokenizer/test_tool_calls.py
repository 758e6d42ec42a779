import json
from itertools import count

import pytest
from chunks import chunks_of
from hypothesis import given

from headlong.tokenizer import ToolCall, ToolCallParser

TOOLS: list[dict[str, object]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "units": {"type": "array"},
                },
            },
        },
    }
]

XML = (
    "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n"
    "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>"
)
HERMES = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris", "days": 3}}\n</tool_call>'


def parse(*chunks: str) -> tuple[str, tuple[ToolCall, ...]]:
    numbers = count()
    parser = ToolCallParser(TOOLS, new_id=lambda: f"call_{next(numbers)}")
    deltas = [*map(parser.feed, chunks), parser.flush()]
    return "".join(d.content for d in deltas), tuple(call for d in deltas for call in d.calls)


def arguments(text: str) -> object:
    content, calls = parse(text)
    assert content == ""
    (call,) = calls
    return json.loads(call.arguments_json)


@pytest.mark.parametrize("text", [XML, HERMES])
def test_one_call(text: str) -> None:
    content, calls = parse(text)
    assert content == ""
    assert calls == (ToolCall("weather", '{"city": "Paris", "days": 3}', "call_0"),)


@pytest.mark.parametrize("text", [XML, HERMES])
def test_a_call_that_only_lacks_its_closing_tag(text: str) -> None:
    content, calls = parse(text.removesuffix("</tool_call>"))
    assert content == ""
    assert [call.name for call in calls] == ["weather"]


def test_text_around_calls_is_kept_without_the_space_between() -> None:
    content, calls = parse(f"I look.\n\n{XML}\n{HERMES}\n\nDone. ")
    assert content == "I look.Done. "
    assert [call.id for call in calls] == ["call_0", "call_1"]


def test_a_call_comes_out_with_its_closing_tag_and_text_at_once() -> None:
    parser = ToolCallParser(TOOLS)
    assert parser.feed("Hello <").content == "Hello"
    assert parser.feed("b> ").content == " <b>"
    assert parser.feed(XML[:-1]).calls == ()
    (call,) = parser.feed(">").calls
    assert call.id.startswith("call_") and len(call.id) == 29


def test_a_function_without_parameters() -> None:
    assert arguments("<tool_call>\n<function=now>\n</function>\n</tool_call>") == {}
    assert arguments('<tool_call>{"name": "now"}</tool_call>') == {}


def test_values_of_many_lines_lose_one_newline_at_each_end() -> None:
    text = "<tool_call><function=f><parameter=p>\n\n a\nb \n\n</parameter></function></tool_call>"
    assert arguments(text) == {"p": "\n a\nb \n"}


def test_arguments_quoted_once_more() -> None:
    inner = json.dumps({"city": "Rome"})
    text = f'<tool_call>{{"name": "weather", "arguments": {json.dumps(inner)}}}</tool_call>'
    assert arguments(text) == {"city": "Rome"}


def test_other_scripts_stay_readable() -> None:
    _, calls = parse('<tool_call>{"name": "weather", "arguments": {"city": "東京"}}</tool_call>')
    assert calls[0].arguments_json == '{"city": "東京"}'


@pytest.mark.parametrize(
    "value", ["see </tool_call> here", "</parameter> inside", "<parameter> and </function>", "}"]
)
def test_values_that_hold_closing_tags(value: str) -> None:
    xml = f"<tool_call><function=f><parameter=p>\n{value}\n</parameter></function></tool_call>"
    hermes = f'<tool_call>{{"name": "f", "arguments": {{"p": "{value}"}}}}</tool_call>'
    assert arguments(xml) == {"p": value}
    assert arguments(hermes) == {"p": value}


MALFORMED = [
    "<tool_call></tool_call>",
    "<tool_call>soon</tool_call>",
    "<tool_call>{}</tool_call>",
    '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
    '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
    '<tool_call>{"name": "f", "arguments": "no object"}</tool_call>',
    '<tool_call>{"name": "f", "arguments": {"x": NaN}}</tool_call>',
    '<tool_call>{"name": "f", "arguments": {"x": "\\ud800"}}</tool_call>',
    '<tool_call>{"name": "f", "arguments": {"x": "open}}</tool_call>',
    "<tool_call><function=></function></tool_call>",
    "<tool_call><function=f><parameter=a>1</parameter></tool_call>",
    "<tool_call><function=f><parameter=a>\n1\n</function></tool_call>",
    "<tool_call><function=f>words</function></tool_call>",
    "<tool_call><function=f><parameter=a>1</parameter><parameter=a>2</parameter></function></tool_call>",
    "<tool_call><function=f></function> and more</tool_call>",
    f"<tool_call>{'[' * 50_000}</tool_call>",
    "<tool_call>",
    "<tool_call",
    "</tool_call>",
]


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_no_call_is_text(text: str) -> None:
    assert parse(f"a \n{text}\n b ") == (f"a \n{text}\n b ", ())


@pytest.mark.parametrize("text", MALFORMED)
def test_a_sound_call_after_a_broken_one_is_found(text: str) -> None:
    content, calls = parse(f"{text}\n{XML}")
    assert content == text
    assert [call.arguments_json for call in calls] == ['{"city": "Paris", "days": 3}']


def test_a_value_that_shows_a_whole_call_is_never_cut_short() -> None:
    text = (
        f"<tool_call><function=write><parameter=text>\n{XML}\n</parameter></function></tool_call>"
    )
    content, calls = parse(text)
    assert all(call.name != "write" for call in calls)
    assert content.startswith("<tool_call><function=write>")


PIECES = [
    *("<tool_call>", "</tool_call>", "<function=f>", "</function>", "<parameter=p>"),
    *("</parameter>", "\n", " ", "word", "<", '{"name": "g", "arguments": {"k": "', '"}}', XML),
]


@given(chunks=chunks_of(PIECES))
def test_cuts_make_no_difference(chunks: list[str]) -> None:
    assert parse(*chunks) == parse("".join(chunks))


@given(chunks=chunks_of(PIECES))
def test_without_calls_the_text_is_unchanged(chunks: list[str]) -> None:
    content, calls = parse(*chunks)
    if not calls:
        assert content == "".join(chunks)


def test_many_opening_tags_take_no_quadratic_time() -> None:
    text = '<tool_call>{"name": "f", "arguments": {"k": "' * 2000
    assert parse(*text.split(" ")) == (text.replace(" ", ""), ())
