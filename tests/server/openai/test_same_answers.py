"""Drafts change nothing, and what clients send beside their messages stops none of them."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from chatting import FORMAT, MESSAGES, SMALL_TOOLS, ask
from scripted import TOOLS
from serving import Served, serving
from serving_engines import loads

from headlong.tools.demo import bundled_model

SAME: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 0.9, "seed": 3},
    {"response_format": FORMAT},
    {"tools": SMALL_TOOLS, "tool_choice": "required", "max_tokens": 60},
    {"frequency_penalty": 0.7, "presence_penalty": 0.3},
]


def unchanged(client: openai.OpenAI, *drafts: dict[str, int] | None, **fields: Any) -> None:
    """Text, tokens and log-probabilities are those without speculation, whatever is drafted."""

    def said(speculative: dict[str, int] | None) -> Any:
        extra: dict[str, Any] = {"return_tokens": True}
        if speculative is not None:
            extra["speculative"] = speculative
        answer = ask(client, **fields, logprobs=True, top_logprobs=2, extra=extra)
        if speculative == {"n_max": 0}:
            assert answer.to_dict()["timings"]["draft_n"] == 0  # type: ignore[index]
        choice = answer.choices[0].to_dict()
        for call in choice["message"].get("tool_calls", ()):  # type: ignore[attr-defined]
            del call["id"]
        return choice

    plain = said({"n_max": 0})
    for speculative in drafts:
        assert said(speculative) == plain


@pytest.mark.parametrize("fields", SAME)
def test_speculation_changes_nothing(client: openai.OpenAI, fields: dict[str, Any]) -> None:
    unchanged(client, {"n_max": 3}, {"n_max": 1}, None, **fields)


def test_automatic_drafts_change_nothing() -> None:
    with (
        bundled_model() as path,
        serving(loads(path, draft_n_max="auto")) as served,
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client,
    ):
        assert ask(client).to_dict()["timings"]["draft_n"] > 0  # type: ignore[index, operator]
        for fields in SAME:
            if "tools" not in fields:  # the file's own template takes none
                unchanged(client, None, {"n_max": 5}, **fields)


# Bodies as clients send them; what is of no use here must not be in their way.
CLIENTS: dict[str, dict[str, Any]] = {
    "guidellm": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
        "max_completion_tokens": 8, "max_tokens": 8, "stop": None, "ignore_eos": True,
        "stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    },
    "vllm bench serve": {
        "messages": MESSAGES, "max_completion_tokens": 8, "temperature": 0.0,
        "repetition_penalty": 1.0, "ignore_eos": True, "stream": True,
        "stream_options": {"include_usage": True},
    },
    "llama-benchy": {
        "messages": MESSAGES, "max_tokens": 8, "stream": True, "cache_prompt": False,
        "stream_options": {"include_usage": True}, "temperature": 0,
    },
    "llama-server's page": {
        "messages": MESSAGES, "stream": True, "reasoning_format": "auto", "max_tokens": 8,
        "temperature": 0.8, "dynatemp_range": 0, "dynatemp_exponent": 1, "top_k": 40,
        "top_p": 0.95, "min_p": 0.05, "typical_p": 1, "xtc_probability": 0, "xtc_threshold": 0.1,
        "repeat_last_n": 64, "repeat_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0,
        "dry_multiplier": 0, "dry_base": 1.75, "dry_allowed_length": 2, "dry_penalty_last_n": -1,
        "samplers": ["top_k", "typ_p", "top_p", "min_p", "temperature"],
        "timings_per_token": True, "return_progress": True,
    },
    "a coding agent": {
        "messages": [{"role": "system", "content": "Be brief."}, *MESSAGES], "max_tokens": 8,
        "tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": True, "stream": True,
        "stream_options": {"include_usage": True}, "store": False, "user": "me",
        "metadata": {"a": "b"}, "prompt_cache_key": "k", "reasoning_effort": "low",
        "n": 1, "seed": None, "top_p": 1, "modalities": ["text"], "service_tier": "auto",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", list(CLIENTS))
def test_bodies_that_clients_send(served: Served, name: str) -> None:
    events = served.events("/v1/chat/completions", {"model": "gpt-4o", **CLIENTS[name]})
    assert all("error" not in event for event in events)
    reasons = [c["finish_reason"] for event in events for c in event["choices"]]
    assert reasons[-1] in ("length", "stop")
