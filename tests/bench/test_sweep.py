from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asking import record_of
from mock_server import Mock, serving
from schedules import Schedule
from speculating import draft_of, steps_of

from headlong.bench.body import Endpoint
from headlong.bench.metrics import measure
from headlong.bench.modes import AUTO, drafts
from headlong.bench.session import Arm, Ask, Taken, Taking, Target
from headlong.bench.sweep import SweepOptions, SweepResult, run_sweep
from headlong.bench.workloads import Message, Workload
from headlong.errors import ParameterError

SERVER = Endpoint("http://x", "m", "headlong")


def swept(rates: dict[int | None, list[float]]) -> SweepResult:
    """Answers at given rates, one per prompt."""
    arms, taken = [], []
    for length, values in rates.items():
        mode = AUTO if length is None else drafts(length)
        arm = Arm(mode.name, SERVER, mode)
        arms.append(arm)
        for prompt, rate in enumerate(values):
            record = record_of(Schedule(steps=(1,) * 9, step=1 / rate))
            ask = Ask(arm, Workload(f"p{prompt}", (Message("user", "?"),), 10))
            taken.append(Taken(ask, record, measure(record)))
    return SweepResult(tuple(arms), Taking(tuple(taken)))


PLAIN_RATES = [10.0, 12.0, 9.0, 11.0, 10.0, 13.0]


def times(*factors: float) -> list[float]:
    return [r * factors[i % len(factors)] for i, r in enumerate(PLAIN_RATES)]


def test_a_clear_best_is_advised() -> None:
    result = swept({0: PLAIN_RATES, 1: times(1.3), 2: times(1.5, 1.52), 3: times(1.4, 1.41)})
    advice = list(result.advice())
    assert advice[0].startswith("take n=2: it beats n=3 by 7.")
    assert "beyond noise" in advice[0]


def test_what_cannot_be_told_apart_is_not_claimed() -> None:
    result = swept({0: PLAIN_RATES, 2: times(1.5, 1.4, 1.6), 3: times(1.5, 1.6, 1.45)})
    advice = list(result.advice())
    assert "take n=2" in advice[0] and "cannot be told apart" in advice[0]


def test_no_draft_may_be_best() -> None:
    result = swept({0: PLAIN_RATES, 1: times(0.9), 2: times(0.8), None: times(1.02, 0.98)})
    advice = list(result.advice())
    assert advice[0].startswith("take plain")
    assert "no draft length pays" in advice[1]
    assert advice[2] == "the server's own choice is as fast as plain within noise."


def test_one_length_gives_no_advice() -> None:
    assert list(swept({2: PLAIN_RATES}).advice()) == ["too few lengths were measured for advice."]


def test_a_sweep_of_a_server() -> None:
    def script(body: dict[str, Any]) -> Schedule:
        draft = draft_of(body, 1)
        accepted = (min(draft, 2) + 1,)  # nothing beyond the second draft token is accepted
        steps = steps_of(body["max_tokens"], accepted, draft)
        cost = 1 + 0.25 * draft
        return Schedule(
            prefill=0.002, step=0.004 * cost, steps=steps, drafts=draft, timings=True, ids=True
        )

    with serving(Mock(script, owner="headlong")) as mock:
        options = SweepOptions(Target(mock.url), lengths=(0, 2, 4), tokens=13)
        result = asyncio.run(run_sweep(options))
    assert [one.arm.name for one in result.lengths] == ["plain", "n=2", "n=4", "auto"]
    assert result.best is not None and result.best.name == "n=2"
    found = {one.arm.name: one.speedup for one in result.lengths}
    assert found["plain"] is None
    assert found["n=4"] is not None
    assert found["n=4"].tokens_per_step == pytest.approx(3, rel=0.02)
    assert found["n=4"].acceptance == pytest.approx(0.5)
    assert any(line.startswith("  n=2") for line in result.lines())


def test_servers_by_length() -> None:
    def at(step: float) -> Mock:
        return Mock(lambda body: Schedule(steps=(1,) * 8, step=step, prefill=0.002))

    with serving(at(0.006)) as off, serving(at(0.003)) as on:
        servers = {0: Target(off.url), 3: Target(on.url)}
        result = asyncio.run(run_sweep(SweepOptions(None, servers, tokens=9)))
    assert [one.arm.name for one in result.lengths] == ["plain", "n=3"]
    assert result.best is not None and result.best.name == "n=3"


def test_what_cannot_be_swept() -> None:
    with serving(Mock(lambda body: Schedule())) as mock:
        with pytest.raises(ParameterError, match="--at N=URL"):
            asyncio.run(run_sweep(SweepOptions(Target(mock.url))))
        with pytest.raises(ParameterError, match="at least two"):
            asyncio.run(run_sweep(SweepOptions(Target(mock.url), lengths=(2,))))
