"""Two records: changes beyond noise, and unlike runs refused."""

from __future__ import annotations

import pytest
from bench_samples import arm, host, prompt, record, run, sample

from headlong.bench.diff import compare_records, diff_lines, unlikeness
from headlong.bench.provenance import make_record
from headlong.bench.record import Record
from headlong.errors import ParameterError


def with_host(one: Record, **fields: object) -> Record:
    return one.model_copy(update={"host": host(**fields)})


def test_a_faster_mode_is_told() -> None:
    changes = compare_records(record(gain=1.5), record(gain=1.8))
    assert [(c.first.arm, c.verdict) for c in changes] == [
        ("plain", "same"), ("n=2", "faster"), ("plain", "same"), ("n=2", "faster"),
    ]  # fmt: skip
    assert changes[1].ratio is not None
    assert changes[1].ratio.value == pytest.approx(1.2)
    assert compare_records(record(gain=1.8), record(gain=1.5))[1].verdict == "slower"
    assert compare_records(record(repeats=1), record(gain=3, repeats=1))[1].verdict == "unknown"


def test_the_table() -> None:
    lines = list(diff_lines(record(gain=1.5), record(gain=1.8)))
    assert lines[3].startswith("| n=2 | chat | 1 | cold | 15.1 | 18.1 | 1.20 [1.20–1.20] | faster")
    assert len(lines) == 6  # nothing differs but the speed


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"processor": "Other"}, "processor: Some Processor against Other"),
        ({"cores": 4}, "cores: 2 against 4"),
        (
            {"gpus": ({"name": "Card", "memory": None, "driver": None, "power_cap": 200.0,
                       "clock": None, "pcie": None},)},
            "cards: none against Card; power cap: unknown against 200 W",
        ),
    ],
)  # fmt: skip
def test_other_machines_are_refused(fields: dict[str, object], told: str) -> None:
    first, second = record(), with_host(record(), **fields)
    with pytest.raises(ParameterError, match="unlike runs") as raised:
        compare_records(first, second)
    assert told in str(raised.value)
    assert "--force" in str(raised.value)
    lines = list(diff_lines(first, second, force=True))
    assert any("compared by force" in line for line in lines)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sha256": "f" * 64}, "workload chat, prompt: 000000000000 against ffffffffffff"),
        ({"max_tokens": 50}, "workload chat, max_tokens: 101 against 50"),
        ({"temperature": 0.7}, "workload chat, temperature: 0.0 against 0.7"),
    ],
)
def test_other_workloads_are_refused(change: dict[str, object], told: str) -> None:
    second = record()
    changed = second.prompts[0].model_copy(update=change)
    second = second.model_copy(update={"prompts": (changed, *second.prompts[1:])})
    with pytest.raises(ParameterError, match=told):
        compare_records(record(), second)


def test_other_builds_are_what_is_compared() -> None:
    second = record()
    arms = tuple(one.model_copy(update={"version": "headlong 2"}) for one in second.arms)
    second = second.model_copy(update={"arms": arms})
    found = unlikeness(record(), second)
    assert [str(one) for one in found] == [
        "plain, build: headlong 1 against headlong 2",
        "n=2, build: headlong 1 against headlong 2",
    ]
    assert compare_records(record(), second)


def one_arm(name: str, server: str, **fields: object) -> Record:
    arms = (arm(name, 0, server=server, **{"mode": "plain", **fields}),)
    samples = [sample(name, repeat=i, turn=i) for i in range(3)]
    return make_record(run(), host(), arms, (prompt("chat"),), samples)


def test_one_server_each_is_matched_by_mode() -> None:
    (change,) = compare_records(one_arm("ours plain", "ours"), one_arm("theirs plain", "theirs"))
    assert (change.first.arm, change.second.arm) == ("ours plain", "theirs plain")
    with pytest.raises(ParameterError, match="no row in common: arms a and b"):
        compare_records(one_arm("a", "ours"), one_arm("b", "theirs", mode="auto"))


def test_ports_are_no_difference() -> None:
    first = one_arm("a", "s", command="serve m --port 80 -t 2")
    second = one_arm("a", "s", command="serve m --port 81 -t 2")
    assert unlikeness(first, second) == ()
