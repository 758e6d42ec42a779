"""What `import headlong` offers: names, parameters and fields that programs rely on."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest

import headlong
from headlong import errors

# In the order of case that linters keep: constants, classes, the rest.
NAMES = [
    "LLM",
    "ChatChunk",
    "ChatCompletion",
    "Chunk",
    "Completion",
    "Grammar",
    "HeadlongError",
    "SamplingParams",
    "SpeculationStats",
    "Timings",
    "TokenLogprob",
    "ToolCall",
    "__version__",
]

PARAMETERS = {
    "__init__": (
        "path, *, context=None, sequences=8, threads=None, spec_type='draft-mtp', "
        "draft_n_max='auto', kv_type='f16', isa=None, prefill_rows=256, cache_ram=0, progress=None"
    ),
    "generate": "prompt, params=None",
    "batch": "prompts, params=None",
    "stream": "prompt, params=None",
    "chat": "messages, params=None, *, tools=(), template_kwargs=None",
    "stream_chat": "messages, params=None, *, tools=(), template_kwargs=None",
    "logits": "tokens",
    "check_grammar": "grammar",
    "close": "",
}
PROPERTIES = {
    "context",
    "has_mtp",
    "load",
    "max_draft",
    "model",
    "prefix_cache",
    "rehearsal",
    "requests",
    "sequences",
    "stats",
}

FIELDS = {
    headlong.Completion: "text tokens prompt_tokens finish_reason stop seed stats timings logprobs",
    headlong.Chunk: "text tokens accepted prompt_done completion logprobs",
    headlong.Timings: "prompt prompt_seconds predicted predicted_seconds cached",
    headlong.ChatCompletion: "content reasoning tool_calls completion",
    headlong.ChatChunk: "content reasoning tool_calls chunk answer",
    headlong.ToolCall: "name arguments_json id",
    headlong.SamplingParams: (
        "max_tokens temperature top_k top_p min_p typical_p repeat_penalty repeat_last_n "
        "presence_penalty frequency_penalty logit_bias seed stop ignore_eos min_tokens draft_n_max "
        "cache_prompt logprobs grammar"
    ),
}


def test_the_names() -> None:
    assert headlong.__all__ == NAMES
    assert all(hasattr(headlong, name) for name in NAMES)


def parameters(function: Any) -> str:
    own = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in own]
    return str(inspect.Signature(bare)).strip("()").replace(" = ", "=")


def test_the_methods_of_a_model() -> None:
    public = {
        name: member
        for name, member in vars(headlong.LLM).items()
        if not name.startswith("_") or name == "__init__"
    }
    methods = {name: parameters(m) for name, m in public.items() if inspect.isfunction(m)}
    for name, text in PARAMETERS.items():
        assert methods.pop(name) == text.removesuffix(")"), name
    assert methods == {}
    assert {n for n, m in public.items() if isinstance(m, property)} == PROPERTIES


@pytest.mark.parametrize("kind", FIELDS, ids=lambda kind: kind.__name__)
def test_the_fields(kind: Any) -> None:
    assert " ".join(field.name for field in fields(kind)) == FIELDS[kind]


def test_results_cannot_be_changed() -> None:
    timings = headlong.Timings(1, 0.5, 2, 0.25)
    with pytest.raises(AttributeError):
        timings.prompt = 2  # type: ignore[misc]


def test_every_error_is_a_headlong_error() -> None:
    assert errors.__all__ == sorted(errors.__all__)
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), headlong.HeadlongError)


def test_everything_public_says_what_it_is() -> None:
    for name in PARAMETERS:
        assert name == "__init__" or inspect.getdoc(getattr(headlong.LLM, name))
    for kind in (headlong.LLM, *FIELDS):
        assert inspect.getdoc(kind)
