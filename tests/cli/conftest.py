"""A model for the command line, and a way to run commands in this process."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from cli_runs import Result, Run

from headlong.cli import main
from tiny import Chain, TinySpec, write_tiny


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose MTP head is right on most tokens."""
    path = tmp_path_factory.mktemp("cli") / "chain.gguf"
    write_tiny(path, TinySpec(chain=Chain(), printable=True))
    return path


@pytest.fixture(scope="session")
def headless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without an MTP head."""
    path = tmp_path_factory.mktemp("cli") / "headless.gguf"
    write_tiny(path, TinySpec(mtp=False))
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command with the given arguments and standard input."""

    def run(*arguments: object, stdin: str | bytes = "") -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Result(code, captured.out, captured.err)

    return run
