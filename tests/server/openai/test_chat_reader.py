from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import ARGUMENTS, CALL, TOOLS, bundled_tokenizer, chunks_of_text

from headlong.server.openai.chat_reader import ChatReader

TOKENIZER = bundled_tokenizer()
OPENED = "<|im_start|>assistant\n<think>\n"


def read(
    text: str, *, opened: bool = False, tools: bool = False, per_step: int = 3, split: bool = True,
    parallel: bool = True, finish_reason: str = "stop",
) -> tuple[str, str, list[tuple[str, str]], ChatReader]:  # fmt: skip
    """Content, reasoning and calls of an answer."""
    prompt = OPENED if opened else "<|im_start|>assistant\n"
    reader = ChatReader(TOKENIZER, prompt, TOOLS if tools else [], split=split, parallel=parallel)
    content = reasoning = ""
    calls: list[tuple[str, str]] = []
    for chunk in chunks_of_text(TOKENIZER, text, per_step=per_step, finish_reason=finish_reason):
        delta = reader.feed(chunk)
        content += delta.content
        reasoning += delta.reasoning
        for piece in delta.calls:
            if piece.name is not None:
                calls.append((piece.name, ""))
            calls[-1] = (calls[-1][0], calls[-1][1] + piece.arguments_json)
    return content, reasoning, calls, reader


def test_reasoning_content_and_calls() -> None:
    text = f"It is late.\n</think>\n\nI will look.\n{CALL}"
    content, reasoning, calls, reader = read(text, opened=True, tools=True)
    assert content == "I will look."
    assert reasoning == "It is late."
    assert calls == [("weather", ARGUMENTS)]
    assert reader.finish_reason("stop") == "tool_calls"
    assert reader.finish_reason("length") == "length"


def test_an_answer_without_calls_ends_as_it_ends() -> None:
    *_, reader = read("Hello.", tools=True)
    assert reader.finish_reason("stop") == "stop"


def test_without_tools_a_call_is_text() -> None:
    content, _, calls, reader = read(CALL)
    assert (content, calls) == (CALL, [])
    assert reader.finish_reason("stop") == "stop"


@pytest.mark.parametrize("opened", [True, False])
def test_reasoning_left_in_the_content(opened: bool) -> None:
    block = "It is <late>.\n</think>\n\n" if opened else "<think>\nIt is late.\n</think>\n"
    content, reasoning, calls, _ = read(
        f"{block}Look: {CALL}", opened=opened, tools=True, split=False
    )
    assert (content, reasoning) == (f"{block}Look:", "")
    assert calls == [("weather", ARGUMENTS)]


def test_a_call_that_reasoning_quotes_is_none() -> None:
    for split in (True, False):
        content, reasoning, calls, _ = read(
            f"{CALL}</think>Done", opened=True, tools=True, split=split
        )
        assert calls == []
        assert content + reasoning == ("Done" + CALL if split else f"{CALL}</think>Done")


def test_one_call_where_only_one_may_be() -> None:
    *_, calls, _ = read(f"{CALL}\n{CALL}", tools=True)
    assert len(calls) == 2
    content, _, calls, reader = read(f"{CALL}\n{CALL}", tools=True, parallel=False)
    assert calls == [("weather", ARGUMENTS)]
    assert content == ""
    assert reader.finish_reason("stop") == "tool_calls"


@pytest.mark.parametrize("per_step", [1, 2, 3, 5, 50])
@pytest.mark.parametrize(
    ("text", "opened", "reasoning"),
    [
        ("It is late.\n</think>\n\nGood night.", True, "It is late.\n</think>"),
        ("<think>It is late.</think>Good night.", False, "<think>It is late.</think>"),
        ("\n\n<think>\nIt is late.\n</think>", False, "\n\n<think>\nIt is late.\n</think>"),
        ("Good night.", False, ""),
        ("Still at it", True, "Still at it"),
        ("<b> no tag", False, ""),
    ],
)
def test_tokens_of_reasoning_are_counted_one_by_one(
    text: str, opened: bool, reasoning: str, per_step: int
) -> None:
    *_, reader = read(text, opened=opened, per_step=per_step, finish_reason="length")
    assert reader.reasoning_tokens == len(TOKENIZER.encode(reasoning, add_bos=False))


PIECES = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "\n", " ", "text", "<", "é", CALL, "<tool_call>", "</tool_call>",
         '<tool_call>{"name": "now", "arguments": {}}</tool_call>', "<function=weather>"]
    ),
    max_size=8,
).map("".join)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(text=PIECES, opened=st.booleans(), split=st.booleans(), size=st.integers(1, 9))
def test_the_size_of_steps_makes_no_difference(
    text: str, opened: bool, split: bool, size: int
) -> None:
    some = read(text, opened=opened, tools=True, split=split, per_step=size)
    whole = read(text, opened=opened, tools=True, split=split, per_step=1000)
    assert some[:3] == whole[:3]
    assert some[3].reasoning_tokens == whole[3].reasoning_tokens


@settings(max_examples=60, deadline=None)
@given(text=PIECES, opened=st.booleans())
def test_without_tools_and_splitting_nothing_is_lost(text: str, opened: bool) -> None:
    content, reasoning, calls, _ = read(text, opened=opened, split=False)
    assert (content, reasoning, calls) == (text, "", [])
