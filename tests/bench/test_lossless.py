from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asking import record_of
from mock_server import Mock, serving
from schedules import Schedule
from speculating import draft_of

from headlong.bench.lossless import LosslessOptions, LosslessResult, first_difference, run_lossless
from headlong.bench.modes import drafts
from headlong.bench.session import Target
from headlong.errors import ParameterError

WORDS = tuple(f"word{i} " for i in range(8))
OTHER = (*WORDS[:5], "else ", *WORDS[6:])


def answering(
    plain: list[tuple[str, ...]], drafted: tuple[str, ...], *, ids: bool = True,
    margins: tuple[float, ...] = (),
) -> Mock:  # fmt: skip
    """Without drafts the answers of the list in turn, with drafts always the same."""
    count = iter(range(10_000))

    def script(body: dict[str, Any]) -> Schedule:
        words = drafted if draft_of(body, 2) else plain[next(count) % len(plain)]
        return Schedule(
            steps=(1,) * 7, step=0.0, prefill=0.001, words=words, ids=False,
            logprobs=margins if "logprobs" in body else (),
        )  # fmt: skip

    return Mock(script, owner="headlong")


def run(mock: Mock, **options: object) -> LosslessResult:
    with serving(mock):
        target = Target(mock.url)
        return asyncio.run(run_lossless(LosslessOptions(target, **options)))  # type: ignore[arg-type]


def test_the_same_text_is_lossless() -> None:
    result = run(answering([WORDS], WORDS), modes=(drafts(1), drafts(2)))
    assert result.verdict == "identical"
    assert len(result.of("n=1")) == len(result.of("n=2")) == len(result.controls) == 9
    lines = list(result.lines())
    assert "  plain, again         identical 9 of 9   compared by text" in lines
    assert lines[-1] == "lossless: yes, identical in 18 answers"


@pytest.mark.parametrize(
    ("margins", "words"),
    [
        ((5.0,) * 5 + (0.01,), "only where two tokens were all but tied (margin up to 0.010)"),
        ((5.0,) * 5 + (2.5,), "NO, also where the margin was 2.50: more than rounding"),
        ((), "tells no logprobs"),
    ],
)
def test_a_difference_and_its_margin(margins: tuple[float, ...], words: str) -> None:
    result = run(answering([WORDS], OTHER, margins=margins), prompts=2)
    assert result.verdict == "different"
    difference = result.of("auto")[0].difference
    assert difference is not None
    assert difference.before.endswith("word4 ")
    assert (difference.expected[:6], difference.found[:5]) == ("word5 ", "else ")
    assert difference.margin == (pytest.approx(margins[5]) if margins else None)
    text = "\n".join(result.lines())
    assert words in text
    assert ("first difference at token 5" if margins else "at character 30") in text


def test_a_server_that_is_not_equal_to_itself_proves_nothing() -> None:
    result = run(answering([WORDS, OTHER], OTHER), prompts=1)
    assert result.verdict == "not equal to itself"
    assert "does not repeat its own text" in list(result.lines())[-1]


def test_one_server_that_cannot_switch_needs_a_second() -> None:
    with pytest.raises(ParameterError, match="--against"):
        run(Mock(lambda body: Schedule()))


def test_two_servers() -> None:
    plain = Mock(lambda body: Schedule(steps=(1,) * 7, step=0.0, prefill=0.001, words=WORDS))
    with serving(plain):
        result = run(
            Mock(lambda body: Schedule(steps=(3, 4), step=0.0, prefill=0.001, words=WORDS)),
            against=Target(plain.url),
            prompts=2,
        )
    assert result.verdict == "identical"
    assert [len(b["messages"][0]["content"]) for b in plain.bodies[1:3]] == [
        len(plain.bodies[1]["messages"][0]["content"])
    ] * 2


def test_ids_tell_what_texts_do_not() -> None:
    same = Schedule(steps=(1,) * 3, ids=True, words=("a", "b", "c", "d"))
    longer = Schedule(steps=(1,) * 4, ids=True, words=("a", "b", "c", "d", ""))
    assert first_difference(record_of(same), record_of(same)) is None
    difference = first_difference(record_of(same), record_of(longer))
    assert difference is not None
    assert (difference.token, difference.found) == (4, "")
    texts = [record_of(Schedule(steps=s, words=("a", "b", "c"))) for s in ((1, 1), (2,))]
    assert first_difference(*texts) is None
