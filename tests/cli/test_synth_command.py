"""`headlong synth`: a file by name, and refusals that name the flag."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import Run

from headlong.tools.synth import SIZES
from rehearsal_sizes import TIED


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size that no user can ask for."""
    monkeypatch.setattr("headlong.tools.synth.sizes.SIZES", (*SIZES, TIED))


def test_write_inspect_run(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    result = run("synth", path, "--like", "test-6m", "--type", "q4_k_m", "--accept", 0.25, "-s", 7)
    assert result.code == 0
    assert "Test-6M in Q4_K_M, synthetic; 25 % of drafts right" in result.out
    fields = json.loads(run("inspect", path, "--json").out)
    assert fields["rehearsal"] == {"accept": 0.25, "seed": 7}
    assert "made-up weights" in run("inspect", path).out
    answer = run("run", path, "-p", "hi", "-n", 4, "--temp", 0, "--json")
    assert "made-up weights" in answer.err
    assert json.loads(answer.out)["rehearsal"] == {"accept": 0.25, "seed": 7}


def test_an_existing_file_is_kept(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"precious")
    result = run("synth", path, "--like", "test-6m")
    assert result.code == 1
    assert "--force" in result.err
    assert path.read_bytes() == b"precious"
    assert run("synth", path, "--like", "test-6m", "--force").code == 0
    assert path.stat().st_size > 1_000_000


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--like", "qwen3.5-3b"), "error: --like: there is no size 'qwen3.5-3b'"),
        (("--type", "Q9_K"), "error: --type: there is no weight type 'Q9_K'"),
        (("--accept", "1.5"), "error: --accept or --seed: accept is 1.5"),
        (("--accept", "nan"), "error: --accept or --seed: accept is nan"),
        (("--seed", "-1"), "error: --accept or --seed: seed is -1"),
    ],
)
def test_refusals_name_the_flag(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], error: str
) -> None:
    result = run("synth", tmp_path / "x.gguf", *arguments)
    assert result.code == 1
    assert result.err.startswith(error)
    assert list(tmp_path.iterdir()) == []


def test_help_lists_the_sizes(run: Run) -> None:
    out = run("synth", "--help").out
    for size in SIZES:
        assert size.name.removeprefix("Qwen3.5").lower() in out
