"""The check of speculation itself: that it passes what is right and finds what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headlong import LLM
from headlong.errors import GGUFError, ParameterError, UnsupportedError
from headlong.progress import Silent
from headlong.tools.verify import (
    AUTO,
    OFF,
    Outcome,
    Picked,
    Plan,
    Variant,
    make_cases,
    require_head,
    verify,
)
from tiny import Chain, TinySpec, write_tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "chain.gguf"
    write_tiny(path, TinySpec(chain=Chain()))
    return path


def check(model: Path, plan: Plan) -> tuple[list[Outcome], list[tuple[str, int | str]]]:
    """The outcomes, and how models were loaded for them."""
    loaded: list[tuple[str, int | str]] = []

    def load(spec_type: str, draft_n_max: int | str) -> LLM:
        loaded.append((spec_type, draft_n_max))
        return LLM(model, context=128, spec_type=spec_type, draft_n_max=draft_n_max)

    return list(verify(load, plan, Silent())), loaded


def test_speculation_passes(model: Path) -> None:
    cases = make_cases(["hello", "the end"], temperatures=[0.0, 1.0], max_tokens=16)
    outcomes, loaded = check(model, Plan(cases, (1, 4, AUTO)))
    lengths = (OFF, OFF, 1, 1, 4, 4, AUTO, AUTO)
    assert [o.variant.draft for o in outcomes] == list(lengths)
    assert [o.variant.batched for o in outcomes] == [False, True] * 4
    assert all(o.differing == 0 and o.first is None and o.answers == 4 for o in outcomes)
    # The reference runs without the head; fixed lengths share a model.
    assert loaded == [("none", OFF), ("draft-mtp", 4), ("draft-mtp", AUTO)]
    # Each fixed length was really drafted, and drafts were both accepted and rejected.
    assert outcomes[0].stats.draft_n == 0
    assert len(outcomes[2].stats.draft_n_by_depth) == 1
    assert len(outcomes[4].stats.draft_n_by_depth) == 4
    assert 0 < outcomes[4].stats.draft_n_accepted < outcomes[4].stats.draft_n


def test_cases_have_seeds_of_their_own_and_every_second_prompt_penalties() -> None:
    cases = make_cases(["a", "b"], temperatures=[0.0, 0.5], max_tokens=7, seed=10)
    assert [case.params.seed for case in cases] == [10, 11, 12, 13]
    assert [case.number for case in cases] == [1, 1, 2, 2]
    assert [case.params.penalised for case in cases] == [False, False, True, True]
    assert {case.params.max_tokens for case in cases} == {7}


class _Broken(LLM):
    """Forgets, with drafts on, that the token at some index was another."""

    def generate(self, prompt, params=None):  # type: ignore[no-untyped-def]
        completion = super().generate(prompt, params)
        return self.spoil(completion) if params.draft_n_max else completion

    def spoil(self, completion):  # type: ignore[no-untyped-def]
        wrong = list(completion.tokens)
        wrong[3] = 65 if wrong[3] != 65 else 66
        return replace(completion, tokens=tuple(wrong))


class _Short(_Broken):
    """Stops early, with drafts on."""

    def spoil(self, completion):  # type: ignore[no-untyped-def]
        return replace(completion, tokens=completion.tokens[:5])


def test_the_first_difference_is_found_and_measured(model: Path) -> None:
    cases = make_cases(["hello"], temperatures=[0.0], max_tokens=8)
    plan = Plan(cases, (2,))
    outcomes = list(
        verify(lambda spec, n: _Broken(model, spec_type=spec, draft_n_max=n), plan, Silent())
    )
    assert [o.differing for o in outcomes] == [0, 0, 1, 0]
    found = outcomes[2].first
    assert found is not None
    llm = LLM(model, spec_type="none")
    right = llm.generate("hello", cases[0].params)
    wrong = 65 if right.tokens[3] != 65 else 66
    assert found.case == cases[0]
    assert found.index == 3
    assert found.expected.token == right.tokens[3]
    assert found.found == Picked(wrong, llm.tokenizer.decode([wrong]))
    logits = llm.logits([*right.prompt_tokens, *right.tokens[:3]])
    expected = float(logits[right.tokens[3]]) - float(logits[wrong])
    assert found.margin == pytest.approx(expected, rel=1e-6)
    assert int(np.argmax(logits)) == right.tokens[3]


def test_an_answer_that_ends_early_is_a_difference(model: Path) -> None:
    plan = Plan(make_cases(["hello"], temperatures=[0.0], max_tokens=8), (2,))
    outcomes = list(
        verify(lambda spec, n: _Short(model, spec_type=spec, draft_n_max=n), plan, Silent())
    )
    found = outcomes[2].first
    assert found is not None
    assert found.index == 5
    assert found.found == Picked(None, "")
    assert found.margin is None


@pytest.mark.parametrize("draft", [0, -1, 16, "many"])
def test_lengths_that_no_round_has(draft: int | str) -> None:
    with pytest.raises(ParameterError, match=r"a draft length is .*; it must be 'auto' or"):
        Plan(make_cases(["a"]), (draft,))


def test_a_plan_of_nothing() -> None:
    with pytest.raises(ParameterError, match="nothing to compare"):
        Plan((), (1,))
    with pytest.raises(ParameterError, match="nothing to compare"):
        Plan(make_cases(["a"]), ())


def test_variants_put_the_reference_first() -> None:
    plan = Plan(make_cases(["a"]), (3,))
    assert plan.variants[0] == Variant(OFF, batched=False)


def test_files_without_a_head(tmp_path: Path) -> None:
    write_tiny(tmp_path / "headless.gguf", TinySpec(mtp=False))
    with pytest.raises(UnsupportedError, match=r"headless.gguf: no MTP head to verify"):
        require_head(tmp_path / "headless.gguf")
    with pytest.raises(GGUFError, match="missing"):
        require_head(tmp_path / "missing.gguf")
