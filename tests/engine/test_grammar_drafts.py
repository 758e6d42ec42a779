"""Drafts under a grammar where the drafter knows only a part of the vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig import Rig, greedy

from headlong.engine.requests import Completion
from headlong.sampling import Grammar, SamplingParams
from headlong.speculation import Fixed
from tiny import TinySpec, write_tiny

LEADING = 40  # ids: of the bytes' characters, punctuation and digits


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grammar_drafts") / "tiny.gguf"
    write_tiny(path, TinySpec(printable=True))
    return path


def answer(model: Path, params: SamplingParams, draft: int, leading: int = LEADING) -> Completion:
    rig = Rig.make(model, draft=Fixed(draft), leading_rows=leading)
    (completion,) = rig.requests.finish([rig.requests.submit([5, 6], params)])
    assert rig.idle
    return completion


def test_what_a_grammar_forces_is_drafted_though_the_drafter_does_not_know_it(model: Path) -> None:
    params = greedy(grammar=Grammar.choice(["zyzyzyzyzyzyzyzy"]))
    completion = answer(model, params, draft=4)
    assert completion.text == "zyzyzyzyzyzyzyzy"
    assert completion.stats.draft_n == completion.stats.draft_n_accepted == 12


def test_nothing_is_drafted_that_the_grammar_rules_out(model: Path) -> None:
    # Of the last two letters the drafter knows none: every draft would be wrong.
    completion = answer(model, greedy(grammar=Grammar.regex("[yz][wx]")), draft=4)
    assert len(completion.text) == 2
    assert completion.stats.draft_n == 0


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("pattern", ["[a-z]{30}", "[0-9y]{30}", r"(\d\d, ){9}", "[^a]{25}"])
def test_a_trimmed_head_changes_no_answer(model: Path, temperature: float, pattern: str) -> None:
    params = SamplingParams(temperature=temperature, seed=5, grammar=Grammar.regex(pattern))
    expected = answer(model, params, draft=0)
    for leading in (LEADING, 320):
        completion = answer(model, params, draft=3, leading=leading)
        assert completion.tokens == expected.tokens
        assert completion.finish_reason == expected.finish_reason == "stop"
