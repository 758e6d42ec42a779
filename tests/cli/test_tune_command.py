"""`headlong tune`: what it prints, as text and as JSON, and its exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cli_runs import Run

from headlong.cli import tune as command
from headlong.engine.requests import Completion
from headlong.models.rehearsal import Rehearsal
from headlong.ops.cpu import CpuOps
from headlong.progress import Silent
from headlong.tools import tune as tool
from headlong.tools.samples import Samples
from headlong.tools.synth import find_mix, write_rehearsal
from headlong.tools.tune_model import TunedModel
from rehearsal_sizes import TIED

SMALL = ("--quick", "--max-draft", 2, "--tokens", 8, "-t", 1)


@pytest.fixture(scope="module", autouse=True)
def little_memory() -> Iterator[None]:
    """Bandwidth is measured over a few MiB: these tests look at words."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, "_BANDWIDTH_BYTES", 4 << 20)
        yield


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tune") / "rehearsal.gguf"
    write_rehearsal(path, TIED, find_mix("Q8_0"), Rehearsal(0.8, 0))
    return path


def test_costs_gains_and_the_best(run: Run, model: Path) -> None:
    result = run("tune", model, *SMALL)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == f"{model}: tiny"
    starts = [line.split()[0] for line in lines if line]
    assert starts[1:3] == ["machine", "prompt"]
    assert "1 threads" in lines[1] and lines[1].endswith(" GB/s")
    assert "256 tokens: " in lines[2] and "of the speed)" in lines[2]
    rows = next(line.split() for line in lines if line.startswith("  rows"))
    assert rows == ["rows", *map(str, range(1, 9))]
    costs = next(line.split() for line in lines if line.startswith("  c(rows)"))
    assert costs[1] == "1.00" and len(costs) == 9
    assert any(line.startswith("drafts     first ") for line in lines)
    first = next(i for i, line in enumerate(lines) if line.startswith("  n  ")) + 1
    assert [line.split()[0] for line in lines[first : first + 4]] == ["0", "1", "2", "auto"]
    assert any(line.startswith("best       n = ") for line in lines)
    assert any(line.startswith("bandwidth  a token moves ") for line in lines)
    assert lines[-1] == "identical: yes"
    assert "made-up" not in result.out


def test_a_rehearsal_says_what_it_is(run: Run, rehearsal: Path) -> None:
    text = run("tune", rehearsal, *SMALL)
    wanted = "made-up weights: acceptance was chosen, not learned (80 % of drafts right)"
    assert wanted in text.out.splitlines()
    result = json.loads(run("tune", rehearsal, *SMALL, "--json").out)
    assert result["synthetic"] is True
    assert result["rehearsal"] == {"accept": pytest.approx(0.8), "seed": 0}


def test_json(run: Run, model: Path) -> None:
    result = run("tune", model, *SMALL, "--json")
    assert result.code == 0
    fields = json.loads(result.out)
    assert fields["synthetic"] is False
    assert fields["identical"] is True
    assert fields["best"] in (0, 1, 2)
    assert fields["machine"]["threads"] == 1
    assert [one["rows"] for one in fields["passes"]] == list(range(1, 9))
    assert [one["draft"] for one in fields["decoding"]] == [0, 1, 2, "auto"]
    rates = fields["decoding"][1]["per_second"]
    assert rates["median"] == rates["values"][0]
    assert fields["reading"]["ratio"] > 0
    assert fields["decode_share"] > 0
    assert fields["plan"]["tokens"] == 8


def test_without_a_head_the_rest_is_measured(run: Run, headless: Path) -> None:
    result = run("tune", headless, *SMALL)
    assert result.code == 0
    assert "no drafts: the file has no MTP head" in result.out
    assert "with it" not in result.out
    assert "best" not in result.out
    assert result.out.splitlines()[-1] == "identical: yes"
    fields = json.loads(run("tune", headless, *SMALL, "--json").out)
    assert fields["drafts"] is None
    assert fields["reading"]["head"] is None


def test_a_difference_is_named_and_fails(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = TunedModel.answer

    def broken(self: TunedModel, prompt: list[int], drafting: int | str, tokens: int) -> Completion:
        made = answer(self, prompt, drafting, tokens)
        if drafting != 1:
            return made
        return replace(made, tokens=(*made.tokens[:-1], made.tokens[-1] ^ 1))

    monkeypatch.setattr(TunedModel, "answer", broken)
    result = run("tune", model, *SMALL)
    assert result.code == 1
    assert result.out.splitlines()[-1] == "identical: NO: n = 1"
    assert run("tune", model, *SMALL, "--json").code == 1


def test_a_prediction_that_misses_is_told(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "_prediction", lambda *known: lambda n: 1e6)
    result = run("tune", model, *SMALL)
    assert "1000000.0 tok/s were predicted from the costs" in result.out


@pytest.mark.parametrize(
    ("megabytes", "gb_per_s", "wanted"),
    [
        (1000, 40.0, "25 % of what reads reach, a pass alone 50 %"),
        (1000, 8.0, "a pass alone 250 %; was the machine busy?"),
        (10, 0.08, "more than memory gives, so weights stay in the cache"),
    ],
)
def test_what_the_bandwidth_means(
    model: Path, megabytes: int, gb_per_s: float, wanted: str
) -> None:
    """Ten tokens per second, a pass takes 0.05 s."""
    plan = tool.Plan(max_draft=1, tokens=4, prompt=8, cycles=1, repeats=1)
    measured = tool.tune(model, plan, CpuOps(1), Silent())
    known = replace(
        measured,
        step_bytes=megabytes * 1_000_000,
        bandwidth=Samples((gb_per_s,)),
        passes=(replace(measured.passes[0], seconds=Samples((0.05,))), *measured.passes[1:]),
        decoding=(replace(measured.plain, per_second=Samples((10.0,))), *measured.decoding[1:]),
    )
    line = next(line for line in command._verdict(known) if line.startswith("bandwidth"))
    assert line.endswith(wanted)


def test_help_shows_the_defaults(run: Run) -> None:
    text = " ".join(run("tune", "--help").out.replace("│", " ").split())
    quick, plan = tool.QUICK, tool.Plan()
    assert f"{plan.tokens}; with --quick {quick.tokens}" in text
    assert f"[default: {plan.max_draft}]" in text


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (("--max-draft", "0"), "--max-draft is 0"),
        (("--max-draft", "16"), "--max-draft is 16"),
        (("--tokens", "1"), "--tokens is 1"),
        (("--context", "-1"), "--context is -1"),
        (("--context", "5000"), "--context and --tokens come to"),
        (("-t", "0"), "--threads: threads = 0"),
    ],
)
def test_bad_values_are_named(run: Run, model: Path, flags: tuple[str, ...], wanted: str) -> None:
    result = run("tune", model, *flags)
    assert (result.code, result.out) == (1, "")
    assert wanted in result.err


def test_a_missing_file(run: Run) -> None:
    result = run("tune", "/nowhere/model.gguf")
    assert result.code == 1
    assert "/nowhere/model.gguf" in result.err


def test_interrupted(model: Path) -> None:
    """Ctrl-C ends it at once, without a traceback."""
    flags = ("--tokens", "400", "--max-draft", "15", "-t", "1")
    process = subprocess.Popen(
        [sys.executable, "-m", "headlong.cli", "tune", str(model), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    process.stderr.readline()  # a stage has begun to report itself
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == b""
    assert b"Traceback" not in err
