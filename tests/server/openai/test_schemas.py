"""No field is ignored: each of OpenAI's is known and handled, and so is every one of ours."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params
from pydantic import ValidationError

from headlong.server.api_error import ApiError
from headlong.server.openai.chat_schema import ChatCompletionRequest
from headlong.server.openai.common_schema import CommonRequest
from headlong.server.openai.completion_schema import CompletionRequest
from headlong.server.openai.handling import Handling, handled_fields
from headlong.server.request_body import validation_error
from headlong.server.sampling_fields import SamplingFields

MESSAGES = [{"role": "user", "content": "Hello"}]
NEEDED: dict[type[CommonRequest], dict[str, Any]] = {
    ChatCompletionRequest: {"messages": MESSAGES},
    CompletionRequest: {"prompt": "Hello"},
}
BOTH = pytest.mark.parametrize("model", list(NEEDED))


def made(model: type[CommonRequest], /, **fields: Any) -> CommonRequest:
    return model.model_validate({**NEEDED[model], **fields})


def refusal(model: type[CommonRequest], /, **fields: Any) -> ApiError:
    with pytest.raises(ValidationError) as caught:
        made(model, **fields)
    return validation_error(RequestValidationError(caught.value.errors()))


def test_every_field_of_openai_is_handled() -> None:
    chat = {field.name for field in handled_fields(ChatCompletionRequest)}
    streaming = chat_create_params.CompletionCreateParamsStreaming.__annotations__
    assert {*chat_create_params.CompletionCreateParamsBase.__annotations__, *streaming} <= chat
    text = {field.name for field in handled_fields(CompletionRequest)}
    streaming = completion_create_params.CompletionCreateParamsStreaming.__annotations__
    assert {
        *completion_create_params.CompletionCreateParamsBase.__annotations__,
        *streaming,
    } <= text


@BOTH
def test_every_field_says_what_becomes_of_it(model: type[CommonRequest]) -> None:
    fields = list(handled_fields(model))
    assert len({field.name for field in fields}) == len(fields)
    for field in fields:
        assert field.note.endswith("."), field
        assert (field.handling is Handling.REFUSED) or not field.neutral
    inherited = {info.alias or name for name, info in SamplingFields.model_fields.items()}
    assert set(CommonRequest.inherited) == inherited


@BOTH
def test_refused_fields_are_errors_that_name_them(model: type[CommonRequest]) -> None:
    own = [
        field
        for field in handled_fields(model)
        if field.handling is Handling.REFUSED and field.name not in CommonRequest.inherited
    ]
    assert len(own) > 10
    for field in own:
        error = refusal(model, **{field.name: {"anything": 1}})
        assert (error.status_code, error.param) == (400, field.name)
        assert field.note.rstrip(".") in error.message
        for value in [None, *field.neutral]:
            made(model, **{field.name: value})


@BOTH
def test_null_is_left_out(model: type[CommonRequest]) -> None:
    nulls = {
        info.alias or name: None
        for name, info in model.model_fields.items()
        if not info.is_required()
    }
    assert made(model, **nulls) == made(model)


@BOTH
def test_unknown_fields_are_errors_that_name_the_nearest(model: type[CommonRequest]) -> None:
    error = refusal(model, temprature=1)
    assert error.param == "temprature"
    assert "did you mean 'temperature'?" in error.message


@pytest.mark.parametrize(
    ("fields", "param", "part"),
    [
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 1000}, "n", "128"),
        ({"n": True}, "n", "integer"),
        ({"max_tokens": -2}, "max_tokens", "-1"),
        ({"max_tokens": "5"}, "max_tokens", "integer"),
        ({"stream": "yes"}, "stream", "boolean"),
        (
            {"stream_options": {"include_usge": True}},
            "stream_options.include_usge",
            "include_usage",
        ),
        ({"stop": ["x"] * 65}, None, "64 strings"),
        ({"stop": ["x" * 1025]}, None, "1024 characters"),
        ({"repeat_penalty": 1.1, "repetition_penalty": 1.2}, None, "the same"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "json_object"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format",
            "schema is missing",
        ),
        ({"structured_outputs": {}}, "structured_outputs", "exactly one"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs", "one"),
    ],
)
@BOTH
def test_what_does_not_fit_is_named(
    model: type[CommonRequest], fields: dict[str, Any], param: str | None, part: str
) -> None:
    error = refusal(model, **fields)
    assert (error.status_code, error.param) == (400, param)
    assert part in error.message


MESSAGE_ERRORS = [
    ([], "messages", "at least 1"),
    ([{"role": "user"}], "messages.0", "needs content"),
    ([{"content": "x"}], "messages.0.role", "missing"),
    ([{"role": "robot", "content": "x"}], "messages.0.role", "'user'"),
    ([{"role": "user", "content": 3}], "messages.0.content", "list"),
    ([{"role": "user", "content": "x", "contnt": 1}], "messages.0.contnt", "content"),
    (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        "messages.0.content.0",
        "'image_url' are not supported",
    ),
    ([{"role": "user", "content": [{"type": "text"}]}], "messages.0.content.0.text", "missing"),
    ([{"role": "user", "content": "x", "tool_calls": []}], "messages.0", "assistant"),
    ([{"role": "user", "content": "x", "tool_call_id": "1"}], "messages.0", "role tool"),
    ([{"role": "assistant", "audio": {"id": "1"}}], "messages.0.audio", "not supported"),
    ([{"role": "assistant"}], "messages.0", "needs content"),
]


@pytest.mark.parametrize(("messages", "param", "part"), MESSAGE_ERRORS)
def test_messages_that_do_not_fit_are_named(
    messages: list[dict[str, Any]], param: str, part: str
) -> None:
    error = refusal(ChatCompletionRequest, messages=messages)
    assert error.param == param
    assert part in error.message


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", ("a",)),
        ([1, 2], ((1, 2),)),
        (["a", ""], ("a", "")),
        ([[1], [2, 3]], ((1,), (2, 3))),
        (["a", [1]], ("a", (1,))),
    ],
)
def test_prompts(prompt: Any, expected: Any) -> None:
    request = CompletionRequest.model_validate({"prompt": prompt})
    assert request.prompt == expected


@pytest.mark.parametrize(
    "prompt", [[], [[]], 3, None, {"a": 1}, [1, "a"], [True], [-1], [1.5], [["a"]], ["a"] * 129]
)
def test_prompts_that_are_none(prompt: Any) -> None:
    assert refusal(CompletionRequest, prompt=prompt).param == "prompt"
