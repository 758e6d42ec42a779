"""The comparison behind the demo: what it measures, and what it calls identical."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from headlong import LLM, Completion, SamplingParams
from headlong.engine.requests import Chunk
from headlong.errors import ParameterError
from headlong.progress import Silent
from headlong.speculation import SpeculationStats
from headlong.tools.demo import Comparison, Pair, answer_both, measure
from tiny import Chain, TinySpec, write_tiny

PARAMS = SamplingParams(max_tokens=12, temperature=0.7, seed=2, ignore_eos=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "chain.gguf"
    write_tiny(path, TinySpec(chain=Chain()))
    return path


@pytest.fixture(scope="module")
def plain(model: Path) -> LLM:
    return LLM(model, spec_type="none")


@pytest.fixture(scope="module")
def drafted(model: Path) -> LLM:
    return LLM(model, draft_n_max=2)


def test_both_sides_are_watched(plain: LLM, drafted: LLM) -> None:
    seen: list[tuple[bool, Chunk]] = []
    pair = answer_both(plain, drafted, "hello", PARAMS, lambda *chunk: seen.append(chunk))
    for drafts, completion in ((False, pair.plain), (True, pair.drafted)):
        text = "".join(chunk.text for side, chunk in seen if side is drafts)
        assert text == completion.text
    assert pair.plain.tokens == pair.drafted.tokens
    assert pair.plain.stats.draft_n == 0
    assert pair.drafted.stats.draft_n > 0


def test_pairs_run_in_turns_and_medians_count(
    plain: LLM, drafted: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = answer_both(plain, drafted, "hello", PARAMS, lambda drafts, chunk: None)
    order: list[bool] = []
    # Seconds of the 11 tokens after the first: one pair is slow, the median must not care.
    durations = {False: iter((1.1, 9.0, 1.0)), True: iter((0.5, 9.0, 0.55))}
    generate = LLM.generate

    def timed(self: LLM, prompt: str, params: SamplingParams) -> Completion:
        completion = generate(self, prompt, params)
        order.append(self is drafted)
        seconds = next(durations[self is drafted])
        timings = replace(completion.timings, predicted_seconds=seconds)
        return replace(completion, timings=timings)

    monkeypatch.setattr(LLM, "generate", timed)
    result = measure(plain, drafted, "hello", PARAMS, pair, pairs=3, progress=Silent())
    assert order == [False, True] * 3
    assert result.identical
    assert result.plain_per_second == pytest.approx(10)
    assert result.drafted_per_second == pytest.approx(20)
    assert result.speedup == pytest.approx(2)
    assert result.stats.rounds == 3 * pair.drafted.stats.rounds


def test_one_model_can_be_both_sides(drafted: LLM) -> None:
    pair = answer_both(drafted, drafted, "hello", PARAMS, lambda drafts, chunk: None)
    assert pair.plain.stats.draft_n == 0
    assert pair.drafted.stats.draft_n > 0
    result = measure(drafted, drafted, "hello", PARAMS, pair, pairs=1, progress=Silent())
    assert result.identical
    assert result.stats.draft_n == pair.drafted.stats.draft_n


def test_a_single_other_token_is_a_difference(plain: LLM, drafted: LLM) -> None:
    pair = answer_both(plain, drafted, "hello", PARAMS, lambda drafts, chunk: None)
    tokens = (*pair.plain.tokens[:-1], pair.plain.tokens[-1] ^ 1)
    spoilt = Pair(replace(pair.plain, tokens=tokens), pair.drafted)
    assert not measure(
        plain, drafted, "hello", PARAMS, spoilt, pairs=1, progress=Silent()
    ).identical


def test_answers_too_short_to_time_give_no_speedup() -> None:
    assert Comparison(True, 0.0, 10.0, SpeculationStats()).speedup is None


def test_what_makes_no_comparison(plain: LLM, drafted: LLM) -> None:
    watch = lambda drafts, chunk: None  # noqa: E731
    with pytest.raises(ParameterError, match="seed"):
        answer_both(plain, drafted, "hello", replace(PARAMS, seed=None), watch)
    pair = answer_both(plain, drafted, "hello", PARAMS, watch)
    with pytest.raises(ParameterError, match="pairs is 0"):
        measure(plain, drafted, "hello", PARAMS, pair, pairs=0, progress=Silent())
