"""Asking for chat completions with the official client, and what is asked."""

from __future__ import annotations

from typing import Any

import openai
from openai.types.chat import ChatCompletion

MESSAGES: Any = [{"role": "user", "content": "Write a function that adds two numbers."}]
# The model would begin with an empty block of its own.
QUIET: Any = {"chat_template_kwargs": {"enable_thinking": False}}
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["sum", "product"]}, "exact": {"type": "boolean"}},
    "required": ["kind", "exact"],
    "additionalProperties": False,
}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
SMALL_TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"enum": ["Paris", "Rome"]},
                    "days": {"type": "integer", "minimum": 1, "maximum": 9},
                },
                "required": ["city", "days"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "now"}},
]


def ask(client: openai.OpenAI, **fields: Any) -> ChatCompletion:
    given: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "max_tokens": 24, "seed": 5}
    extra = QUIET | fields.pop("extra", {})
    answer = client.chat.completions.create(**(given | fields), extra_body=extra)
    assert isinstance(answer, ChatCompletion)
    return answer


def stream(client: openai.OpenAI, **fields: Any) -> list[dict[str, Any]]:
    given: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "max_tokens": 24, "seed": 5}
    extra = QUIET | fields.pop("extra", {})
    with client.chat.completions.create(
        **(given | fields), stream=True, extra_body=extra
    ) as events:
        return [event.to_dict() for event in events]


def content(events: list[dict[str, Any]], index: int = 0, name: str = "content") -> str:
    return "".join(
        choice["delta"].get(name) or ""
        for event in events
        for choice in event["choices"]
        if choice["index"] == index
    )
