"""Calls in pieces say what whole calls say, as early as it is certain."""

from __future__ import annotations

import json
from itertools import count, pairwise

import pytest
from chunks import chunks_of
from hypothesis import given, settings
from hypothesis import strategies as st

from headlong.tokenizer import ToolCallParser
from headlong.tokenizer.argument_stream import JSONArguments, XMLArguments

PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "deep": {"type": "object"},
        "maybe": {"type": ["string", "null"]},
    },
}
TOOLS: list[dict[str, object]] = [
    {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}},
    {"type": "function", "function": {"name": "write"}},
]

XML = (
    "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n"
    "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>"
)
HERMES = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris", "days": 3}}\n</tool_call>'
UNKNOWN = '<tool_call>{"name": "other", "arguments": {"k": 1}}</tool_call>'


def parser(*, piecewise: bool = True) -> ToolCallParser:
    numbers = count()
    return ToolCallParser(TOOLS, lambda: f"call_{next(numbers)}", piecewise=piecewise)


Calls = list[tuple[str, str, str]]


def read(*chunks: str) -> tuple[str, Calls]:
    """The content, and each call's name, id and arguments put together from its pieces."""
    reading = parser()
    deltas = [*map(reading.feed, chunks), reading.flush()]
    assert all(delta.calls == () for delta in deltas)
    calls: Calls = []
    for piece in [piece for delta in deltas for piece in delta.pieces]:
        if piece.name is not None:
            assert piece.index == len(calls)
            assert piece.id is not None
            calls.append((piece.name, piece.id, piece.arguments_json))
        else:
            assert piece.index == len(calls) - 1
            assert piece.arguments_json
            name, own, arguments = calls[-1]
            calls[-1] = (name, own, arguments + piece.arguments_json)
    return "".join(delta.content for delta in deltas), calls


def read_whole(text: str) -> tuple[str, Calls]:
    reading = parser(piecewise=False)
    deltas = [reading.feed(text), reading.flush()]
    calls = [(c.name, c.id, c.arguments_json) for d in deltas for c in d.calls]
    return "".join(delta.content for delta in deltas), calls


@pytest.mark.parametrize("text", [XML, HERMES])
def test_name_first_then_arguments_as_they_are_written(text: str) -> None:
    reading = parser()
    pieces = [piece for character in text for piece in reading.feed(character).pieces]
    assert (pieces[0].name, pieces[0].id, pieces[0].arguments_json) == ("weather", "call_0", "")
    assert {piece.index for piece in pieces} == {0}
    assert all(piece.name is None and piece.id is None for piece in pieces[1:])
    assert len(pieces) > 6
    assert "".join(p.arguments_json for p in pieces) == '{"city": "Paris", "days": 3}'


def test_a_string_is_not_held_back() -> None:
    reading = parser()
    reading.feed("<tool_call>\n<function=write>\n<parameter=text>\nOnce upon")
    (piece,) = reading.feed(" a time").pieces
    assert piece.arguments_json == " a time"


def test_other_types_come_when_they_are_whole() -> None:
    reading = parser()
    reading.feed("<tool_call><function=weather><parameter=days>1")
    assert reading.feed("2").pieces == ()
    (piece,) = reading.feed("</parameter></function>").pieces
    assert piece.arguments_json == "12}"


@pytest.mark.parametrize("text", [XML, HERMES])
def test_a_call_without_its_closing_tag(text: str) -> None:
    assert read(text.removesuffix("</tool_call>")) == read(text)
    assert read(text.removesuffix("call>")) == read(text)


def test_text_around_calls() -> None:
    content, calls = read(f"I look.\n\n{XML}\n{HERMES}\n{UNKNOWN}\n\nDone. ")
    assert content == "I look.Done. "
    assert [name for name, _, _ in calls] == ["weather", "weather", "other"]
    assert [own for _, own, _ in calls] == ["call_0", "call_1", "call_2"]


def test_a_function_without_arguments() -> None:
    text = "<tool_call>\n<function=write>\n</function>\n</tool_call>"
    assert read(text) == ("", [("write", "call_0", "{}")])
    text = '<tool_call>{"name": "write", "arguments": {}}</tool_call>'
    assert read(text) == ("", [("write", "call_0", "{}")])
    text = '<tool_call>{"name": "write"}</tool_call>'
    assert read(text) == ("", [("write", "call_0", "{}")])


def test_json_is_passed_on_as_it_is_written() -> None:
    arguments = '{"a":[1,{"b":"}]\\"{"}],  "c":null}'
    text = (
        f'<tool_call> {{"name":"write","arguments":{arguments},"id":{{"x":1}}}} </tool_call>after'
    )
    assert read(text) == ("after", [("write", "call_0", arguments)])


def test_a_quoted_call_belongs_to_the_value() -> None:
    text = (
        f"<tool_call><function=write><parameter=text>\n{XML}\n</parameter></function></tool_call>"
    )
    content, calls = read(text)
    assert content == ""
    assert [json.loads(arguments) for _, _, arguments in calls] == [{"text": XML}]
    assert read(*text) == (content, calls)


def test_lone_surrogates_stay_escaped() -> None:
    text = '<tool_call><function=weather><parameter=deep>{"x": "\\ud800"}</parameter></function>'
    _, calls = read(text)
    assert calls[0][2] == '{"deep": {"x": "\\ud800"}}'


