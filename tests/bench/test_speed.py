"""The matrix against servers of known speed: figures, records, interruption, going on."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from mock_process import answer
from mock_server import Mock, serving
from schedules import Schedule

from headlong.bench import speed
from headlong.bench.plan import Plan, load_plan
from headlong.bench.record import Record, load
from headlong.bench.speed import run_speed
from headlong.bench.workloads import Message, Workload
from headlong.errors import ParameterError, ServerError

KNOWN = {
    name: Workload(name, (Message("user", name),), 21, category=name) for name in ("chat", "code")
}
PROCESS = Path(__file__).with_name("mock_process.py")


@pytest.fixture(autouse=True)
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_IDLE_SECONDS", 0.0)


@pytest.fixture
def mock() -> Iterator[Mock]:
    with serving(Mock(lambda body: answer(body, 0), owner="headlong")) as mock:
        yield mock


def plan_of(tmp_path: Path, text: str) -> Plan:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return load_plan(path, KNOWN)


def switched(tmp_path: Path, mock: Mock, more: str = "") -> Plan:
    return plan_of(
        tmp_path,
        f"servers: [{{name: ours, url: '{mock.url}', modes: [plain, n=2]}}]\n"
        f"warmups: 1\nrepeats: 2\n{more}",
    )


def measured(plan: Plan, out: Path, **options: bool) -> Record:
    return asyncio.run(run_speed(plan, out, bandwidth=30.0, **options))


def test_a_matrix_on_one_server(tmp_path: Path, mock: Mock) -> None:
    out = tmp_path / "out" / "a.json"
    record = measured(switched(tmp_path, mock, "concurrency: [1, 2]\n"), out)
    assert load(out) == record
    assert [path.name for path in out.parent.iterdir()] == ["a.json"]
    assert record.run.complete
    assert [arm.name for arm in record.arms] == ["ours plain", "ours n=2"]
    assert record.arms[1].body == {"speculative": {"n_max": 2}}
    assert (record.arms[0].kind, record.arms[0].version) == ("headlong", "headlong 1.2.3")
    assert Counter(row.samples for row in record.rows) == {2: 2, 4: 2}
    assert all(sample.problem is None for sample in record.samples)
    plain, two = record.rows[:2]
    # How true the rates are is tested where they are computed; a busy machine would spoil it here.
    assert plain.decode is not None
    assert two.speedup is not None
    assert two.tokens_per_step == pytest.approx(2.0)
    assert two.acceptance == pytest.approx(0.5)
    # warm-ups are asked for, but not kept
    assert len(mock.bodies) == len(record.samples) + 6
    asked = [body["speculative"]["n_max"] for body in mock.bodies[:6]]
    assert asked == [0, 2, 0, 2, 2, 0]


def test_cold_and_warm_are_rows_of_their_own(tmp_path: Path, mock: Mock) -> None:
    record = measured(switched(tmp_path, mock, "cache: [cold, warm]\n"), tmp_path / "a.yaml")
    assert [row.cache for row in record.rows] == ["cold", "cold", "warm", "warm"]
    warm = [body for body in mock.bodies if body.get("cache_prompt", True)]
    assert len(warm) == len(mock.bodies) / 2


def test_answers_of_another_length_do_not_count(tmp_path: Path) -> None:
    script = Mock(lambda body: Schedule(prefill=0.01, step=0.001, steps=(1,) * 5), "headlong")
    with serving(script) as mock:
        record = measured(switched(tmp_path, mock), tmp_path / "a.json")
    assert {sample.problem for sample in record.samples} == {
        "6 tokens instead of 21 (finish: length)"
    }
    assert all(row.decode is None and row.failed == 2 for row in record.rows)
    assert "2 of 2 do not count" in record.verdicts[0]


def test_a_server_that_refuses_is_a_problem_not_a_crash(tmp_path: Path, mock: Mock) -> None:
    mock.status = 500
    record = measured(switched(tmp_path, mock), tmp_path / "a.json")
    assert all(sample.problem == "500: no" for sample in record.samples)


STARTED = """
servers:
  - name: theirs
    command: [{python}, {script}, "{{flags}}"]
    port_pattern: "listening on port (\\\\d+)"
    modes: {{plain: "", n=2: "2"}}
