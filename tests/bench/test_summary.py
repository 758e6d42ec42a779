"""Rows: speed-ups, costs, energy and flags of samples whose figures are known."""

from __future__ import annotations

import pytest
from bench_samples import arm, prompt, record, sample

from headlong.bench.record import ModelFile, Row
from headlong.bench.summary import summarise
from headlong.bench.verdicts import verdicts

PLAIN, TWO = arm("plain", 0), arm("n=2", 2)
CHAT, CODE = prompt("chat"), prompt("code", 1)
FILE = ModelFile(
    file="m.gguf", bytes=10**9, fingerprint="0" * 64, architecture="qwen35", name="m",
    quantisation="Q4_K", types={"Q4_K": 10**9}, mtp_layers=1, mtp_types=("Q4_K",),
    step_bytes=10**9, synthetic=False,
)  # fmt: skip


def test_rows_of_known_figures() -> None:
    rows = {(row.arm, row.workload): row for row in record(gain=1.5, cost_free=2.4).rows}
    assert list(rows) == [("plain", "chat"), ("n=2", "chat"), ("plain", "code"), ("n=2", "code")]
    plain, two = rows["plain", "chat"], rows["n=2", "chat"]
    assert plain.decode is not None
    assert plain.decode.value == pytest.approx(10.04)
    assert plain.decode.low is not None
    assert plain.speedup is None
    assert two.speedup is not None
    assert two.speedup.value == pytest.approx(1.5)
    assert two.speedup.low == pytest.approx(1.5)  # all pairs agree, though rates drift
    assert two.tokens_per_step == pytest.approx(2.4)
    assert two.step_cost == pytest.approx(1.6)
    assert two.predicted == pytest.approx(1.5)
    # 0.1 s later; 1/10.04 - 1/15.06 s saved for each token
    assert two.break_even == pytest.approx(0.1 / (1 / 10.04 - 1 / 15.06))
    assert two.acceptance == pytest.approx((100 - 42) / 84)
    assert [(d.depth, d.accepted / d.drafted) for d in two.by_depth] == [(1, 0.8), (2, 0.6)]
    assert two.flags == ()


def test_streams_add_up() -> None:
    samples = [
        sample("plain", rate=10, ttft=0.5, stream=stream, concurrency=4) for stream in range(4)
    ]
    (row,) = summarise([PLAIN], [CHAT], samples)
    assert row.total is not None
    assert row.total.value == pytest.approx(4 * 101 / 10.5)
    assert row.decode is not None
    assert row.decode.value == pytest.approx(10)


def test_only_pairs_of_sound_answers_make_a_speed_up() -> None:
    samples = [
        sample("plain", rate=10, repeat=0),
        sample("plain", rate=99, repeat=1, problem="53 tokens instead of 101"),
        sample("n=2", rate=20, length=2, repeat=0, turn=1),
        sample("n=2", rate=20, length=2, repeat=1, turn=1),
    ]
    plain, two = summarise([PLAIN, TWO], [CHAT], samples)
    assert two.speedup is not None
    assert two.speedup.value == pytest.approx(2)
    assert two.speedup.low is None
    assert plain.failed == 1
    assert plain.flags == ("1 of 2 do not count: 53 tokens instead of 101",)
    assert plain.decode is not None
    assert plain.decode.value == pytest.approx(10)


def test_a_mode_that_never_wins_has_no_break_even() -> None:
    samples = [sample("plain", rate=10), sample("n=2", rate=9, length=2)]
    _, two = summarise([PLAIN, TWO], [CHAT], samples)
    assert two.break_even is None
    assert two.step_cost == pytest.approx(2 / 0.9)


def test_energy() -> None:
    samples = [
        sample("n=2", rate=10, ttft=1.0, length=2, joules=202.0, stream=stream, concurrency=2)
        for stream in range(2)
    ]
    (row,) = summarise([TWO], [CHAT], samples, idle_watts=5.0)
    assert row.joules_per_token == pytest.approx(1.0)
    assert row.joules_per_token_idle_off == pytest.approx((202 - 5 * 11) / 202)
    assert row.joules_per_accepted == pytest.approx(202 / 100)


def test_no_energy_is_no_zero() -> None:
    (row,) = summarise([TWO], [CHAT], [sample("n=2")], idle_watts=None)
    assert row.joules_per_token is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, 0.5), ({"local": False}, None), ({"file": None}, None)],
)
def test_roofline(changes: dict[str, object], expected: float | None) -> None:
    one = arm("plain", 0, **{"file": FILE, **changes})
    (row,) = summarise([one], [CHAT], [sample("plain", rate=10)], bandwidth=20.0)
    assert row.roofline == (None if expected is None else pytest.approx(expected))


def flags_of(row: Row) -> str:
    return " / ".join(row.flags)


@pytest.mark.parametrize(
    ("fields", "flag"),
    [
        ({"cached_tokens": 40}, "not cold: 80 % of a prompt came from a cache"),
        ({"cache": "warm", "cached_tokens": 0}, "not warm: the prompt was read again"),
        ({"counted_by": "events"}, "counts no tokens"),
        ({"cached_tokens": 4}, ""),
        ({"cached_tokens": None}, ""),
    ],
)
def test_flags_of_answers(fields: dict[str, object], flag: str) -> None:
    (row,) = summarise([PLAIN], [CHAT], [sample("plain", **fields)])  # type: ignore[arg-type]
    assert flag in flags_of(row)
    assert bool(flag) == bool(row.flags)


def test_drift_is_flagged() -> None:
    samples = [sample("plain", rate=10 - i / 4, repeat=i, turn=i) for i in range(5)]
    (row,) = summarise([PLAIN], [CHAT], samples)
    assert "drift -10 %" in row.flags[0] or "drift -11 %" in row.flags[0]


def test_a_prediction_that_misses_is_flagged() -> None:
    samples = [
        sample("plain", rate=10), sample("n=2", rate=15, length=2.5, step_gap_p50=0.2, turn=1),
    ]  # fmt: skip
    _, two = summarise([PLAIN, TWO], [CHAT], samples)
    assert two.step_cost == pytest.approx(2.0)
    assert two.predicted == pytest.approx(1.25)
    assert "1.50x where L / C predicts 1.25x" in two.flags
    assert two.diagnosis is not None
    assert "look for stalls" in two.diagnosis


def test_verdicts_are_computed() -> None:
    said = record(gain=1.5, cost_free=2.4).verdicts
    assert said[0].startswith("here: n=2 is the best mode, 1.50x plain over 2 cases; ")
    assert "drafts good (L 2.40), step dear (C 1.60)" in said[0]
    slower = record(gain=0.8).verdicts
    assert slower[0].startswith("here: no mode beats plain decoding (n=2: 0.80x)")


def test_servers_are_compared_on_what_both_were_asked() -> None:
    arms = [PLAIN, TWO, arm("theirs", 0, server="there")]
    samples = [
        sample("plain", rate=10), sample("n=2", rate=20, length=2, turn=1),
        sample("theirs", rate=8, turn=2),
    ]  # fmt: skip
    said = verdicts(arms, summarise(arms, [CHAT], samples), samples)
    assert "here decodes 2.50x as fast as there, each in its best mode, over 1 case." in said
