"""`headlong bench`: flags, what is printed, and errors in a line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runs import Run

BENCH = Path(__file__).parents[1] / "bench"
sys.path.append(str(BENCH))

from bench_samples import host, record  # noqa: E402
from mock_process import answer  # noqa: E402
from mock_server import Mock, serving  # noqa: E402

from headlong.bench.record import load, save  # noqa: E402


@pytest.mark.parametrize("command", [(), ("speed",), ("report",), ("diff",), ("schema",)])
def test_help(run: Run, command: tuple[str, ...]) -> None:
    result = run("bench", *command, "--help")
    assert result.code == 0
    assert "Usage: headlong bench" in result.out


def test_speed(run: Run, tmp_path: Path) -> None:
    plan, out, page = tmp_path / "plan.yaml", tmp_path / "out.yaml", tmp_path / "page.html"
    with serving(Mock(lambda body: answer(body, 0), owner="headlong")) as mock:
        plan.write_text(
            f"servers: [{{name: ours, url: '{mock.url}', modes: [plain, n=2]}}]\n"
            "workloads: [chat, code_python]\ntokens: 11\nwarmups: 0\nrepeats: 2\n"
        )
        result = run("bench", "speed", plan, "-o", out, "--report", page, "--bandwidth", "30")
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == str(out)
    assert "ours n=2" in result.out
    made = load(out)
    assert made.run.name == "plan"
    assert made.host.bandwidth == 30
    assert [one.name for one in made.prompts] == ["chat", "code_python"]
    assert "<!doctype html>" in page.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("servers: [{name: a, url: 'http://127.0.0.1:9'}]", "server a at http://127.0.0.1:9 is"),
        ("servers: [{name: a, command: '/nowhere {port}'}]", "'/nowhere' cannot be started"),
        ("servers: [{name: a, url: x}]", "no http:// or https:// URL"),
        ("servers: [{name: a, url: 'http://h'}]\nworkloads: [x]", "there are: chat, code, long"),
    ],
)
def test_errors_are_one_line(run: Run, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    out = tmp_path / "a.json"
    result = run("bench", "speed", tmp_path / "plan.yaml", "-o", out, "--bandwidth", "1")
    assert result.code == 1
    assert message in result.err
    assert not out.exists()


def test_the_name_of_a_record_is_checked_first(run: Run, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("servers: [{name: a, url: 'http://127.0.0.1:9'}]")
    result = run("bench", "speed", tmp_path / "plan.yaml", "-o", tmp_path / "a.txt")
    assert (result.code, "ends in .json" in result.err) == (1, True)


def test_report(run: Run, tmp_path: Path) -> None:
    save(record(), tmp_path / "a.json")
    page = tmp_path / "page.html"
    assert run("bench", "report", tmp_path, "-o", page).out == f"{page}\n"
    assert page.read_text().count('<tr class="published">') > 60
    run("bench", "report", tmp_path, "-o", page, "--no-published")
    assert '<tr class="published">' not in page.read_text()
    assert "| n=2 | chat |" in run("bench", "report", tmp_path, "--md").out
    assert run("bench", "report", tmp_path, "--csv").out.count("\n") == 5
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no records" in run("bench", "report", empty).err


def test_diff(run: Run, tmp_path: Path) -> None:
    save(record(gain=1.5), tmp_path / "a.json")
    save(record(gain=1.8), tmp_path / "b.yaml")
    save(record().model_copy(update={"host": host(cores=8)}), tmp_path / "c.json")
    result = run("bench", "diff", tmp_path / "a.json", tmp_path / "b.yaml")
    assert "| 1.20 [1.20–1.20] | faster |" in result.out
    refused = run("bench", "diff", tmp_path / "a.json", tmp_path / "c.json")
    assert refused.code == 1
    assert "cores: 2 against 8" in refused.err
    forced = run("bench", "diff", tmp_path / "a.json", tmp_path / "c.json", "--force")
    assert forced.code == 0
    assert "cores: 2 against 8 (compared by force)" in forced.out


def test_schema(run: Run) -> None:
    assert json.loads(run("bench", "schema").out)["$id"] == "urn:headlong.bench:1"


def test_heavy_libraries_wait_for_their_use() -> None:
    code = (
        "import sys, headlong; before = set(sys.modules); import headlong.cli.bench; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new & {'httpx', 'pydantic', 'yaml'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