warmups: 0
repeats: 2
"""


def started(tmp_path: Path, more: str = "") -> Plan:
    text = STARTED.format(python=sys.executable, script=PROCESS)
    return plan_of(tmp_path, text + more)


def test_servers_that_are_started_with_flags(tmp_path: Path) -> None:
    record = measured(started(tmp_path), tmp_path / "a.json")
    assert [arm.mode for arm in record.arms] == ["plain", "n=2"]
    assert [arm.draft for arm in record.arms] == [0, 2]
    assert record.arms[1].command is not None
    assert record.arms[1].command.endswith("mock_process.py 2")
    assert [sample.arm[-3:] for sample in record.samples] == ["ain", "n=2", "n=2", "ain"]
    assert record.rows[1].speedup is not None
    assert record.rows[1].tokens_per_step == pytest.approx(2.0)
    assert record.arms[1].dialect.startswith("tokens counted by usage")
    log = (tmp_path / "a-theirs-0.log").read_text()
    assert log.count("$ ") == 3
    assert not any(alive(pid) for pid in children())


def children() -> list[int]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in listed.read_text().split()] if listed.exists() else []


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("program", ["switched", "started"])
def test_an_interrupted_run_keeps_what_it_has_and_goes_on(
    tmp_path: Path, mock: Mock, program: str
) -> None:
    one = switched(tmp_path, mock) if program == "switched" else started(tmp_path)
    out = tmp_path / "a.json"
    journal = out.with_name("a.json.journal")
    stop = threading.Event()

    def interrupt() -> None:
        while not stop.wait(0.005):
            if journal.exists() and journal.read_text().count('"key"') >= 2:
                os.kill(os.getpid(), signal.SIGINT)
                return

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    try:
        first = measured(one, out)
    finally:
        stop.set()
        watcher.join()
    assert not first.run.complete
    assert load(out) == first
    kept = len(first.samples)
    assert 2 <= kept < 4
    second = measured(one, out)
    assert second.run.complete
    assert second.run.id == first.run.id
    assert second.samples[:kept] == first.samples
    assert len(second.samples) == 4
    assert sorted((s.arm, s.repeat) for s in second.samples) == sorted(
        (arm.name, repeat) for arm in one.arms for repeat in range(2)
    )
    assert not journal.exists()


def test_a_journal_of_another_plan_is_not_mixed_in(tmp_path: Path, mock: Mock) -> None:
    out = tmp_path / "a.json"
    journal = out.with_name("a.json.journal")
    journal.write_text('{"schema": "headlong.bench/1", "plan": "x", "id": "i", "started": "s"}\n')
    with pytest.raises(ParameterError, match=r"of another plan; .* --fresh"):
        measured(switched(tmp_path, mock), out)
    assert measured(switched(tmp_path, mock), out, fresh=True).run.complete


@pytest.mark.parametrize("text", ["not json\n", '{"schema": "headlong.bench/1"}\n'])
def test_a_damaged_journal_is_told(tmp_path: Path, mock: Mock, text: str) -> None:
    (tmp_path / "a.json.journal").write_text(text)
    with pytest.raises(ParameterError, match="is damaged"):
        measured(switched(tmp_path, mock), tmp_path / "a.json")


def test_a_last_line_that_was_cut_off_is_forgotten(tmp_path: Path, mock: Mock) -> None:
    one = switched(tmp_path, mock)
    head = f'{{"schema": "headlong.bench/1", "plan": "{one.digest}", "id": "i", "started": "s"}}\n'
    (tmp_path / "a.json.journal").write_text(head + '{"key": "cut')
    record = measured(one, tmp_path / "a.json")
    assert (record.run.id, record.run.complete) == ("i", True)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "servers: [{name: gone, url: 'http://127.0.0.1:9'}]")
    with pytest.raises(ServerError, match="gone at http"):
        measured(plan, tmp_path / "a.json")


def test_a_key_from_the_environment(
    tmp_path: Path, mock: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"servers: [{{name: a, url: '{mock.url}', api_key_variable: BENCH_KEY}}]\nrepeats: 1\n"
    monkeypatch.delenv("BENCH_KEY", raising=False)
    with pytest.raises(ParameterError, match="no variable BENCH_KEY"):
        measured(plan_of(tmp_path, text), tmp_path / "a.json")
    monkeypatch.setenv("BENCH_KEY", "secret words")
    measured(plan_of(tmp_path, text), tmp_path / "a.json")
    assert not re.search("secret", (tmp_path / "a.json").read_text())