# Calls that break off after they were certain, what is left of their arguments, and the content.
BROKEN = [
    ("<tool_call><function=write><parameter=a>\nhalf a va", '{"a": "half a va', ""),
    ("<tool_call><function=weather><parameter=days>\n1", '{"days": ', ""),
    ("<tool_call><function=write><parameter=a>\n1\n</parameter>", '{"a": "1\\n</parameter>', ""),
    (
        "<tool_call><function=write><parameter=a>\n1\n</function>\n</tool_call>",
        '{"a": "1',
        "",
    ),
    (
        "<tool_call><function=write><parameter=a>1</parameter><parameter=a>2</parameter></function>",
        '{"a": "1"',
        "<parameter=a>2</parameter></function>",
    ),
    ("<tool_call><function=write><parameter=>", "", "<parameter=>"),
    ('<tool_call>{"name": "write", "arguments": {"x": "op', '{"x": "op', ""),
    (
        '<tool_call>{"name": "write", "arguments": {"x": "op}}</tool_call>',
        '{"x": "op}}</tool_call>',
        "",
    ),
    ('<tool_call>{"name": "write", "arguments": {"x": </tool_call>', '{"x": ', ""),
    ('<tool_call>{"name": "write", "arguments": {"x": "a\n b', '{"x": "a', "b"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "arguments", "content"), BROKEN)
def test_a_call_that_breaks_off_has_arguments_that_end_early(
    text: str, arguments: str, content: str
) -> None:
    assert read(text) == (
        content,
        [("write" if "write" in text else "weather", "call_0", arguments)],
    )
    assert read(*text) == read(text)
    with pytest.raises(ValueError, match=r"."):
        json.loads(arguments)


@pytest.mark.parametrize("text", [t for t, _, _ in BROKEN if "</tool_call>" in t])
def test_a_sound_call_after_a_broken_one_is_found(text: str) -> None:
    _, calls = read(f"{text}\n{XML}")
    assert calls[-1] == ("weather", "call_1", '{"city": "Paris", "days": 3}')


@pytest.mark.parametrize("text", [UNKNOWN, "<tool_call>soon</tool_call>", "<tool_call>", "a < b "])
def test_what_is_not_certain_is_read_as_a_whole(text: str) -> None:
    assert read(*text) == read_whole(text)


VALUES = st.lists(
    st.sampled_from(
        [*("a", "\n", " ", '"', "\\", "é", "<", "</", "5", "None", "null", "{}", "東", "<tool"),
         *("</parameter>", "</parameter>\n", "</tool_call>", "<function=f>", "</function>")]
    ),
    max_size=6,
).map("".join)  # fmt: skip


@st.composite
def sound_calls(draw: st.DrawFn) -> str:
    """A call that `ToolCallParser` finds, in either form."""
    name = draw(st.sampled_from(["weather", "write"]))
    keys = draw(st.lists(st.sampled_from([*PARAMETERS["properties"], "x"]), unique=True))
    arguments = {key: draw(VALUES) for key in keys}
    if draw(st.booleans()):
        call = {"name": name, "arguments": arguments}
        return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"
    values = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in arguments.items())
    return f"<tool_call>\n<function={name}>\n{values}</function>\n</tool_call>"


@settings(deadline=None)
@given(
    parts=st.lists(st.one_of(sound_calls(), st.sampled_from(["Hi", " \n", "<tool", UNKNOWN]))),
    data=st.data(),
)
def test_pieces_joined_are_the_whole_calls(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    edges = [0, *cuts, len(text)]
    chunks = [text[a:b] for a, b in pairwise(edges)]
    content, calls = read_whole(text)
    if any(part not in ("Hi", " \n", "<tool") for part in parts) and "<tool_call>" in content:
        return  # a value that reads like the end of its function: see BROKEN
    assert read(*chunks) == (content, calls)


PIECES = [
    *("<tool_call>", "</tool_call>", "<function=write>", "</function>", "<parameter=p>"),
    *("</parameter>", "\n", " ", "word", "<", '{"name": "write", "arguments": {"k": "', '"}}', XML),
    *("<function=weather>", "<parameter=days>", "7", HERMES),
]


@given(chunks=chunks_of(PIECES))
def test_cuts_make_no_difference(chunks: list[str]) -> None:
    assert read(*chunks) == read("".join(chunks))


@given(chunks=chunks_of(PIECES))
def test_without_calls_the_text_is_unchanged(chunks: list[str]) -> None:
    content, calls = read(*chunks)
    if not calls:
        assert content == "".join(chunks)


def test_long_values_take_no_quadratic_time() -> None:
    text = "<tool_call><function=write><parameter=p>\n" + "a </parameter> <tool_call>\n" * 20_000
    assert len(read(text)[1]) == 1
    assert len(read(*text.split(" "))[1]) == 1


def test_readers_alone() -> None:
    xml = XMLArguments(PARAMETERS)
    assert xml.feed("<parameter=days>4</parameter></function>", False) == '{"days": 4}'
    assert xml.rest is None
    assert xml.feed(" </tool_call> and", False) == ""
    assert xml.rest == " and"
    hermes = JSONArguments()
    assert hermes.feed('{"a": [1]', False) == '{"a": [1]'
    assert hermes.feed("}} tail", True) == "}"
    assert hermes.rest == "tail"
