"""The official client against a real server with a tiny model: completions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Completion
from serving import Served, serving
from serving_engines import CONTEXT, loads


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[Served]:
    with serving(loads(model)) as it:
        yield it


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def ask(client: openai.OpenAI, **fields: Any) -> Completion:
    given: dict[str, Any] = {"model": "tiny", "prompt": "and the", "max_tokens": 12, "seed": 5}
    extra = fields.pop("extra", {})
    answer = client.completions.create(**(given | fields), extra_body=extra)
    assert isinstance(answer, Completion)
    return answer


def stream(client: openai.OpenAI, **fields: Any) -> list[dict[str, Any]]:
    given: dict[str, Any] = {"model": "tiny", "prompt": "and the", "max_tokens": 12, "seed": 5}
    with client.completions.create(**(given | fields), stream=True) as events:
        return [event.to_dict() for event in events]


def test_an_answer(client: openai.OpenAI) -> None:
    answer = ask(client)
    assert answer.choices[0].text
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    assert answer.id.startswith("cmpl-")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"echo": True},
        {"n": 3},
        {"prompt": ["and", "the other", ""], "n": 2},
        {"logprobs": 2},
        {"temperature": 0, "stop": "e"},
    ],
)
def test_a_stream_says_what_a_whole_answer_says(
    client: openai.OpenAI, fields: dict[str, Any]
) -> None:
    if "" in fields.get("prompt", ()):
        fields = {**fields, "prompt": ["and", "the other"]}
    answer = ask(client, **fields)
    events = stream(client, **fields, stream_options={"include_usage": True})
    for choice in answer.choices:
        own = [c for event in events for c in event["choices"] if c["index"] == choice.index]
        assert "".join(c["text"] for c in own) == choice.text
        assert own[-1]["finish_reason"] == choice.finish_reason
        if choice.logprobs is not None:
            for name, values in choice.logprobs.to_dict().items():
                assert isinstance(values, list)
                assert [one for c in own for one in c["logprobs"][name]] == values
    assert events[-1]["choices"] == []
    assert answer.usage is not None
    assert events[-1]["usage"]["total_tokens"] == answer.usage.total_tokens


def test_prompts_are_answered_in_order(client: openai.OpenAI) -> None:
    prompts = ["and", "the other", "in"]
    alone = [ask(client, prompt=prompt).choices[0].text for prompt in prompts]
    together = ask(client, prompt=prompts)
    assert [choice.text for choice in together.choices] == alone
    assert [choice.index for choice in together.choices] == [0, 1, 2]


def test_prompts_of_token_ids(client: openai.OpenAI) -> None:
    first = ask(client, extra={"return_token_ids": True}).choices[0].to_dict()
    ids = first["prompt_token_ids"]
    assert isinstance(ids, list)
    assert ask(client, prompt=ids).choices[0].text == first["text"]
    assert ask(client, prompt=[ids, ids]).choices[1].text == first["text"]
    echoed = ask(client, prompt=ids, echo=True).choices[0].text
    assert echoed == f"and the{first['text']}"


def test_seeds_follow_each_other(client: openai.OpenAI) -> None:
    each = [choice.text for choice in ask(client, n=3, temperature=2).choices]
    assert each == [ask(client, seed=5 + i, temperature=2).choices[0].text for i in range(3)]


def test_logprobs(client: openai.OpenAI) -> None:
    given = ask(client, logprobs=2).choices[0].logprobs
    assert given is not None
    assert given.tokens is not None
    assert given.top_logprobs is not None
    assert (
        len(given.tokens) == len(given.token_logprobs or ()) == len(given.text_offset or ()) == 12
    )
    assert given.text_offset is not None
    assert given.text_offset[0] == 0
    assert all(2 <= len(top) <= 3 for top in given.top_logprobs)
    assert all(len(top) == 1 for top in ask(client, logprobs=0).choices[0].logprobs.top_logprobs)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "fields", [{"temperature": 0}, {"temperature": 1.5}, {"guided_regex": "[a-z ]{5,9}"}]
)
def test_speculation_changes_nothing(client: openai.OpenAI, fields: dict[str, Any]) -> None:
    def said(n_max: int) -> Any:
        answer = ask(
            client,
            logprobs=2,
            extra={"speculative": {"n_max": n_max}, "return_tokens": True, **fields},
        )
        return answer.choices[0].to_dict()

    plain = said(0)
    assert said(3) == plain
    assert said(1) == plain


@pytest.mark.parametrize(
    ("fields", "param", "part"),
    [
        ({"prompt": []}, "prompt", "text"),
        ({"prompt": ""}, "prompt", "no tokens"),
        ({"prompt": [5, 10**6]}, "prompt", "outside 0..319"),
        ({"prompt": "and " * CONTEXT}, "prompt", "context"),
        ({"suffix": "x"}, "suffix", "not supported"),
        ({"best_of": 3}, "best_of", "'n'"),
        ({"echo": True, "logprobs": 1}, "echo", "'logprobs'"),
        ({"logprobs": 30}, "logprobs", "20"),
        ({"n": 100, "prompt": ["a", "b"]}, "n", "128"),
        ({"n": 67}, "n", "67 answers at once"),
    ],
)
def test_refusals(client: openai.OpenAI, fields: dict[str, Any], param: str, part: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **fields)
    assert caught.value.param == param
    assert part in caught.value.message
