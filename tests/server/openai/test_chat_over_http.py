"""The official client against a real server with the bundled model: chat completions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import openai
import pytest
from chatting import FORMAT, MESSAGES, SCHEMA, SMALL_TOOLS, ask, content, stream
from scripted import TOOLS
from serving import Served, serving
from serving_engines import CONTEXT, loads

from headlong.tools.demo import bundled_model


def test_an_answer(client: openai.OpenAI) -> None:
    answer = ask(client)
    (choice,) = answer.choices
    assert choice.message.content
    assert choice.finish_reason == "length"
    assert choice.logprobs is None
    assert answer.model == "tiny"
    assert answer.id.startswith("chatcmpl-")
    assert (answer.system_fingerprint or "").startswith("fp_")
    usage = answer.usage
    assert usage is not None
    assert usage.completion_tokens == 24
    assert usage.total_tokens == usage.prompt_tokens + 24
    timings = answer.to_dict()["timings"]
    assert isinstance(timings, dict)
    assert timings["predicted_n"] == 24
    details = usage.completion_tokens_details
    assert details is not None
    assert details.accepted_prediction_tokens == timings["draft_n_accepted"] > 0


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0},
        {"n": 2},
        {"extra": {"chat_template_kwargs": {"enable_thinking": True}}, "max_tokens": 60},
        {"stop": ["def", "return"], "max_tokens": 60},
        {"response_format": FORMAT},
    ],
)
def test_a_stream_says_what_a_whole_answer_says(
    client: openai.OpenAI, fields: dict[str, Any]
) -> None:
    answer = ask(client, **fields)
    events = stream(client, **fields, stream_options={"include_usage": True})
    for choice in answer.choices:
        said = choice.message.to_dict()
        assert content(events, choice.index) == (said["content"] or "")
        reasoning = content(events, choice.index, "reasoning_content")
        assert reasoning == said.get("reasoning_content", "")
        reasons = [
            given["finish_reason"]
            for event in events
            for given in event["choices"]
            if given["index"] == choice.index and given["finish_reason"]
        ]
        assert reasons == [choice.finish_reason]
    last = events[-1]
    assert last["choices"] == []
    assert answer.usage is not None
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert last["usage"][name] == answer.usage.to_dict()[name]
    assert last["timings"]["predicted_n"] == answer.usage.completion_tokens


def test_choices_are_drawn_with_seeds_that_follow_each_other(client: openai.OpenAI) -> None:
    three = [choice.message.content for choice in ask(client, n=3).choices]
    assert len(set(three)) == 3
    assert three == [ask(client, seed=5 + i).choices[0].message.content for i in range(3)]


def test_the_second_time_the_prompt_has_been_read(client: openai.OpenAI) -> None:
    long = [{"role": "user", "content": "Add these numbers. " * 75}]
    first, second = ask(client, messages=long), ask(client, messages=long)
    assert first.choices[0].message.content == second.choices[0].message.content
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    assert (second.usage.prompt_tokens_details.cached_tokens or 0) > 0
    cold = ask(client, messages=long, extra={"cache_prompt": False})
    assert cold.usage is not None
    assert cold.usage.prompt_tokens_details is not None
    assert cold.usage.prompt_tokens_details.cached_tokens == 0
    assert cold.choices[0].message.content == first.choices[0].message.content


def test_reasoning_is_set_apart(client: openai.OpenAI) -> None:
    thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    answer = ask(client, extra=thinking)
    message = answer.choices[0].message.to_dict()
    assert message["reasoning_content"]
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert (answer.usage.completion_tokens_details.reasoning_tokens or 0) > 0
    raw = ask(client, extra={**thinking, "reasoning_format": "none"}).choices[0].message.to_dict()
    assert "reasoning_content" not in raw
    assert str(raw["content"]).startswith(str(message["reasoning_content"]))
    effort = (
        ask(client, reasoning_effort="high", extra={"chat_template_kwargs": {}})
        .choices[0]
        .message.to_dict()
    )
    assert effort["reasoning_content"] == message["reasoning_content"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_call_that_must_be(client: openai.OpenAI, seed: int) -> None:
    fields: dict[str, Any] = {
        "tools": SMALL_TOOLS,
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "seed": seed,
        "max_tokens": 120,
    }
    choice = ask(client, **fields).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name in ("weather", "now")
    arguments = json.loads(call.function.arguments)
    if call.function.name == "weather":
        assert arguments["city"] in ("Paris", "Rome")
        assert 1 <= arguments["days"] <= 9
    pieces = [
        piece
        for event in stream(client, **fields)
        for given in event["choices"]
        for piece in given["delta"].get("tool_calls", ())
    ]
    assert pieces[0]["function"]["name"] == call.function.name
    text = "".join(piece["function"]["arguments"] for piece in pieces)
    assert text == call.function.arguments


def test_a_call_by_name_through_the_clients_stream_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="tiny",
        messages=MESSAGES,
        tools=SMALL_TOOLS,
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        max_tokens=120,
        seed=1,
    ) as events:
        kinds = [event.type for event in events]
        final = events.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    (call,) = final.choices[0].message.tool_calls or []
    assert call.function.name == "weather"
    assert set(json.loads(call.function.arguments)) == {"city", "days"}


def test_calls_and_results_are_read(client: openai.OpenAI) -> None:
    first = ask(
        client, tools=SMALL_TOOLS, tool_choice="required", parallel_tool_calls=False, max_tokens=120
    )
    message = first.choices[0].message
    (call,) = message.tool_calls or []
    again = ask(
        client,
        messages=[
            *MESSAGES,
            message.to_dict(),
            {"role": "tool", "tool_call_id": call.id, "content": "Rain."},
        ],
        tools=SMALL_TOOLS,
    )
    assert again.choices[0].message.content


def test_tools_need_not_be_called(client: openai.OpenAI) -> None:
    choice = ask(client, tools=TOOLS).choices[0]
    assert choice.message.content
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "length"


def test_json_of_a_schema(client: openai.OpenAI) -> None:
    for seed in range(3):
        choice = ask(client, response_format=FORMAT, seed=seed, max_tokens=200).choices[0]
        answer = json.loads(choice.message.content or "")
        assert answer["kind"] in ("sum", "product")
        assert isinstance(answer["exact"], bool)
        assert choice.finish_reason == "stop"


@pytest.mark.parametrize("tools", [[], SMALL_TOOLS])
def test_json_after_reasoning(client: openai.OpenAI, tools: Any) -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": True}, "tools": tools}
    choice = ask(client, response_format=FORMAT, max_tokens=300, extra=extra).choices[0]
    if choice.finish_reason == "stop":
        assert json.loads(choice.message.content or "")["kind"] in ("sum", "product")
    assert choice.message.to_dict()["reasoning_content"]


def test_json_of_a_schema_or_a_call(client: openai.OpenAI) -> None:
    def said(opening: str, *others: str) -> Any:
        """An answer that begins with the opening, not with one of the others."""
        bias = [[opening, 100], *([other, -100] for other in others)]
        return ask(
            client, tools=SMALL_TOOLS, response_format=FORMAT, parallel_tool_calls=False,
            max_tokens=200, extra={"logit_bias": bias},
        ).choices[0]  # fmt: skip

    called = said("<tool_call>", "{")
    assert called.finish_reason == "tool_calls"
    assert called.message.content is None
    (call,) = called.message.tool_calls
    assert call.function.name in ("weather", "now")
    answered = said("{", "<tool_call>", "<")
    assert answered.finish_reason == "stop"
    assert set(json.loads(answered.message.content)) == {"kind", "exact"}
    assert answered.message.tool_calls is None


def test_other_forms(client: openai.OpenAI) -> None:
    def said(**extra: Any) -> str:
        return ask(client, extra=extra, max_tokens=200).choices[0].message.content or ""

    assert said(grammar='root ::= "yes" | "no"') in ("yes", "no")
    assert said(guided_choice=["red", "blue"]) in ("red", "blue")
    assert said(structured_outputs={"regex": "[ab]{3}"}).strip("ab") == ""
    assert json.loads(said(json_schema=SCHEMA))["kind"] in ("sum", "product")


def test_logprobs(client: openai.OpenAI) -> None:
    choice = ask(client, logprobs=True, top_logprobs=3, temperature=0).choices[0]
    assert choice.logprobs is not None
    entries = choice.logprobs.content or []
    assert len(entries) == 24
    assert b"".join(bytes(e.bytes or ()) for e in entries).decode() == choice.message.content
    for entry in entries:
        assert entry.logprob <= 0
        tops = [top.logprob for top in entry.top_logprobs]
        assert tops == sorted(tops, reverse=True)
        assert len(tops) == 3
        assert sum(map(math.exp, tops)) <= 1 + 1e-5
        # At temperature 0 the likeliest token is taken.
        assert entry.token == entry.top_logprobs[0].token
    streamed = [
        entry
        for event in stream(client, logprobs=True, top_logprobs=3, temperature=0)
        for given in event["choices"]
        if given["logprobs"]
        for entry in given["logprobs"]["content"]
    ]
    assert streamed == [entry.to_dict() for entry in entries]


def test_bias(client: openai.OpenAI, served: Served) -> None:
    first = ask(client, temperature=0, extra={"return_tokens": True}).choices[0].to_dict()
    token = first["tokens"][0]  # type: ignore[index]
    banned = ask(
        client, temperature=0, logit_bias={str(token): -100}, extra={"return_tokens": True}
    )
    assert token not in banned.choices[0].to_dict()["tokens"]  # type: ignore[operator]
    favoured = ask(
        client, logit_bias={str(token): 100}, extra={"return_tokens": True}, max_tokens=8
    )
    assert favoured.choices[0].to_dict()["tokens"] == [token] * 8


def test_length(client: openai.OpenAI) -> None:
    exact = ask(client, max_tokens=300, extra={"ignore_eos": True})
    assert exact.usage is not None
    assert exact.usage.completion_tokens == 300
    both = ask(client, max_completion_tokens=24, extra={"n_predict": 24})
    assert both.usage is not None
    assert both.usage.completion_tokens == 24


def test_until_the_context_is_full(client: openai.OpenAI) -> None:
    for fields in ({"max_tokens": -1}, {"max_tokens": None}):
        answer = ask(client, **fields, extra={"ignore_eos": True, "temperature": 0})
        assert answer.usage is not None
        assert answer.usage.total_tokens == CONTEXT
        assert answer.choices[0].finish_reason == "length"


def test_what_events_tell_besides(client: openai.OpenAI) -> None:
    extra = {
        "return_tokens": True,
        "return_token_ids": True,
        "return_drafts": True,
        "timings_per_token": True,
        "return_progress": True,
        "cache_prompt": False,
    }
    long = [{"role": "user", "content": "Add these numbers. " * 40}]
    events = stream(
        client,
        messages=long,
        extra=extra,
        stream_options={"include_usage": True, "continuous_usage_stats": True},
    )
    progress = [event["prompt_progress"] for event in events if "prompt_progress" in event]
    assert progress
    assert [p["processed"] for p in progress] == sorted({p["processed"] for p in progress})
    assert {p["cache"] for p in progress} == {0}
    steps = [event for event in events if "drafts" in event]
    tokens = [token for event in steps for token in event["choices"][0]["tokens"]]
    assert len(tokens) == 24
    assert [e["choices"][0]["accepted"] for e in steps] == [e["drafts"]["accepted"] for e in steps]
    assert sum(event["drafts"]["tokens"] for event in steps) == 24
    assert "".join(p for e in steps for p in e["drafts"]["pieces"]) == content(events)
    assert [event["timings"]["predicted_n"] for event in steps][-1] <= 24
    usages = [event["usage"]["completion_tokens"] for event in events]
    assert usages[-1] == 24
    assert usages == sorted(usages)
    assert len([event for event in events if "prompt_token_ids" in event]) == 1


def test_events_end_with_done(served: Served) -> None:
    body = {"messages": MESSAGES, "max_tokens": 4, "stream": True}
    lines = list(served.stream("/v1/chat/completions", body))
    assert lines[-1] == "data: [DONE]"
    last = lines[-2]
    assert isinstance(last, dict)
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["timings"]["predicted_n"] == 4


@pytest.mark.parametrize(
    ("fields", "param", "part"),
    [
        ({"temprature": 1}, "temprature", "did you mean 'temperature'"),
        ({"top_p": 3}, "top_p", "from 0 to 1"),
        ({"messages": []}, "messages", "at least 1"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_completion_tokens", "differ"),
        ({"max_tokens": 0}, "max_tokens", "1 or more"),
        ({"top_logprobs": 3}, "top_logprobs", "'logprobs'"),
        ({"tool_choice": "required"}, "tool_choice", "no 'tools'"),
        ({"json_schema": {"type": "objec"}}, "json_schema", "objec"),
        ({"grammar": "root ::= ("}, "grammar", "grammar"),
        ({"chat_template_kwargs": {"x": 1}}, "chat_template_kwargs", "enable_thinking"),
        ({"audio": {"voice": "x"}}, "audio", "text"),
        ({"logit_bias": {"99999999": 1}}, "logit_bias", "99999999"),
        ({"min_tokens": 30}, "min_tokens", "max_tokens"),
        ({"speculative": {"n_max": 99}}, "speculative.n_max", "99"),
        ({"repetition_penalty": 0}, "repetition_penalty", "0.01"),
        ({"messages": [{"role": "user", "content": "x " * 3000}]}, "messages", "context"),
        ({"n": 200}, "n", "128"),
    ],
)
def test_refusals(client: openai.OpenAI, fields: dict[str, Any], param: str, part: str) -> None:
    known = {name: fields[name] for name in ("messages",) if name in fields}
    extra = {name: value for name, value in fields.items() if name != "messages"}
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **known, extra={"max_tokens": 24, **extra})
    assert caught.value.param == param
    assert part in caught.value.message
    assert caught.value.type == "invalid_request_error"


def test_models(client: openai.OpenAI, tmp_path: Path) -> None:
    assert client.models.list().data[0].id == "tiny"
    assert ask(client, model="anything", max_tokens=1).model == "tiny"


def test_an_event_for_every_token() -> None:
    with (
        bundled_model() as path,
        serving(loads(path), stream_per_token=True) as served,
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client,
    ):
        events = stream(client, extra={"return_drafts": True, "return_tokens": True})
        steps = [event for event in events if "drafts" in event]
        assert [event["drafts"]["tokens"] for event in steps] == [1] * 24
        assert sum(event["drafts"]["accepted"] for event in steps) > 0
        assert content(events) == ask(client).choices[0].message.content


def test_other_models_can_be_refused() -> None:
    with (
        bundled_model() as path,
        serving(loads(path), accept_any_model=False, alias=("tiny", "small")) as served,
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client,
    ):
        assert ask(client, model="small", max_tokens=1).model == "tiny"
        with pytest.raises(openai.NotFoundError) as caught:
            ask(client, model="gpt-4")
        assert caught.value.code == "model_not_found"
        # The file's own template takes no tools.
        with pytest.raises(openai.BadRequestError) as refused:
            ask(client, tools=TOOLS)
        assert refused.value.param == "tools"
