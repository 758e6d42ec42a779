"""`headlong bench mtp, long, compare, sweep, lossless` against a mock."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_runs import Run

sys.path.append(str(Path(__file__).parents[1] / "bench"))

from mock_server import Mock, serving
from schedules import Schedule
from speculating import draft_of, speculating

from headlong.bench.record import load


@pytest.mark.parametrize(
    ("command", "flags", "said"),
    [
        ("mtp", ("--mode", "n=2"), "Aggregate: {"),
        ("long", ("--prompt-tokens", 200), "prompt tok/s"),
        ("compare", ("--mode-a", "plain", "-r", 1, "--warmups", 0, "-w", "chat"), "B decodes"),
        ("sweep", ("--lengths", "0,2", "--no-auto"), "take "),
        ("lossless", ("--prompts", 2), "lossless: yes"),
    ],
)
def test_a_command_and_its_record(
    run: Run, tmp_path: Path, command: str, flags: tuple[object, ...], said: str
) -> None:
    out = tmp_path / "record.json"
    with serving(speculating(step=0.002)) as mock:
        result = run("bench", command, mock.url, "-n", 9, "-o", out, *flags)
    assert result.code == 0, result.err
    if command == "compare":
        said = "too few to tell"
    assert said in result.out
    assert result.out.endswith(f"{out}\n")
    record = load(out)
    assert record.run.command == command and record.run.complete
    assert {arm.name for arm in record.arms} == {one.arm for one in record.samples}
    assert all(one.problem is None for one in record.samples)
    assert record.rows


def test_two_records_side_by_side(run: Run, tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    with serving(speculating(step=0.001)) as mock:
        for path in paths:
            assert run("bench", "mtp", mock.url, "-n", 9, "--no-plain", "-o", path).code == 0
    result = run("bench", "mtp", "--diff", *paths)
    assert result.code == 0, result.err
    assert "code_python" in result.out


def test_a_text_that_changes_is_exit_code_1(run: Run) -> None:
    def script(body: dict[str, Any]) -> Schedule:
        words = ("a ", "b ") if draft_of(body, 1) else ("a ", "c ")
        return Schedule(steps=(1,), step=0.0, prefill=0.001, words=words)

    with serving(Mock(script, owner="headlong")) as mock:
        result = run("bench", "lossless", mock.url, "--prompts", 1)
    assert result.code == 1
    assert "lossless: NO" in result.out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("mtp",), "give the server's address"),
        (("mtp", "ftp://x"), "is not the address of a server"),
        (("mtp", "http://127.0.0.1:1"), "does not answer"),
        (("mtp", "http://127.0.0.1:1", "--mode", "fast"), "mode 'fast' is none of"),
        (("mtp", "http://127.0.0.1:1", "--body", "{"), "--body is not JSON"),
        (("mtp", "http://127.0.0.1:1", "--body", "[1]"), "must be a JSON object"),
        (("mtp", "http://127.0.0.1:1", "-o", "record.txt"), "record.txt"),
        (("sweep",), "or --at N=URL"),
        (("sweep", "--at", "2"), "is not N=URL"),
        (("sweep", "http://127.0.0.1:1", "--lengths", "0,x"), "mode 'n=x' is none of"),
        (("compare", "http://127.0.0.1:1", "-w", "novel"), "no workload shape 'novel'"),
    ],
)
def test_mistakes_are_told_in_a_line(run: Run, flags: tuple[str, ...], words: str) -> None:
    result = run("bench", *flags)
    assert result.code == 1
    assert words in result.err
    assert len(result.err.splitlines()) == 1


def test_a_prompt_that_is_no_text(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "prompt.bin"
    path.write_bytes(b"\xff\xfe\x00")
    result = run("bench", "long", "http://127.0.0.1:1", path)
    assert (result.code, result.err) == (1, f"error: {path} is not UTF-8 text\n")


def test_other_fields_of_requests(run: Run) -> None:
    with serving(speculating(step=0.001)) as mock:
        fields = {"top_k": 20, "temperature": 0.5}
        flags = ("--no-plain", "--warm", "-n", 3, "--warmups", 0, "--body", json.dumps(fields))
        assert run("bench", "mtp", mock.url, *flags).code == 0
    assert all(fields.items() <= body.items() for body in mock.bodies)
    assert not any("cache_prompt" in body for body in mock.bodies)
