"""Other engines: llama.cpp from its wheel, or whatever a command starts or prints."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Final

from benchmarks.http_session import HttpSession
from benchmarks.session import PLAIN, Answer, Arm, PeerError, Piece, Session, Setup

LLAMA_CPP: Final = "llama.cpp"
START_SECONDS: Final = 300.0
"""Patience with a server that loads."""
_STOP_SECONDS: Final = 10.0
_NAMED: Final = re.compile(r"(?P<name>\s*\S(?:.*?\S)?)=(?P<command>[^\s=].*)", re.DOTALL)
"""An equals sign with space around it belongs to the name: ``llama.cpp:n = 2=COMMAND``."""
_LOG_SHOWN: Final = 1500


def has_wheel() -> bool:
    """Whether llama.cpp's wheel is installed."""
    return importlib.util.find_spec("xllamacpp") is not None


def llama_arm(draft: int, p_min: float = 0.0) -> Arm:
    """llama.cpp from its wheel; ``p_min`` is the confidence below which it stops drafting."""
    import xllamacpp

    mode = "plain" if draft == PLAIN else f"n = {draft}" + (f", p_min {p_min:g}" if p_min else "")
    version = f"xllamacpp {xllamacpp.__version__}: {xllamacpp.get_system_info().strip(' |')}"
    flags = f"draft={draft} p_min={p_min:g} repack=on flash_attn=auto ubatch=512"
    return Arm(LLAMA_CPP, mode, draft, version, flags, partial(_open_wheel, draft, p_min))


@contextmanager
def _open_wheel(draft: int, p_min: float, setup: Setup) -> Iterator[Session]:
    numbers = (setup.context, setup.threads, draft, p_min)
    script = Path(__file__).with_name("llama_server.py")
    command = [sys.executable, str(script), str(setup.model), *map(str, numbers)]
    with _started(command, stdout=subprocess.PIPE) as (process, log):
        assert process.stdout is not None
        line = process.stdout.readline()
        about = json.loads(line) if line else {"error": f"it ended\n{_tail(log)}"}
        if "error" in about:
            raise PeerError(f"llama.cpp cannot run {setup.model}: {about['error']}\n{_tail(log)}")
        yield HttpSession(int(about["port"]))


@dataclass(frozen=True, slots=True)
class Command:
    """A peer given as ``NAME=COMMAND``, run without a shell.

    In the command ``{model}``, ``{threads}`` and ``{context}`` are replaced.  With ``{port}`` it
    starts a server there, which must have ``/completion`` or ``/v1/completions``.  Otherwise it is
    run for every answer, with ``{prompt}`` (a file that holds a JSON list of token ids) and
    ``{tokens}``, and its last line of output must be a JSON object: ``first_seconds``,
    ``seconds`` from the first token to the last, and ``tokens`` (ids) or ``text``.
    """

    name: str
    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Command:
        """Raises `PeerError` for a text that is no such thing."""
        found = _NAMED.fullmatch(text)
        words = tuple(shlex.split(found["command"])) if found else ()
        if not (found and words):
            raise PeerError(f"a peer is given as NAME=COMMAND, not as {text!r}")
        name = found["name"]
        serves = any("{port}" in word for word in words)
        asks = all(any(mark in w for w in words) for mark in ("{prompt}", "{tokens}"))
        if not serves and not asks:
            raise PeerError(
                f"the command of {name} needs {{port}}, to start a server, or {{prompt}} and "
                "{tokens}, to answer by itself"
            )
        return cls(name.strip(), words)

    @property
    def serves(self) -> bool:
        return any("{port}" in word for word in self.words)

    def filled(self, setup: Setup, **more: object) -> list[str]:
        """The command's words with everything replaced."""
        values = {
            "model": setup.model,
            "threads": setup.threads,
            "context": setup.context,
            **more,
        }
        filled = []
        for word in self.words:
            for key, value in values.items():
                word = word.replace(f"{{{key}}}", str(value))
            filled.append(word)
        return filled

    def arm(self) -> Arm:
        """Engine and mode are told apart by ``ENGINE:MODE`` in the name.

        A mode called ``plain`` or ``n = 2`` is taken at its word: the others of the same engine
        are compared with its plain one.
        """
        engine, _, mode = self.name.partition(":")
        opened = self._serve if self.serves else self._print
        # Where the program lies says nothing to a reader on another machine.
        flags = shlex.join((Path(self.words[0]).name, *self.words[1:]))
        return Arm(engine, mode or "as given", _draft_of(mode), "", flags, opened)

    @contextmanager
    def _serve(self, setup: Setup) -> Iterator[Session]:
        port = _free_port()
        with _started(self.filled(setup, port=port), stdout=None) as (process, log):
            session = HttpSession(port)
            deadline = time.monotonic() + START_SECONDS
            while not session.ready():
                if process.poll() is not None:
                    code = process.returncode
                    raise PeerError(f"{self.name} ended with code {code}\n{_tail(log)}")
                if time.monotonic() > deadline:
                    raise PeerError(f"{self.name} was not ready in time\n{_tail(log)}")
                time.sleep(0.1)
            yield session

    @contextmanager
    def _print(self, setup: Setup) -> Iterator[Session]:
        yield _Printing(self, setup)


def _draft_of(mode: str) -> int | None:
    found = re.fullmatch(r"n = (\d{1,2})", mode)
    return PLAIN if mode == "plain" else int(found[1]) if found else None


class _Printing:
    """A command that answers by itself."""

    def __init__(self, command: Command, setup: Setup) -> None:
        self._command = command
        self._setup = setup

    def generate(self, prompt: Sequence[int], tokens: int) -> Answer:
        name = self._command.name
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "prompt.json"
            path.write_text(json.dumps(list(prompt)))
            words = self._command.filled(self._setup, prompt=path, tokens=tokens)
            done = _run(words, name)
        lines = done.splitlines()
        try:
            said = json.loads(lines[-1])
            first, seconds = float(said["first_seconds"]), float(said["seconds"])
            ids, text = tuple(map(int, said.get("tokens") or ())), str(said.get("text", ""))
        except (IndexError, KeyError, TypeError, ValueError):
            raise PeerError(
                f"the last line that {name} printed is no JSON object with first_seconds, seconds "
                f"and tokens or text: {lines[-1:]}"
            ) from None
        if ids and len(ids) != tokens:
            raise PeerError(f"{name} answered {len(ids)} tokens where {tokens} were asked for")
        later = Piece(first + seconds, tokens - 1, ids[1:], text)
        return Answer((Piece(first, 1, ids[:1], ""), later) if tokens > 1 else (later,))


def _run(words: Sequence[str], name: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise PeerError(f"{name} cannot be started: {error}") from error
    if done.returncode:
        raise PeerError(f"{name} ended with code {done.returncode}\n{done.stderr[-_LOG_SHOWN:]}")
    return done.stdout


@contextmanager
def _started(
    words: Sequence[str], stdout: int | None
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """A process in a group of its own, ended with everything that it started."""
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=stdout if stdout is not None else log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            raise PeerError(f"'{words[0]}' cannot be started: {error}") from error
        try:
            yield process, log
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    """Its group, for a command may be a script that started the server."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def _tail(log: IO[str]) -> str:
    log.seek(0)
    return log.read()[-_LOG_SHOWN:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
