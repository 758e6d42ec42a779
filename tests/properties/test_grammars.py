"""P1 under grammars and with log-probabilities: the same with speculation as without.

And what ends by itself under a grammar matches it, whatever the weights: random ones, which know
nothing of JSON, are the hardest test.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grammar_cases import SCHEMAS, TOOLS
from headlong import LLM, Completion, Grammar, SamplingParams
from headlong.tokenizer import ToolCallParser
from tiny import Chain, TinySpec, write_tiny

TOKENS = 60
RANDOM = TinySpec(printable=True)
CHAIN = TinySpec(chain=Chain(misleading=0.1))  # its drafts are often accepted
GRAMMARS: list[Grammar | None] = [
    None,
    Grammar.json_object(),
    *[Grammar.json_schema(schema) for schema in SCHEMAS.values()],
    Grammar.json_schema(SCHEMAS["choices"]).after_reasoning(),
    Grammar.tool_calls(TOOLS),
    Grammar.regex(r"([a-z]{2,6}[ ,]){3,9}\."),
    Grammar.text('root ::= ("yes" | "no") (", " root)?'),
    Grammar.choice(["one", "two", "two and a half"]),
    Grammar.regex("(?s:.*)"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("grammars")
    paths = [folder / "random.gguf", folder / "chain.gguf"]
    for path, spec in zip(paths, (RANDOM, CHAIN), strict=True):
        write_tiny(path, spec)
    return paths


@cache
def load(path: Path, draft_n_max: int | str) -> LLM:
    return LLM(path, context=256, threads=1, draft_n_max=draft_n_max)


@cache
def plain(path: Path) -> LLM:
    return LLM(path, context=256, threads=1, spec_type="none")


def outcome(completion: Completion) -> tuple[object, ...]:
    c = completion
    return c.text, c.tokens, c.logprobs, c.finish_reason, c.stop


PARAMS = st.builds(
    SamplingParams,
    max_tokens=st.just(TOKENS),
    min_tokens=st.sampled_from([0, 0, 20]),
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    top_k=st.sampled_from([0, 1, 40]),
    top_p=st.sampled_from([0.9, 1.0]),
    repeat_penalty=st.sampled_from([1.0, 1.3]),
    logit_bias=st.sampled_from([(), ((66, -4.0), (70, 3.0))]),
    stop=st.sampled_from([(), (",",), ("ab", "}")]),
    seed=st.integers(0, 2**32 - 1),
    logprobs=st.sampled_from([None, 0, 3]),
    grammar=st.sampled_from(GRAMMARS),
)
PROMPTS = st.lists(st.integers(3, 300), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    requests=st.lists(st.tuples(PROMPTS, PARAMS), min_size=1, max_size=5),
    draft_n_max=st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, "auto"]),
    chain=st.booleans(),
)
def test_neither_drafts_nor_company_change_an_answer(
    models: list[Path],
    requests: list[tuple[list[int], SamplingParams]],
    draft_n_max: int | str,
    chain: bool,
) -> None:
    path = models[chain]
    expected = [outcome(plain(path).generate(prompt, params)) for prompt, params in requests]
    llm = load(path, draft_n_max)
    completions = llm.batch([p for p, _ in requests], [params for _, params in requests])
    assert [outcome(c) for c in completions] == expected
    for (_, params), completion in zip(requests, completions, strict=True):
        asked = params.logprobs is not None
        assert len(completion.logprobs) == (len(completion.tokens) if asked else 0)


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("temperature", [0.0, 0.8, 1.5])
def test_json_that_ends_by_itself_is_valid(
    models: list[Path], name: str, temperature: float
) -> None:
    schemas = pytest.importorskip("jsonschema_rs")
    llm = load(models[0], 3)
    grammar = Grammar.json_schema(SCHEMAS[name])
    params = [
        SamplingParams(max_tokens=150, temperature=temperature, seed=seed, grammar=grammar)
        for seed in range(12)
    ]
    ended = 0
    for completion in llm.batch([[65 + i] for i in range(12)], params):
        if completion.finish_reason == "stop":
            schemas.validate(SCHEMAS[name], json.loads(completion.text))
            ended += 1
    assert ended


def test_tool_calls_that_end_by_themselves_are_read_back(models: list[Path]) -> None:
    # A free text, as of `word`, is none that random weights would ever close.
    look_up = TOOLS[0]["function"]
    parameters = {**look_up["parameters"], "required": ["language", "point"]}
    parameters["properties"] = {k: v for k, v in parameters["properties"].items() if k != "word"}
    tools = [{"type": "function", "function": {**look_up, "parameters": parameters}}, TOOLS[1]]
    grammar = Grammar.tool_calls(tools)
    params = [
        SamplingParams(max_tokens=230, temperature=1.0, seed=seed, grammar=grammar)
        for seed in range(16)
    ]
    ended = 0
    for completion in load(models[0], 3).batch([[80]] * len(params), params):
        parser = ToolCallParser(tools)
        first, rest = parser.feed(completion.text), parser.flush()
        if completion.finish_reason != "stop":
            continue
        ended += 1
        calls = [*first.calls, *rest.calls]
        assert calls
        assert not first.content + rest.content
        for call in calls:
            arguments = json.loads(call.arguments_json)
            assert call.name in ("look_up", "now")
            assert call.name == "now" or arguments["language"] in ("de", "fr")
            assert call.name == "now" or isinstance(arguments["point"]["x"], int)
    assert ended


def test_drafts_are_made_under_the_grammar(models: list[Path]) -> None:
    params = SamplingParams(max_tokens=60, temperature=0, grammar=Grammar.choice(["a" * 50]))
    completion = load(models[0], 4).generate([80], params)
    assert completion.text == "a" * 50
    assert completion.finish_reason == "stop"
    assert completion.stats.draft_n_accepted == completion.stats.draft_n > 30
    assert completion.stats.rounds <= 11


def test_nothing_is_computed_after_a_grammar_is_complete(models: list[Path]) -> None:
    completion = load(models[0], 0).generate(
        [80], SamplingParams(grammar=Grammar.choice(["yes"]), min_tokens=50)
    )
    tokens = load(models[0], 0).tokenizer.encode("yes")
    assert completion.tokens == tuple(tokens)
    assert completion.finish_reason == "stop"
    assert completion.stats.rounds == len(tokens) - 1  # the first comes with the prompt


def test_logprobs_stop_with_the_text(models: list[Path]) -> None:
    params = SamplingParams(
        max_tokens=40, grammar=Grammar.choice(["abcdef"]), stop=("d",), logprobs=2
    )
    chunks = list(load(models[0], 4).stream([80], params))
    completion = chunks[-1].completion
    assert completion is not None
    assert completion.text == "abc"
    assert completion.logprobs == sum((c.logprobs for c in chunks), ())
    assert [p.token for p in completion.logprobs] == list(completion.tokens)
    for chunk in chunks:
        assert [p.token for p in chunk.logprobs] == list(chunk.tokens)


@pytest.mark.parametrize("draft_n_max", [0, 4])
def test_an_answer_that_cannot_go_on_fails_alone(models: list[Path], draft_n_max: int) -> None:
    llm = load(models[0], draft_n_max)
    b = llm.tokenizer.encode("b")[0]
    stuck = SamplingParams(grammar=Grammar.choice(["abc"]), logit_bias={b: False})
    fine = SamplingParams(grammar=Grammar.choice(["abc"]))
    requests = [llm.requests.submit([80], params) for params in (fine, stuck, fine)]
    while llm.requests.busy:
        llm.requests.step()
    assert [r.completion is not None for r in requests] == [True, False, True]
    assert "no token can be sampled at position 2: grammar, logit_bias" in str(requests[1].error)
    assert llm.generate([80], fine).text == "abc"


def test_the_library_checks_grammars(models: list[Path]) -> None:
    checks: list[Callable[[], Any]] = [
        lambda: load(models[0], 3).check_grammar(Grammar.text("start: x")),
        lambda: load(models[0], 3).generate([80], SamplingParams(grammar=Grammar.text("start: x"))),
    ]
    load(models[0], 3).check_grammar(Grammar.json_object())
    for check in checks:
        with pytest.raises(Exception, match="grammar: ") as caught:
            check()
        assert type(caught.value).__name__ == "ParameterError"
