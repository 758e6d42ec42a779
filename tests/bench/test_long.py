from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mock_server import Mock, serving
from schedules import Schedule
from speculating import draft_of, steps_of

from headlong.bench.long import LongOptions, LongResult, Reading, break_even, run_long
from headlong.bench.long_text import CHARACTERS_PER_TOKEN, long_text
from headlong.bench.session import Target
from headlong.bench.workloads import SHAPES, shape
from headlong.errors import ParameterError


def reading(prompt_rate: float, token_ms: float, prompt: int = 19_191) -> Reading:
    seconds = prompt / prompt_rate
    return Reading(prompt, seconds, prompt_rate, token_ms / 1000, 1000 / token_ms, 8000, 300.0)


def test_the_break_even_of_published_runs() -> None:
    single = break_even(reading(360.91, 43.34), reading(227.41, 31.01))
    assert (single.kind, single.tokens) == ("after", pytest.approx(2532, abs=10))
    both = break_even(reading(457.74, 31.25), reading(386.17, 20.94))
    assert both.tokens == pytest.approx(754, abs=5)


def test_always_and_never() -> None:
    assert break_even(reading(100, 40), reading(101, 30)).kind == "always"
    assert break_even(reading(100, 40), reading(90, 41)).kind == "never"
    assert break_even(reading(100, 40), reading(90, 39.99)).kind == "never"


def run(url: str, **options: object) -> LongResult:
    return asyncio.run(run_long(LongOptions(Target(url), **options)))  # type: ignore[arg-type]


def test_a_long_prompt() -> None:
    def script(body: dict[str, Any]) -> Schedule:
        draft = draft_of(body, 2)
        return Schedule(
            prefill=0.15 if draft else 0.05, step=0.006, drafts=draft, timings=True, ids=True,
            steps=steps_of(body["max_tokens"], (3,) if draft else (1,), draft),
            prompt_tokens=900,
        )  # fmt: skip

    with serving(Mock(script, owner="headlong")) as mock:
        result = run(mock.url, tokens=31, prompt_tokens=900)
    assert len(mock.bodies[-1]["messages"][0]["content"]) == pytest.approx(
        900 * CHARACTERS_PER_TOKEN, rel=0.1
    )
    found = result.break_even
    assert found is not None and found.tokens is not None
    assert found.extra_prefill == pytest.approx(0.1, rel=0.02)
    assert found.tokens == pytest.approx(0.1 / 0.004, rel=0.25)  # of a busy machine
    text = "\n".join(result.lines())
    assert "they pay after" in text
    assert "18000.00" in text  # prompt tokens by second without drafts


def test_a_text_of_ones_own() -> None:
    mock = Mock(lambda body: Schedule(steps=(1, 1), step=0.001), owner="headlong")
    with serving(mock):
        run(mock.url, text="My text.", tokens=3)
        with pytest.raises(ParameterError, match="no text"):
            run(mock.url, text=" \n")
    assert mock.bodies[-1]["messages"][0]["content"] == "My text."


def test_generated_text_is_the_same_every_time_and_does_not_repeat_itself() -> None:
    text = long_text(5000)
    assert text == long_text(5000) != long_text(5000, seed=8)
    assert len(text) == int(5000 * CHARACTERS_PER_TOKEN)
    parts = text.split("\n\n")
    assert len(set(parts)) > 0.97 * len(parts)


def test_shapes() -> None:
    names = {shape(name).sha256 for name in SHAPES}
    assert len(names) == len(SHAPES)
    assert shape("chat", max_tokens=7).max_tokens == 7
    with pytest.raises(ParameterError, match="known: chat"):
        shape("novel")
