"""P1: with the same seed, text with speculation is the text without it.

Whatever the temperature, the penalties, the draft length, the company in the batch, the way the
prompt is cut into passes, and the number of threads.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headlong import LLM, SamplingParams
from tiny import Chain, TinySpec, write_tiny

SPEC = TinySpec(chain=Chain(ends=True))
TOKENS = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("same") / "chain.gguf"
    write_tiny(path, SPEC)
    return path


@cache
def load(path: Path, draft_n_max: int, prefill_rows: int, threads: int, kv_type: str) -> LLM:
    return LLM(
        path,
        context=256,
        threads=threads,
        draft_n_max=draft_n_max,
        prefill_rows=prefill_rows,
        kv_type=kv_type,
    )


def plain(path: Path, prompt: list[int], params: SamplingParams, kv_type: str) -> tuple[int, ...]:
    """One sequence, one token a step, one thread, no head at all in memory."""
    llm = _plain(path, kv_type)
    return llm.generate(prompt, params).tokens


@cache
def _plain(path: Path, kv_type: str) -> LLM:
    return LLM(path, context=256, threads=1, spec_type="none", kv_type=kv_type)


PROMPTS = st.lists(st.integers(3, SPEC.vocab - 20), min_size=1, max_size=90)
PARAMS = st.builds(
    SamplingParams,
    max_tokens=st.just(TOKENS),
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    top_k=st.sampled_from([0, 1, 40]),
    top_p=st.sampled_from([0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.05]),
    typical_p=st.sampled_from([0.8, 1.0]),
    repeat_penalty=st.sampled_from([1.0, 1.3]),
    presence_penalty=st.sampled_from([0.0, 1.5]),
    frequency_penalty=st.sampled_from([0.0, 0.5]),
    repeat_last_n=st.sampled_from([-1, 8, 64]),
    seed=st.integers(0, 2**32 - 1),
    ignore_eos=st.booleans(),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    requests=st.lists(st.tuples(PROMPTS, PARAMS), min_size=1, max_size=8),
    draft_n_max=st.integers(1, 7),
    prefill_rows=st.sampled_from([1, 7, 64, 256]),
    threads=st.sampled_from([1, 2]),
    kv_type=st.sampled_from(["f16", "q8_0"]),
)
def test_speculation_never_changes_the_tokens(
    model: Path,
    requests: list[tuple[list[int], SamplingParams]],
    draft_n_max: int,
    prefill_rows: int,
    threads: int,
    kv_type: str,
) -> None:
    expected = [plain(model, prompt, params, kv_type) for prompt, params in requests]
    llm = load(model, draft_n_max, prefill_rows, threads, kv_type)
    completions = llm.batch([p for p, _ in requests], [params for _, params in requests])
    assert [c.tokens for c in completions] == expected


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.5])
def test_every_draft_length_gives_the_same_long_text(model: Path, temperature: float) -> None:
    params = SamplingParams(
        max_tokens=150, temperature=temperature, seed=11, repeat_penalty=1.1, ignore_eos=True
    )
    prompt = [40, 41, 42]
    expected = plain(model, prompt, params, "f16")
    for n in range(1, 8):
        completion = load(model, n, 256, 2, "f16").generate(prompt, params)
        assert completion.tokens == expected
    # The check means something only while drafts are both accepted and rejected.
    stats = completion.stats
    assert 0 < stats.draft_n_accepted < stats.draft_n


def test_a_request_may_choose_its_own_draft_length(model: Path) -> None:
    llm = load(model, 4, 256, 2, "f16")
    params = SamplingParams(max_tokens=40, temperature=0.7, seed=3, ignore_eos=True)
    without = llm.generate([50, 51], replace(params, draft_n_max=0))
    with_drafts = llm.generate([50, 51], params)
    assert without.tokens == with_drafts.tokens
    assert without.stats.draft_n == 0
    assert with_drafts.stats.draft_n > 0
