from __future__ import annotations

import asyncio

import pytest
from mock_server import Mock, serving
from schedules import Schedule
from speculating import speculating

from headlong.bench.compare import CompareOptions, CompareResult, run_compare
from headlong.bench.modes import PLAIN, drafts
from headlong.bench.session import Target, in_turns
from headlong.bench.workloads import Message, Workload
from headlong.errors import ParameterError

TWO = tuple(Workload(name, (Message("user", name),), 15) for name in ("one", "two"))


def run(first: Target, second: Target | None, **options: object) -> CompareResult:
    wanted = CompareOptions(first, second, TWO, repeats=3, warmups=1, **options)  # type: ignore[arg-type]
    return asyncio.run(run_compare(wanted))


def answering(step: float) -> Mock:
    return Mock(lambda body: Schedule(steps=(1,) * 14, step=step, prefill=0.004))


def test_a_faster_server_is_faster_beyond_noise() -> None:
    with serving(answering(0.01)) as slow, serving(answering(0.004)) as fast:
        result = run(Target(slow.url), Target(fast.url))
    total = result.comparison()
    assert total is not None
    assert total.decode_ratio.value == pytest.approx(2.5, rel=0.25)  # of a busy machine
    assert total.decode_ratio.excludes(1.0)
    assert total.decode_ratio.count == 6
    text = "\n".join(result.lines())
    assert "times as fast as A, beyond noise" in text
    assert text.count("one per event · content") == 2
    one = result.comparison("one")
    assert one is not None and one.decode_ratio.count == 3


def test_modes_of_one_server_and_why() -> None:
    with serving(speculating()) as mock:
        result = run(Target(mock.url), None, first_mode=PLAIN, second_mode=drafts(2))
    assert result.speedup is not None
    assert "L 2." in "\n".join(result.lines())


def test_equal_servers_are_not_told_apart() -> None:
    with serving(answering(0.01)) as a, serving(answering(0.01)) as b:
        total = run(Target(a.url), Target(b.url)).comparison()
    assert total is not None
    assert total.decode_ratio.value == pytest.approx(1, rel=0.2)


def test_the_same_arm_twice_is_refused() -> None:
    with serving(answering(0.001)) as mock, pytest.raises(ParameterError, match="are the same"):
        run(Target(mock.url), None)


def test_turns_go_a_b_b_a() -> None:
    arms = ["A", "B"]
    asks = in_turns(arms, TWO, 2)  # type: ignore[arg-type]
    assert "".join(str(ask.arm) for ask in asks) == "ABBAABBA"
    assert [ask.workload.name for ask in asks] == ["one", "one", "two", "two"] * 2
    salts = [ask.salt for ask in asks]
    assert salts[0] == salts[1] != salts[2]
    three = in_turns(["A", "B", "C"], TWO, 3)  # type: ignore[list-item]
    firsts = {str(three[i].arm) for i in range(0, len(three), 3)}
    assert firsts == {"A", "B", "C"}
