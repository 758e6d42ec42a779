"""The command as a process: help, versions, signals, pipes."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from cli_runs import Run

import headlong
import headlong.cli

COMMAND = (sys.executable, "-m", "headlong.cli")
COMMANDS = ("run", "chat", "demo", "verify", "inspect")
# Loading takes a fraction of a second; a busy machine may take many times that.
PATIENCE = 30
STOPS_WITHIN = 2.0


def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, **{**pipes, **options})  # type: ignore[call-overload,no-any-return]


def interrupt(process: subprocess.Popen[bytes]) -> float:
    """Seconds that it takes to end."""
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(PATIENCE)
    return time.monotonic() - began


def test_version(run: Run) -> None:
    assert run("--version").out == f"headlong {headlong.__version__}\n"


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help(run: Run, command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.code == 0
    assert "Usage: headlong" in result.out


def test_unknown_command_names_the_nearest(run: Run) -> None:
    result = run("inspekt", "x")
    assert result.code == 2
    assert "inspect" in result.err


def test_no_command_shows_the_help(run: Run) -> None:
    result = run()
    assert result.code in (0, 2)  # differs between versions of click
    assert "Usage: headlong" in result.out + result.err


def test_not_enough_memory_is_told(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr("headlong.llm.Cache", fail)
    result = run("run", model, "-p", "hello")
    assert result.code == 1
    assert result.err == (
        "error: not enough memory: Unable to allocate 9 TiB; try a smaller --ctx-size\n"
    )


def test_the_command_line_imports_no_engine() -> None:
    # Whatever `import headlong` brings along is the package's own matter.
    code = (
        "import sys, headlong; before = set(sys.modules); import headlong.cli; "
        "print(*sorted(set(sys.modules) - before))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "headlong.cli.run" in output
    heavy = ("numpy", "tokenizers", "jinja2", "headlong.engine", "headlong.llm", "headlong.ops")
    assert not [name for name in output if name.startswith(heavy)]


def test_interrupt_ends_a_run_at_once(model: Path) -> None:
    process = start("run", model, "-p", "hello", "--ignore-eos", "-c", 4096)
    assert process.stdout is not None and process.stderr is not None
    with process:
        assert process.stdout.read(20).startswith(b"hello")
        seconds = interrupt(process)
        err = process.stderr.read()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"error" not in err
    assert seconds < STOPS_WITHIN


def test_interrupt_ends_a_piped_chat(model: Path) -> None:
    process = start("chat", model, "--ignore-eos", "-c", 4096)
    assert process.stdin is not None and process.stdout is not None
    with process:
        process.stdin.write(b"hello\nhello\n")
        process.stdin.flush()
        assert process.stdout.read(10)
        seconds = interrupt(process)
    assert process.returncode == 130
    assert seconds < STOPS_WITHIN


def test_a_reader_that_leaves_early_is_no_error(model: Path) -> None:
    process = start("run", model, "-p", "hello", "--ignore-eos", "-c", 4096)
    assert process.stdout is not None and process.stderr is not None
    with process:
        process.stdout.read(10)
        process.stdout.close()
        process.wait(PATIENCE)
        err = process.stderr.read()
    assert process.returncode == 1
    assert b"Traceback" not in err
    assert b"Exception" not in err


@pytest.mark.parametrize("flags", [("run", "-p", "hello", "-n", "3"), ("inspect",), ("chat",)])
def test_a_full_disk_is_told(model: Path, flags: tuple[str, ...]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here to write to")
    command, *others = flags
    with Path("/dev/full").open("w") as full:
        process = start(command, model, *others, stdout=full)
        _, err = process.communicate(b"hello\n/set predict 2\nhello\n", PATIENCE)
    assert process.returncode == 1
    assert b"error: No space left on device" in err
    assert b"Traceback" not in err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_closed_streams_are_no_traceback(model: Path, closed: str) -> None:
    line = f'"$@" {closed}'
    for flags, code in ((("-p", "hello"), 0), ((), 1)):
        arguments = ("sh", *COMMAND, "run", str(model), "-n", "3", *flags)
        done = subprocess.run(
            ["sh", "-c", line, *arguments], stdin=subprocess.DEVNULL, capture_output=True
        )
        assert done.returncode == code
        assert b"Traceback" not in done.stdout + done.stderr


class Terminal:
    """A chat at a terminal."""

    def __init__(self, *arguments: object) -> None:
        self._master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "dumb"}
        self.process = start(*arguments, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        self.text = b""

    def type(self, line: str) -> None:
        os.write(self._master, line.encode())

    def wait_for(self, text: bytes) -> None:
        """Read until the text has come since the last call."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.text:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._master], [], [], max(0.0, left))
            assert ready, f"no {text!r} in {self.text!r}"
            self.text += os.read(self._master, 4096)
        self.text = self.text[self.text.index(text) + len(text) :]

    def finish(self) -> int:
        """Read to the end, without which the process could not leave the terminal; exit code."""
        with suppress(OSError):  # how Linux says that the other side is closed
            while select.select([self._master], [], [], PATIENCE)[0]:
                os.read(self._master, 4096)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


def test_interrupt_at_a_terminal_stops_the_answer_and_keeps_it(model: Path, tmp_path: Path) -> None:
    saved = tmp_path / "talk.json"
    terminal = Terminal("chat", model, "--ignore-eos", "-c", 4096)
    try:
        terminal.wait_for(b"\n> ")
        terminal.type("hello\n")
        terminal.wait_for(b"hello\r\n")
        time.sleep(0.3)
        began = time.monotonic()
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for(b"stopped")
        assert time.monotonic() - began < STOPS_WITHIN
        terminal.wait_for(b"\n> ")
        terminal.type(f"/save {saved}\n")
        terminal.wait_for(b"saved to")
        terminal.wait_for(b"\n> ")
        terminal.type("\x04")
        assert terminal.finish() == 0
    finally:
        terminal.close()
    assert '"assistant"' in saved.read_text()


def test_interrupt_at_the_prompt_leaves(model: Path) -> None:
    terminal = Terminal("chat", model)
    try:
        terminal.wait_for(b"\n> ")
        # Between showing the prompt and waiting for keys, readline does not see a signal.
        time.sleep(0.3)
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for(b"\n")
        assert terminal.finish() == 0
    finally:
        terminal.close()
