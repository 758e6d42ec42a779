"""Plans: what a file may say, and in which order rounds come."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from headlong.bench.plan import Plan, load_plan
from headlong.bench.workloads import Message, Workload
from headlong.errors import ParameterError

KNOWN = {
    name: Workload(name, (Message("user", name),), 100, category=name) for name in ("chat", "code")
}


def plan(tmp_path: Path, text: str) -> Plan:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return load_plan(path, KNOWN)


ONE_SERVER = """
servers:
  - name: ours
    url: http://127.0.0.1:8080
    modes: [plain, n=2]
repeats: 4
"""
STARTED = """
name: both engines
servers:
  - name: ours
    command: serve {model} --port {port}
    model: file.gguf
    modes: [plain, auto]
  - name: theirs
    command: [other, "{flags}", --port, "{port}"]
    modes:
      plain: ""
      n=2: --draft-max 2
      mine: {flags: --draft-max 3, draft: 3}
workloads: [chat, code]
concurrency: [1, 4]
cache: [cold, warm]
tokens: 64
repeats: 5
"""


def turns(one: Plan) -> list[tuple[str, int]]:
    return [
        (turn.arm.name, turn.repeat)
        for session in one.sessions()
        for turn in session.turns
        if not turn.warmup
    ]


def test_modes_that_requests_switch_take_turns(tmp_path: Path) -> None:
    one = plan(tmp_path, ONE_SERVER)
    a, b = "ours plain", "ours n=2"
    assert turns(one) == [(a, 0), (b, 0), (b, 1), (a, 1), (a, 2), (b, 2), (b, 3), (a, 3)]
    assert one.order == "A B B A by request"
    (session,) = one.sessions()
    assert Counter(turn.arm.name for turn in session.turns if turn.warmup) == {a: 2, b: 2}
    assert session.turns[0].warmup


def test_servers_that_are_started_come_in_order_and_in_reverse(tmp_path: Path) -> None:
    one = plan(tmp_path, STARTED)
    names = [[i.server.name + " " + " ".join(i.flags) for i in s.instances] for s in one.sessions()]
    ours, plain, two, mine = "ours ", "theirs ", "theirs --draft-max 2", "theirs --draft-max 3"
    assert names == [[ours], [plain], [two], [mine], [two], [plain], [ours]]
    counts = Counter(turns(one))
    assert set(counts.values()) == {len(one.cases)}
    assert len(one.cases) == 8
    assert {name for name, _ in counts} == {
        "ours plain", "ours auto", "theirs plain", "theirs n=2", "theirs mine",
    }  # fmt: skip
    for name in {name for name, _ in counts}:
        assert sorted({repeat for arm, repeat in counts if arm == name}) == list(range(5))
    assert [arm.mode.draft for arm in one.arms] == [0, None, 0, 2, 3]


def test_together_is_one_session(tmp_path: Path) -> None:
    one = plan(tmp_path, STARTED + "together: true\n")
    (session,) = one.sessions()
    assert len(session.instances) == 4


def test_what_is_done_is_left_out(tmp_path: Path) -> None:
    one = plan(tmp_path, STARTED)
    everything = [t for s in one.sessions() for t in s.turns if not t.warmup]
    theirs = frozenset(t.key for t in everything if t.arm.name != "ours auto")
    rest = list(one.sessions(theirs))
    assert {t.arm.name for s in rest for t in s.turns} == {"ours auto"}  # warm-ups too
    assert list(one.sessions(frozenset(t.key for t in everything))) == []


def test_warm_rows_have_a_warm_up_at_least(tmp_path: Path) -> None:
    one = plan(tmp_path, ONE_SERVER + "warmups: 0\ncache: [cold, warm]\n")
    (session,) = one.sessions()
    assert [t.case.cache for t in session.turns if t.warmup] == ["warm", "warm"]


def test_settings_reach_the_workloads(tmp_path: Path) -> None:
    one = plan(tmp_path, STARTED)
    assert {case.workload.max_tokens for case in one.cases} == {64}
    assert all(case.workload.exact_length for case in one.cases)
    assert one.name == "both engines"
    server = one.arms[2].instance.server
    assert server.words(80, ("--x",)) == ["other", "--x", "--port", "80"]


def test_the_digest_tells_plans_apart(tmp_path: Path) -> None:
    digests = {
        plan(tmp_path, text).digest
        for text in (ONE_SERVER, ONE_SERVER + "seed: 1\n", ONE_SERVER + "tokens: 9\n")
    }
    assert len(digests) == 3
    assert plan(tmp_path, ONE_SERVER).digest == plan(tmp_path, "# remark" + ONE_SERVER).digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("servers: []", r"servers: List should have at least 1"),
        ("", r"servers: Field required"),
        ("[1, 2", r"line 1, column 6: expected"),
        (ONE_SERVER + "repeats: 3", "line 7, column 1: 'repeats' is given twice"),
        (ONE_SERVER + "repeat: 3", r"repeat: Extra inputs are not permitted"),
        (ONE_SERVER + "workloads: [poetry]", "no workload 'poetry'; there are: chat, code"),
        (ONE_SERVER + "concurrency: 0", r"concurrency\.0: .*greater than or equal to 1"),
        (ONE_SERVER.replace("n=2", "fast"), "mode 'fast' is none of"),
        (ONE_SERVER.replace("[plain, n=2]", "[]"), "server ours: no modes"),
        (ONE_SERVER.replace("[plain, n=2]", "{n=2: --x}"), "has flags, but the server is not"),
        (ONE_SERVER.replace("[plain, n=2]", "[plain, plain, n=0]"), "two arms are called"),
        ("servers: [{name: a, url: 'http://h'}, {name: a, url: 'http://i'}]", "two servers are"),
        ("servers: [{name: a}]", "give a url, or a command"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message) as raised:
        plan(tmp_path, text)
    assert str(tmp_path) in str(raised.value)
