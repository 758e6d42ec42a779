"""Completions as events and as whole answers, in OpenAI's shape."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import Completion
from scripted import bundled_tokenizer, chunks_of_text

from headlong.engine.requests import Chunk
from headlong.server.openai.answer_schema import PromptProgress, as_json
from headlong.server.openai.answering import AnswerHead, Live, Shown
from headlong.server.openai.completion_events import (
    Completed,
    CompletionEvents,
    WholeCompletion,
)

TOKENIZER = bundled_tokenizer()
HEAD = AnswerHead("cmpl-1", 17, "model", "fp_1", tier=True)
TEXTS = ("One é 東.", "Two\n", "", "Four and some more words")
PROMPTS = (Completed((1, 2), "AB"), Completed((3, 4, 5)))


def script(**options: Any) -> list[tuple[int, Chunk]]:
    return [
        (index, chunk)
        for index, text in enumerate(TEXTS)
        for chunk in chunks_of_text(
            TOKENIZER, text, prompt=PROMPTS[index // 2].tokens, cached=1, **options
        )
    ]


def events(shown: Shown | None = None, **options: Any) -> list[dict[str, Any]]:
    stream = CompletionEvents(HEAD, shown or Shown(), PROMPTS, 2, TOKENIZER)
    made = [one for index, chunk in script(**options) for one in stream.feed(index, chunk, Live())]
    data = [as_json(one) for one in [*made, *stream.end()]]
    for one in data:
        given = [c | {"finish_reason": c["finish_reason"] or "stop"} for c in one["choices"]]
        Completion.model_validate(one | {"choices": given}, strict=True)
    return data


def whole(shown: Shown | None = None, **options: Any) -> dict[str, Any]:
    answer = WholeCompletion(HEAD, shown or Shown(), PROMPTS, 2, TOKENIZER)
    for index, chunk in script(**options):
        answer.feed(index, chunk)
    data = as_json(answer.answer())
    Completion.model_validate(data, strict=True)
    return data


def test_choices_come_in_the_order_of_prompts_and_echo_them() -> None:
    choices = whole()["choices"]
    assert [c["index"] for c in choices] == [0, 1, 2, 3]
    assert [c["text"] for c in choices] == [
        "ABOne é 東.",
        "ABTwo\n",
        "",
        "Four and some more words",
    ]
    assert {c["finish_reason"] for c in choices} == {"stop"}


@pytest.mark.parametrize("per_step", [1, 3, 100])
def test_events_joined_are_the_answer(per_step: int) -> None:
    shown = Shown(logprobs=True, tokens=True)
    choices = whole(shown, per_step=per_step, top=2)["choices"]
    for index, choice in enumerate(choices):
        made = [
            c
            for event in events(shown, per_step=per_step, top=2)
            for c in event["choices"]
            if c["index"] == index
        ]
        assert "".join(c["text"] for c in made) == choice["text"]
        assert [token for c in made for token in c["tokens"]] == choice["tokens"]
        assert [c["finish_reason"] for c in made][:-1] == [None] * (len(made) - 1)
        assert made[-1]["finish_reason"] == choice["finish_reason"]
        for name, values in choice["logprobs"].items():
            assert [one for c in made for one in c["logprobs"][name]] == values


def test_logprobs() -> None:
    given = whole(Shown(logprobs=True), top=2)["choices"][0]["logprobs"]
    # Bytes that are no characters of their own are spelled out.
    text = "".join(
        bytes(int(part, 16) for part in token.split("\\x")[1:]).decode("latin-1")
        if token.startswith("bytes:")
        else token.encode().decode("latin-1")
        for token in given["tokens"]
    )
    assert text.encode("latin-1").decode() == TEXTS[0]
    assert given["text_offset"][0] == 0
    assert given["text_offset"] == sorted(given["text_offset"])
    assert given["text_offset"][-1] <= len(TEXTS[0]) - 1
    assert set(given["token_logprobs"]) == {-0.5}
    assert {len(top) for top in given["top_logprobs"]} <= {2, 3}
    for token, top in zip(given["tokens"], given["top_logprobs"], strict=True):
        assert token in top


def test_usage_and_timings() -> None:
    answer = whole()
    tokens = sum(len(TOKENIZER.encode(text, add_bos=False)) + 1 for text in TEXTS)
    assert answer["usage"]["prompt_tokens"] == 5
    assert answer["usage"]["completion_tokens"] == tokens
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    assert answer["timings"]["predicted_n"] == tokens
    assert answer["service_tier"] == "default"
    made = events(Shown(usage=True))
    assert made[-1]["choices"] == []
    assert made[-1]["usage"] == answer["usage"]
    assert all(event["usage"] is None for event in made[:-1])
    made = events()
    assert "timings" in made[-1]
    assert all("timings" not in event for event in made[:-1])
    made = events(Shown(running_usage=True))
    assert [e["usage"]["completion_tokens"] for e in made][-1] == tokens


def test_ids_of_prompts() -> None:
    choices = whole(Shown(token_ids=True))["choices"]
    assert [c["prompt_token_ids"] for c in choices] == [[1, 2], [1, 2], [3, 4, 5], [3, 4, 5]]
    made = [c for event in events(Shown(token_ids=True)) for c in event["choices"]]
    assert [c["index"] for c in made if "prompt_token_ids" in c] == [0, 1, 2, 3]


def test_the_text_of_every_step() -> None:
    made = events(Shown(drafts=True, accepted=True))
    for index, text in enumerate(TEXTS):
        own = [event for event in made if event["choices"][0]["index"] == index]
        assert "".join(piece for event in own for piece in event["drafts"]["pieces"]) == text
        assert [e["choices"][0]["accepted"] for e in own] == [e["drafts"]["accepted"] for e in own]


def test_progress_of_the_prompt() -> None:
    stream = CompletionEvents(HEAD, Shown(progress=True), PROMPTS, 2, TOKENIZER)
    progress = PromptProgress(total=3, cache=0, processed=2, time_ms=5)
    (event,) = stream.feed(1, Chunk("", (), 0, 2), Live(progress=progress))
    data = as_json(event)
    assert data["prompt_progress"]["processed"] == 2
    assert data["choices"] == [{"index": 1, "text": "", "logprobs": None, "finish_reason": None}]
