"""`headlong inspect`: tables and JSON."""

from __future__ import annotations

import json
from pathlib import Path

from cli_runs import Run

from tiny import TinySpec, write_tiny


def test_tables_show_what_is_in_the_file(run: Run, model: Path) -> None:
    result = run("inspect", model)
    assert result.code == 0
    for text in ("qwen35", "Q8_0", "present", "3 delta net, 1 full attention", "2.7 MiB"):
        assert text in result.out
    assert "Headlong can run this file." in result.out


def test_json_is_the_whole_description(run: Run, model: Path) -> None:
    fields = json.loads(run("inspect", model, "--json", "-c", 128).out)
    assert fields["architecture"] == "qwen35"
    assert fields["mtp"]["state"] == "present"
    assert fields["memory"]["context"] == 128


def test_context_counts_in_memory(run: Run, model: Path) -> None:
    assert "KV cache, 1000 tokens" in run("inspect", model, "-c", 1000).out
    result = run("inspect", model, "-c", 0)
    assert result.code == 1
    assert result.err.startswith("error: --ctx-size: ")


def test_a_file_without_a_head(run: Run, headless: Path) -> None:
    result = run("inspect", headless)
    assert result.code == 0
    assert "absent" in result.out
    assert "MTP head" in result.out


def test_control_characters_of_a_file_do_not_reach_the_terminal(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "evil.gguf"
    write_tiny(path, TinySpec())
    data = path.read_bytes()
    assert data.count(b"tiny") >= 1
    path.write_bytes(data.replace(b"tiny", b"\x1b]0t", 1))
    result = run("inspect", path)
    assert result.code == 0
    assert "\x1b" not in result.out
    assert "\N{REPLACEMENT CHARACTER}]0t" in result.out


def test_files_that_cannot_be_opened(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    for name in ("missing.gguf", "empty.gguf"):
        result = run("inspect", tmp_path / name)
        assert result.code == 1
        assert result.err.startswith("error: ")
        assert name in result.err
    assert run("inspect").code == 2
