from __future__ import annotations

import asyncio
import json
import re

import pytest
from mock_server import Mock, serving
from schedules import Schedule
from speculating import PATTERN, SPEC_COST, TRUE_L, speculating

from headlong.bench.modes import AS_SERVED, PLAIN, drafts, parse_mode
from headlong.bench.mtp import MtpOptions, MtpResult, run_mtp
from headlong.bench.session import Target
from headlong.errors import ParameterError, ServerError

LINE = re.compile(
    r"  \S+ +pred= *\d+ draft= *\d+ acc= *\d+ rate=(?:\d\.\d{3}|n/a) tok/s=(?:\d+\.\d|n/a)"
)
CATEGORIES = str.split(
    "code_python code_cpp explain_concept summarize qa_factual translation creative_short "
    "stepwise_math long_code_review"
)


def run(mock: Mock, **options: object) -> MtpResult:
    with serving(mock):
        target = Target(mock.url)
        return asyncio.run(run_mtp(MtpOptions(target, **options)))  # type: ignore[arg-type]


def test_the_familiar_lines_and_what_they_mean() -> None:
    result = run(speculating(), tokens=27, mode=drafts(2))
    lines = list(result.lines())
    known = [line for line in lines if "pred=" in line]
    assert all(LINE.fullmatch(line) for line in known)
    assert [line.split()[0] for line in known] == CATEGORIES * 2
    assert "draft=   0 acc=   0 rate=n/a" in known[0]  # plain comes first
    assert "pred=  27 draft=  20 acc=  16 rate=0.800" in known[9]
    text = "\n".join(lines)
    blocks = [json.loads(b) for b in re.findall(r"Aggregate: (\{.*?\})", text, re.DOTALL)]
    assert [b["n_requests"] for b in blocks] == [9, 9]
    assert [b["total_predicted"] for b in blocks] == [243, 243]
    assert blocks[0]["aggregate_accept_rate"] is None
    assert blocks[1]["aggregate_accept_rate"] == 0.8
    assert 0 < blocks[1]["wall_s_total"] < blocks[0]["wall_s_total"]
    found = result.speedup
    assert found is not None and found.tokens_per_step is not None
    assert found.tokens_per_step == pytest.approx(TRUE_L)
    assert found.step_cost == pytest.approx(SPEC_COST, rel=0.15)  # of a busy machine
    assert re.search(r"^  all +\d\.\d\dx", text, re.MULTILINE)
    assert "tokens counted by token ids" in text


def test_a_server_without_a_switch_is_measured_as_it_is() -> None:
    mock = Mock(lambda body: Schedule(steps=(1,) * 6, step=0.002, prefill=0.005))
    result = run(mock, tokens=7)
    assert (result.arm.mode, result.plain, result.speedup) == (AS_SERVED, None, None)
    assert len(mock.bodies) == 10  # one to warm up
    assert "draft=   0 acc=   0 rate=n/a" in "\n".join(result.lines())


def test_a_second_server_stands_for_off() -> None:
    fast = Mock(lambda body: Schedule(steps=PATTERN, step=0.004, prefill=0.005))
    slow = Mock(lambda body: Schedule(steps=(1,) * 13, step=0.004, prefill=0.005))
    with serving(slow):
        result = run(fast, against=Target(slow.url), tokens=14)
    assert result.speedup is not None
    assert result.speedup.observed.value > 1.5


def test_what_deserves_a_warning() -> None:
    answers = iter(range(1000))

    def script(body: dict[str, object]) -> Schedule:
        if next(answers) == 4:
            return Schedule(cut_after=3)
        return Schedule(steps=(1,) * 3, step=0.001, prefill=0.002)

    result = run(Mock(script, refuses=("seed",)), tokens=50)
    text = "\n".join(result.lines())
    assert "failed 1x: as served: the connection broke" in text
    assert "8 of 9 answers ended before 50 tokens (shortest: 4)" in text
    assert "the server refused, and went without: seed" in text


def test_interrupting_keeps_what_was_measured() -> None:
    mock = Mock(lambda body: Schedule(steps=(1,) * 20, step=0.005, prefill=0.005))

    async def interrupted() -> MtpResult:
        task = asyncio.ensure_future(run_mtp(MtpOptions(Target(mock.url), tokens=21)))
        while len(mock.bodies) < 5:
            await asyncio.sleep(0.01)
        task.cancel()
        return await task

    with serving(mock):
        result = asyncio.run(interrupted())
    assert result.taking.interrupted
    assert 1 <= len(result.taking.taken) <= 5
    assert "interrupted" in "\n".join(result.lines())


def test_a_server_that_fails_is_an_error_and_not_a_table() -> None:
    with pytest.raises(ServerError, match="503: no"):
        run(Mock(lambda body: Schedule(), status=503))
    with pytest.raises(ParameterError, match="cannot switch"):
        run(Mock(lambda body: Schedule()), mode=PLAIN)


def test_modes_by_name() -> None:
    assert parse_mode("plain") == parse_mode("0") == PLAIN
    assert parse_mode("n=3") == parse_mode("3") == drafts(3)
    own = parse_mode('fast={"speculative.n_max": 4}')
    assert (own.name, own.body) == ("fast", {"speculative.n_max": 4})
    for text in ("", "n=", "n=99", "x={", "x=[1]", "fast", "={}"):
        with pytest.raises(ParameterError, match="mode"):
            parse_mode(text)
