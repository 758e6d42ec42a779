from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.engine.chat import AnswerReader, ChatChunk, ChatCompletion, ChatRequest
from headlong.engine.requests import Chunk, Completion, Timings
from headlong.errors import HeadlongError
from headlong.speculation import SpeculationStats
from headlong.tokenizer import ChatTemplate

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"days": {"type": "integer"}}},
        },
    }
]
CALL = (
    "<tool_call>\n<function=weather>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>"
)
ANSWER = f"<think>\nIt is late.\n</think>\n\nI will look.\n{CALL}\n"


def completion(text: str) -> Completion:
    timings = Timings(1, 0.1, 1, 0.0)
    return Completion(text, (1,), (1,), "stop", None, 0, SpeculationStats(), timings)


def read(pieces: list[str], prompt: str, tools: list[dict[str, object]]) -> list[ChatChunk]:
    reader = AnswerReader(prompt, tools)
    chunks = [Chunk(piece, (1,), 0, 1) for piece in pieces[:-1]]
    chunks.append(Chunk(pieces[-1], (1,), 0, 1, completion("".join(pieces))))
    return [reader.feed(chunk) for chunk in chunks]


def whole(text: str, prompt: str = "", tools: bool = True) -> ChatCompletion:
    (chunk,) = read([text], prompt, TOOLS if tools else [])
    assert chunk.answer is not None
    return chunk.answer


def test_an_answer_is_taken_apart() -> None:
    answer = whole(ANSWER)
    assert answer.reasoning.strip() == "It is late."
    assert answer.content.strip() == "I will look."
    (call,) = answer.tool_calls
    assert (call.name, json.loads(call.arguments_json)) == ("weather", {"days": 3})
    assert answer.completion.text == ANSWER


def test_a_block_that_the_prompt_opened_is_reasoning() -> None:
    text = "It is late.\n</think>\n\nGood night."
    assert whole(text, "<|im_start|>assistant\n<think>\n").reasoning.strip() == "It is late."
    assert whole(text, "<|im_start|>assistant\n").reasoning == ""


def test_without_tools_a_call_is_content() -> None:
    answer = whole(ANSWER, tools=False)
    assert answer.tool_calls == ()
    assert CALL in answer.content


@pytest.mark.parametrize("text", [ANSWER, ANSWER[:15], ANSWER[:-20], CALL[:-5], "<", "", "</thi"])
@given(cuts=st.lists(st.integers(0, len(ANSWER)), max_size=12), tools=st.booleans())
def test_how_an_answer_is_cut_makes_no_difference(text: str, cuts: list[int], tools: bool) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in pairwise(places)] or [""]
    chunks = read(pieces, "", TOOLS if tools else [])
    expected = whole(text, tools=tools)
    assert all(chunk.answer is None for chunk in chunks[:-1])
    answer = chunks[-1].answer
    assert answer is not None
    assert (answer.content, answer.reasoning) == (expected.content, expected.reasoning)
    calls = [(call.name, call.arguments_json) for call in answer.tool_calls]
    assert calls == [(call.name, call.arguments_json) for call in expected.tool_calls]
    # The chunks make up the answer.
    assert "".join(chunk.content for chunk in chunks) == answer.content
    assert "".join(chunk.reasoning for chunk in chunks) == answer.reasoning
    assert tuple(call for chunk in chunks for call in chunk.tool_calls) == answer.tool_calls


def test_a_conversation_becomes_the_templates_prompt() -> None:
    template = ChatTemplate(
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if tools %}{{ tools | length }} tools\n{% endif %}{{ mood }}"
    )
    request = ChatRequest([{"role": "user", "content": "hi"}], TOOLS, {"mood": "glad"})
    assert request.render(template).text == "user: hi\n1 tools\nglad"
    assert ChatRequest([{"role": "user", "content": "hi"}]).render(template).text == "user: hi\n"
    with pytest.raises(HeadlongError):
        ChatRequest([{"role": "user"}, 7]).render(template)  # type: ignore[list-item]
