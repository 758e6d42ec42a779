"""`headlong verify`: verdicts and exit codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_runs import Run

from headlong import LLM
from headlong.engine.requests import Completion
from headlong.sampling import SamplingParams


def test_identical(run: Run, model: Path) -> None:
    result = run(
        *("verify", model, "--draft", 1, "--draft", 3, "--draft", "auto", "--temp", 0.9),
        *("-n", 12, "-c", 512),
    )
    assert result.code == 0
    assert result.out.splitlines()[-1] == "identical: yes"
    lines = [line.split("  ")[1] for line in result.out.splitlines()[1:-1]]
    assert lines == [
        "off again",
        "off, batched",
        "n = 1",
        "n = 1, batched",
        "n = 3",
        "n = 3, batched",
        "auto",
        "auto, batched",
    ]
    assert "drafts accepted" in result.out


def test_prompts_of_the_users(run: Run, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("hello")
    result = run("verify", model, "-f", path, "--quick", "-n", 4)
    assert result.code == 0
    assert result.out.startswith("1 prompts at temperatures 0.0, 1.5: 2 answers of up to 4 tokens")


def test_a_difference_is_shown_and_fails(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine whose drafts of 3 tokens change the last token of an answer."""
    generate = LLM.generate

    def broken(self: LLM, prompt: str, params: SamplingParams) -> Completion:
        completion = generate(self, prompt, params)
        if params.draft_n_max != 3:
            return completion
        wrong = (*completion.tokens[:-1], completion.tokens[-1] ^ 1)
        fields = {name: getattr(completion, name) for name in Completion.__slots__}
        return Completion(**(fields | {"tokens": wrong}))

    monkeypatch.setattr(LLM, "generate", broken)
    result = run("verify", model, "--draft", 3, "--quick", "-n", 5, "--temp", 0)
    assert result.code == 1
    assert result.out.splitlines()[-1] == "identical: NO"
    assert "n = 3                       DIFFERENT in 3 of 3 answers" in result.out
    assert "n = 3, batched              identical" in result.out
    first = next(line for line in result.out.splitlines() if "first: " in line)
    assert "prompt 1 (class Stack:" in first
    assert "temperature 0, seed 1, token 4: " in first
    assert "without speculation" in first
    margin = float(first.rpartition(" ")[2])
    assert np.isfinite(margin) and margin > 0  # the greedy token has the highest logit


def test_a_file_without_a_head_is_refused_before_it_is_loaded(run: Run, headless: Path) -> None:
    result = run("verify", headless)
    assert (result.code, result.out) == (1, "")
    assert "no MTP head to verify (it is absent)" in result.err


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (("--draft", "0"), "--draft: a draft length is 0"),
        (("--draft", "16"), "--draft: a draft length is 16"),
        (("--draft", "few"), "--draft: 'few' is neither"),
        (("--temp", "nan"), "temperature is nan"),
        (("-n", "0"), "max_tokens is 0"),
        (("-s", "-1"), "seed is -1"),
        (("-f", "/nowhere/prompt.txt"), "/nowhere/prompt.txt: No such file"),
        (("-c", "1"), "--ctx-size"),
    ],
)
def test_bad_values_are_named(run: Run, model: Path, flags: tuple[str, ...], wanted: str) -> None:
    result = run("verify", model, *flags)
    assert result.code == 1
    assert wanted in result.err


def test_a_missing_file(run: Run) -> None:
    result = run("verify", "/nowhere/model.gguf")
    assert result.code == 1
    assert "/nowhere/model.gguf" in result.err
