"""`headlong demo` on a file of the user's, as text and as columns."""

from __future__ import annotations

import io
from importlib import resources
from pathlib import Path

import pytest
from cli_runs import Run
from rich.console import Console

from headlong import LLM, SamplingParams
from headlong.cli import demo
from headlong.tools.prompts import DEMO_PROMPT


def test_both_texts_and_the_figures(run: Run, model: Path) -> None:
    result = run("demo", model, "-n", 24, "--pairs", 1, "--draft", 3)
    text = (
        LLM(model)
        .generate(
            DEMO_PROMPT,
            SamplingParams(
                max_tokens=24, temperature=0, repeat_penalty=1.1, seed=1, ignore_eos=True
            ),
        )
        .text
    )
    assert result.code == 0
    assert result.out.count(DEMO_PROMPT + text) == 2
    assert "--- plain" in result.out
    assert "--- with MTP" in result.out
    assert "identical: yes" in result.out
    assert " x as fast" in result.out
    assert "of the drafts; by depth 1: " in result.out
    assert f"headlong chat {model}" in result.out


def test_a_large_model_is_loaded_once(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    init = LLM.__init__

    def spy(self: LLM, path: Path, **options: object) -> None:
        loaded.append(str(options["spec_type"]))
        init(self, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(LLM, "__init__", spy)
    assert run("demo", model, "-n", 4, "--pairs", 1).code == 0
    assert loaded == ["draft-mtp", "none"]
    monkeypatch.setattr(demo, "_LARGEST_TWICE", 1000)
    assert run("demo", model, "-n", 4, "--pairs", 1).code == 0
    assert loaded == ["draft-mtp", "none", "draft-mtp"]


def test_columns_on_a_wide_terminal(model: Path) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, height=50)
    llm = LLM(model, draft_n_max=3)
    params = SamplingParams(max_tokens=12, temperature=0)
    with demo._columns(console, "hello", llm.tokenizer) as watch:
        for chunk in llm.stream("hello", params):
            watch(True, chunk)
    shown = screen.getvalue()
    assert "plain" in shown
    assert "with MTP" in shown
    assert "\x1b[32m" in shown  # an accepted draft, in green
    assert "hello" in shown


def test_a_difference_fails(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headlong.tools.demo._same", lambda one, other: False)
    result = run("demo", model, "-n", 4, "--pairs", 1)
    assert result.code == 1
    assert "identical: NO" in result.out


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (("-n", "0"), "max_tokens is 0"),
        (("--temp", "nan"), "temperature is nan"),
        (("-s", "-1"), "seed is -1"),
        (("--draft", "0"), "leaves nothing to show"),
        (("--draft", "99"), "--spec-draft-n-max"),
        (("-t", "0"), "--threads"),
        (("-p", ""), "the prompt is empty"),
        (("-p", "a" * 5000), "the prompt has 5000 tokens"),
    ],
)
def test_bad_values_are_named(run: Run, model: Path, flags: tuple[str, ...], wanted: str) -> None:
    result = run("demo", model, *flags)
    assert result.code == 1
    assert wanted in result.err
    assert run("demo", model, "--pairs", 0).code == 2


def test_a_file_without_a_head_is_refused(run: Run, headless: Path) -> None:
    result = run("demo", headless)
    assert (result.code, result.out) == (1, "")
    assert "no MTP head to draft with" in result.err


def test_an_installation_without_the_bundled_model(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    result = run("demo")
    assert result.code == 1
    assert "lacks the bundled model" in result.err


def test_the_bundled_model_is_found(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundled").mkdir()
    (tmp_path / "bundled" / "headlong-tiny-Q8_0.gguf").symlink_to(model)
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    result = run("demo", "--max-tokens", 8, "--pairs", 1)
    assert result.code == 0
    assert "identical: yes" in result.out
    assert "headlong run FILE.gguf" in result.out
