"""Events and whole answers are made of the same pieces, in OpenAI's shape."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from scripted import ARGUMENTS, CALL, TOOLS, bundled_tokenizer, chunks_of_text

from headlong.engine.requests import Chunk
from headlong.server.openai.answer_schema import PromptProgress, as_json
from headlong.server.openai.answering import AnswerHead, Live, Shown
from headlong.server.openai.chat_events import ChatEvents, WholeChat
from headlong.server.openai.chat_reader import ChatReader

TOKENIZER = bundled_tokenizer()
HEAD = AnswerHead("chatcmpl-1", 17, "model", "fp_1", tier=False)
PROMPT = [5, 6, 7]
THOUGHT = f"<think>It is late.</think>I will look.\n{CALL}"


def readers(count: int) -> list[ChatReader]:
    return [ChatReader(TOKENIZER, "assistant\n", TOOLS) for _ in range(count)]


def script(*texts: str, **options: Any) -> list[tuple[int, Chunk]]:
    """The chunks of several answers, taking turns."""
    each = [chunks_of_text(TOKENIZER, text, prompt=PROMPT, **options) for text in texts]
    longest = max(map(len, each))
    return [
        (index, chunks[turn])
        for turn in range(longest)
        for index, chunks in enumerate(each)
        if turn < len(chunks)
    ]


def events(*texts: str, shown: Shown | None = None, **options: Any) -> list[dict[str, Any]]:
    stream = ChatEvents(HEAD, shown or Shown(), PROMPT, readers(len(texts)), TOKENIZER)
    made = [
        one
        for index, chunk in script(*texts, **options)
        for one in stream.feed(index, chunk, Live())
    ]
    made += stream.end()
    data = [as_json(one) for one in made]
    for one in data:
        ChatCompletionChunk.model_validate(one, strict=True)
    return data


def whole(*texts: str, shown: Shown | None = None, **options: Any) -> dict[str, Any]:
    answer = WholeChat(HEAD, shown or Shown(), PROMPT, readers(len(texts)), TOKENIZER)
    for index, chunk in script(*texts, **options):
        answer.feed(index, chunk)
    data = as_json(answer.answer())
    ChatCompletion.model_validate(data, strict=True)
    return data


def joined(made: list[dict[str, Any]], index: int = 0) -> dict[str, Any]:
    """The message that a client puts together from events."""
    message: dict[str, Any] = {"content": None}
    for choice in [c for event in made for c in event["choices"] if c["index"] == index]:
        delta = choice["delta"]
        for name in ("role", "content", "reasoning_content"):
            if name in delta:
                message[name] = (message.get(name) or "") + delta[name]
        for piece in delta.get("tool_calls", ()):
            calls = message.setdefault("tool_calls", [])
            if piece["index"] == len(calls):
                function = {"name": piece["function"]["name"], "arguments": ""}
                calls.append({"id": piece["id"], "type": piece["type"], "function": function})
            calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
    return message


def test_a_stream_begins_with_the_role_and_ends_with_the_reason() -> None:
    first, *middle, last = events("Hello there, you.")
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [event["choices"][0]["finish_reason"] for event in [first, *middle]] == [None] * (
        1 + len(middle)
    )
    assert last["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert last["timings"]["predicted_n"] > 0
    assert all("timings" not in event and "usage" not in event for event in middle)
    assert {event["id"] for event in [first, *middle, last]} == {"chatcmpl-1"}


@pytest.mark.parametrize("text", ["Hello there.", "", THOUGHT, f"{CALL}\n{CALL}", "<think>Only"])
@pytest.mark.parametrize("per_step", [1, 3, 100])
def test_deltas_joined_are_the_message(text: str, per_step: int) -> None:
    message = whole(text, per_step=per_step)["choices"][0]["message"]
    streamed = joined(events(text, per_step=per_step))
    assert message.pop("refusal") is None
    for call in [*message.get("tool_calls", ()), *streamed.get("tool_calls", ())]:
        assert call.pop("id").startswith("call_")
    if message["content"] is None:
        assert streamed["content"] == ""
        streamed["content"] = None
    assert streamed == message


def test_an_answer_of_calls_alone_has_no_content() -> None:
    choice = whole(CALL)["choices"][0]
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert (call["type"], call["function"]) == (
        "function",
        {"name": "weather", "arguments": ARGUMENTS},
    )
    assert choice["finish_reason"] == "tool_calls"
    assert whole("")["choices"][0]["message"]["content"] == ""


def test_calls_are_streamed_name_first_and_one_piece_to_a_delta() -> None:
    deltas = [event["choices"][0]["delta"] for event in events(CALL)]
    pieces = [delta["tool_calls"] for delta in deltas if "tool_calls" in delta]
    assert {len(piece) for piece in pieces} == {1}
    first, *others = [piece[0] for piece in pieces]
    assert first["function"] == {"name": "weather", "arguments": ""}
    assert first["type"] == "function"
    assert all(set(piece) == {"index", "function"} for piece in others)
    assert all(set(piece["function"]) == {"arguments"} for piece in others)
    assert len(others) > 3


def test_usage() -> None:
    usage = whole(THOUGHT, cached=2)["usage"]
    thought = len(TOKENIZER.encode("<think>It is late.</think>", add_bos=False))
    tokens = len(TOKENIZER.encode(THOUGHT, add_bos=False)) + 1
    assert usage["prompt_tokens"] == 3
    assert usage["completion_tokens"] == tokens
    assert usage["total_tokens"] == tokens + 3
    assert usage["prompt_tokens_details"] == {"cached_tokens": 2}
    details = usage["completion_tokens_details"]
    assert details["reasoning_tokens"] == thought
    assert details["accepted_prediction_tokens"] > 0
    *others, last = events(THOUGHT, shown=Shown(usage=True), cached=2)
    assert last["choices"] == []
    assert last["usage"] == usage
    assert last["timings"]["cache_n"] == 2
    assert all(event["usage"] is None and "timings" not in event for event in others)


def test_usage_so_far() -> None:
    made = events("Hello there, you.", shown=Shown(running_usage=True, usage=True))
    counts = [event["usage"]["completion_tokens"] for event in made]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    assert {event["usage"]["prompt_tokens"] for event in made} == {3}


def test_several_answers() -> None:
    texts = ("One.", "Two and more words.", "")
    made = events(*texts)
    for index, text in enumerate(texts):
        assert joined(made, index)["content"] == text
    assert ["timings" in event for event in made].count(True) == 1
    assert "timings" in made[-1]
    answer = whole(*texts, cached=1)
    assert [c["message"]["content"] for c in answer["choices"]] == list(texts)
    assert answer["usage"]["prompt_tokens"] == 3  # once for all
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 1
    assert answer["timings"]["predicted_n"] == answer["usage"]["completion_tokens"]


def test_logprobs_are_those_of_every_token_but_the_last() -> None:
    shown = Shown(logprobs=True)
    tokens = TOKENIZER.encode(THOUGHT, add_bos=False)
    entries = whole(THOUGHT, shown=shown, top=2)["choices"][0]["logprobs"]["content"]
    assert [bytes(entry["bytes"]) for entry in entries] == list(map(TOKENIZER.token_bytes, tokens))
    assert {entry["logprob"] for entry in entries} == {-0.5}
    assert [top["logprob"] for top in entries[0]["top_logprobs"]] == [-1.0, -2.0]
    streamed = [
        entry
        for event in events(THOUGHT, shown=shown, top=2)
        if (given := event["choices"][0]["logprobs"])
        for entry in given["content"]
    ]
    assert streamed == entries


@pytest.mark.parametrize("per_step", [1, 4])
def test_tokens_and_drafts_of_every_step(per_step: int) -> None:
    shown = Shown(tokens=True, token_ids=True, accepted=True)
    chunks = chunks_of_text(TOKENIZER, THOUGHT, per_step=per_step)
    expected = [token for chunk in chunks for token in chunk.tokens]
    made = [event["choices"][0] for event in events(THOUGHT, shown=shown, per_step=per_step)]
    assert [token for choice in made for token in choice.get("tokens", ())] == expected
    assert [token for choice in made for token in choice.get("token_ids", ())] == expected
    assert sum(c.get("accepted", 0) for c in made) == sum(c.accepted for c in chunks)
    answer = whole(THOUGHT, shown=shown, per_step=per_step)
    assert answer["choices"][0]["tokens"] == expected
    assert "accepted" not in answer["choices"][0]
    assert answer["prompt_token_ids"] == PROMPT


@pytest.mark.parametrize("per_step", [1, 4])
def test_the_text_of_every_step(per_step: int) -> None:
    text = "é 東京 and\n" + CALL
    chunks = [c for c in chunks_of_text(TOKENIZER, text, per_step=per_step) if c.tokens]
    made = events(text, shown=Shown(drafts=True, accepted=True), per_step=per_step)
    steps = [event["drafts"] for event in made if "drafts" in event]
    assert [(s["accepted"], s["tokens"]) for s in steps] == [
        (c.accepted, len(c.tokens)) for c in chunks
    ]
    assert all(len(step["pieces"]) == step["tokens"] for step in steps)
    assert "".join(piece for step in steps for piece in step["pieces"]) == text


def test_progress_of_the_prompt() -> None:
    stream = ChatEvents(HEAD, Shown(progress=True), PROMPT, readers(1), TOKENIZER)
    progress = PromptProgress(total=3, cache=1, processed=2, time_ms=5)
    (event,) = stream.feed(0, Chunk("", (), 0, 2), Live(progress=progress))
    data = as_json(event)
    assert data["prompt_progress"] == {"total": 3, "cache": 1, "processed": 2, "time_ms": 5}
    assert data["choices"][0]["delta"] == {}
    assert list(stream.feed(0, Chunk("", (), 0, 3), Live())) == []


def test_timings_so_far() -> None:
    stream = ChatEvents(HEAD, Shown(timings=True), PROMPT, readers(1), TOKENIZER)
    chunk = Chunk("Hi", (40,), 0, 3)
    data = [as_json(event) for event in stream.feed(0, chunk, Live(timings={"predicted_n": 1}))]
    assert data[-1]["timings"] == {"predicted_n": 1}


def test_the_tier_is_told_to_those_who_ask() -> None:
    assert "service_tier" not in HEAD.fields()
    asked = AnswerHead("a", 1, "m", "f", tier=True)
    assert asked.fields()["service_tier"] == "default"
